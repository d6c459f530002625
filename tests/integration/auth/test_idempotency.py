"""`Idempotency-Key`: the same request again is done once and answered as before."""

import asyncio
import uuid
from concurrent.futures import ThreadPoolExecutor

import asyncpg
import pytest
import requests

from tests.integration.auth.conftest import Office, Site, make_office

CUSTOMER = {"name": "Northwind", "email": "ap@northwind.example"}


def post(
    office: Office, token: str, key: str, body: object = CUSTOMER, path: str = "/api/customers"
) -> requests.Response:
    return office.send("POST", path, body, token=token, headers={"Idempotency-Key": key})


async def customers(office: Office) -> int:
    rows = await office.fetch(
        "SELECT count(*) AS n FROM customer WHERE tenant_id = $1", office.tenant_id
    )
    return int(rows[0]["n"])


async def test_a_repeat_is_answered_as_before_and_does_nothing(office: Office) -> None:
    token, key = office.log_in(), str(uuid.uuid4())
    first = post(office, token, key)
    again = [post(office, token, key) for _ in range(4)]
    assert first.ok, first.text
    assert "Idempotent-Replayed" not in first.headers
    for answer in again:
        assert (answer.status_code, answer.content) == (first.status_code, first.content)
        assert answer.headers["Content-Type"] == first.headers["Content-Type"]
        assert answer.headers["Idempotent-Replayed"] == "true"
    assert await customers(office) == 1


async def test_a_key_belongs_to_one_request(office: Office) -> None:
    token, key = office.log_in(), "key"
    assert post(office, token, key).ok
    for other in (
        post(office, token, key, CUSTOMER | {"name": "Southwind"}),
        post(office, token, key, {"name": "Units"}, "/api/usage/products"),
    ):
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert await customers(office) == 1


async def test_what_was_refused_may_be_mended_under_the_same_key(office: Office) -> None:
    token = office.log_in()
    assert post(office, token, "key", {"name": "N"}).status_code == 422
    assert post(office, token, "key").ok
    assert await customers(office) == 1


async def test_while_the_first_is_under_way_the_second_is_a_conflict(office: Office) -> None:
    token = office.log_in()
    connection = await asyncpg.connect(office.postgres)
    try:
        await connection.execute(
            "SELECT pg_advisory_lock(hashtextextended('idempotency ' || $1::integer || ' key', 0))",
            office.tenant_id,
        )
        answer = await asyncio.to_thread(post, office, token, "key")
    finally:
        await connection.close()
    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_key_in_use")
    assert post(office, token, "key").ok


async def test_many_at_once_are_done_once(office: Office) -> None:
    token = office.log_in()
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: post(office, token, "key"), range(16)))
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert len({answer.content for answer in answers if answer.ok}) == 1
    assert await customers(office) == 1


async def test_what_fails_leaves_neither_effect_nor_answer(office: Office) -> None:
    token = office.log_in()
    await office.fetch(
        "ALTER TABLE idempotent_answer ADD CONSTRAINT refusing CHECK (key <> 'refused') NOT VALID"
    )
    try:
        assert post(office, token, "refused").status_code == 500
        assert await customers(office) == 0
    finally:
        await office.fetch("ALTER TABLE idempotent_answer DROP CONSTRAINT refusing")
    assert post(office, token, "refused").ok
    assert await customers(office) == 1


async def test_keys_of_two_tenants_have_nothing_to_do_with_each_other(
    site: Site, office: Office
) -> None:
    stranger = await make_office(site)
    first = post(office, office.log_in(), "key")
    second = post(stranger, stranger.log_in(), "key")
    assert "Idempotent-Replayed" not in second.headers
    assert first.json() != second.json()


async def test_after_thirty_days_a_key_is_new(office: Office) -> None:
    token = office.log_in()
    post(office, token, "key")
    await office.fetch(
        "UPDATE idempotent_answer SET created_at = now() - interval '30 days' WHERE tenant_id = $1",
        office.tenant_id,
    )
    assert "Idempotent-Replayed" not in post(office, token, "key").headers
    assert await customers(office) == 2


@pytest.mark.parametrize("key", ["", "x" * 256, "t\tab"])
def test_a_key_that_is_none_is_refused(office: Office, key: str) -> None:
    answer = post(office, office.log_in(), key)
    assert (answer.status_code, answer.json()["code"]) == (400, "idempotency_key_malformed")


def test_a_caller_without_the_scope_gets_nobody_s_answer(office: Office) -> None:
    assert post(office, office.log_in(), "key").ok
    made = office.send(
        "POST", "/auth/keys/generate", {"scopes": ["usage:write"]}, session=office.admin()
    ).json()
    limited = office.log_in(made["api_key"], made["password"])
    assert post(office, limited, "key").status_code == 403


def test_a_session_does_not_change_anything_by_asking(office: Office) -> None:
    answer = office.send("GET", "/api/invoices/reconcile", session=office.admin())
    assert (answer.status_code, answer.json()["code"]) == (403, "session_not_enough")


def generate(
    office: Office, session: requests.Session, body: object = None, key: str = "key"
) -> requests.Response:
    headers = {"Idempotency-Key": key}
    return office.send("POST", "/auth/keys/generate", body or {}, session=session, headers=headers)


@pytest.mark.parametrize("body", [{}, {"password": "a chosen one"}])
async def test_a_password_is_in_the_first_answer_alone_and_kept_nowhere(
    office: Office, body: dict[str, str]
) -> None:
    session = office.admin()
    first = generate(office, session, body)
    again = generate(office, session, body)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.json() == first.json() | {"password": None}
    password = first.json()["password"]
    assert office.names(token=office.log_in(first.json()["api_key"], password)) == 200
    kept = await office.fetch(
        "SELECT body, fingerprint FROM idempotent_answer WHERE tenant_id = $1", office.tenant_id
    )
    assert len(kept) == 1
    assert password.encode() not in kept[0]["body"]
    keys = office.send("GET", "/auth/keys/list", session=session).json()
    assert len([key for key in keys if key["api_key"] == first.json()["api_key"]]) == 1


def test_a_rotation_is_begun_once(office: Office) -> None:
    session = office.admin()
    path, headers = f"/auth/keys/{office.api_key_ref}/rotate", {"Idempotency-Key": "key"}
    first = office.send("POST", path, session=session, headers=headers)
    again = office.send("POST", path, session=session, headers=headers)
    assert first.json()["password"]
    assert again.json() == first.json() | {"password": None}
    assert office.send("POST", path, session=session).status_code == 409


def test_a_request_with_a_password_is_repeated_in_the_same_session_alone(office: Office) -> None:
    assert generate(office, office.admin()).ok
    other = generate(office, office.admin())
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert "another session" in other.json()["detail"]
