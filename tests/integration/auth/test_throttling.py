"""Who tries passwords waits longer and longer, on every process alike."""

import re
from dataclasses import replace

import pytest
import requests

from gateway.auth.throttle import Subjects
from tests.integration.auth.conftest import Office

FREE = 5


def attempt(office: Office, name: str, password: str, by: str = "api_key") -> requests.Response:
    return office.send("POST", "/auth/login", {by: name, "password": password})


def elsewhere(office: Office) -> Office:
    """The same people at another address."""
    return replace(office, address=office.address.replace("203.", "198."))


async def put_off(office: Office, name: str, hours: int, *, of_address: bool = False) -> None:
    """Move failures in time: a wait of a second may be over before the next line of a test.

    They are those of an account, or those of the address on whatever account.
    """
    subjects = Subjects.of(name, office.address)
    moved = await office.fetch(
        "UPDATE login_attempt SET failed_at = now() + make_interval(hours => $2) "
        "WHERE subject = ANY($1) AND failed_at IS NOT NULL RETURNING failures",
        [subjects.address] if of_address else [subjects.account, subjects.pair],
        hours,
    )
    assert moved


async def fail_until_throttled(office: Office, name: str, by: str = "api_key") -> requests.Response:
    """Fail until an attempt is not even looked at, for hours; the answer to it."""
    for _ in range(FREE):
        assert attempt(office, name, "wrong", by).status_code == 401
    await put_off(office, name, hours=1)
    answer = attempt(office, name, "wrong", by)
    assert answer.status_code == 429, answer.text
    return answer


@pytest.mark.parametrize("by", ["api_key", "email"])
async def test_after_five_failures_an_account_waits_whatever_the_password(
    office: Office, by: str
) -> None:
    name = office.api_key if by == "api_key" else office.email
    answer = await fail_until_throttled(office, name, by)
    assert answer.json()["code"] == "login_throttled"
    assert int(answer.headers["Retry-After"]) >= 1
    assert attempt(office, name, office.password, by).status_code == 429
    assert attempt(elsewhere(office), name, office.password, by).status_code == 429
    await put_off(office, name, hours=-1)
    assert attempt(office, name, office.password, by).status_code == 200


async def test_an_account_that_does_not_exist_waits_just_so(office: Office) -> None:
    known = (await fail_until_throttled(office, office.api_key)).json()
    unknown = (await fail_until_throttled(elsewhere(office), f"nobody {office.email}")).json()
    told = [re.sub(r"\d+ s", "", body["detail"]) for body in (known, unknown)]
    assert told[0] == told[1]
    assert {**known, "instance": "", "detail": ""} == {**unknown, "instance": "", "detail": ""}


async def test_each_failure_counts_and_a_success_forgets_them(office: Office) -> None:
    await fail_until_throttled(office, office.api_key)
    for _ in range(2):
        await put_off(office, office.api_key, hours=-1)
        assert attempt(office, office.api_key, "wrong").status_code == 401
    subject = Subjects.of(office.api_key, office.address).account
    found = "SELECT failures FROM login_attempt WHERE subject = $1"
    assert [row["failures"] for row in await office.fetch(found, subject)] == [FREE + 2]
    await put_off(office, office.api_key, hours=-1)
    assert attempt(office, office.api_key, office.password).ok
    assert await office.fetch(found, subject) == []


async def test_an_address_that_has_logged_in_is_not_locked_out_by_others(office: Office) -> None:
    assert attempt(office, office.api_key, office.password).ok
    attacker = elsewhere(office)
    await fail_until_throttled(attacker, office.api_key)
    assert attempt(office, office.api_key, office.password).ok
    assert attempt(attacker, office.api_key, office.password).status_code == 429


async def test_failures_of_an_address_add_up_over_accounts(office: Office) -> None:
    statuses = [attempt(office, f"key {number}", "wrong").status_code for number in range(20)]
    assert set(statuses) == {401}
    await put_off(office, "", hours=1, of_address=True)
    assert attempt(office, "another", "wrong").status_code == 429
    assert attempt(office, office.api_key, office.password).status_code == 429
    assert attempt(elsewhere(office), office.api_key, office.password).ok


async def test_what_the_client_says_of_its_address_is_not_believed(office: Office) -> None:
    for number in range(FREE * 4):
        forwarded = {"X-Forwarded-For": f"192.0.2.{number}, {office.address}"}
        body = {"api_key": f"key {number}", "password": "wrong"}
        office.send("POST", "/auth/login", body, headers=forwarded)
    await put_off(office, "", hours=1, of_address=True)
    assert attempt(office, office.api_key, office.password).status_code == 429


async def test_what_is_kept_of_attempts_names_nobody(office: Office) -> None:
    attempt(office, office.api_key, "wrong")
    rows = await office.fetch("SELECT * FROM login_attempt")
    text = str([dict(row) for row in rows])
    assert rows
    assert office.api_key not in text
    assert office.address not in text
