"""API keys: made, listed, rotated and deleted by an admin, and what becomes of their tokens."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

from tests.integration.auth.conftest import Office, Site, make_office
from tests.integration.auth.test_tokens import comes_to_be


def generate(office: Office, **fields: object) -> dict[str, Any]:
    """Have the admin make a key; the answer."""
    answer = office.send("POST", "/auth/keys/generate", fields, session=office.admin())
    assert answer.ok, answer.text
    made: dict[str, Any] = answer.json()
    return made


def listed(office: Office) -> dict[str, dict[str, Any]]:
    answer = office.send("GET", "/auth/keys/list", session=office.admin())
    return {key["api_key"]: key for key in answer.json()}


def test_a_key_is_made_up_whole(office: Office) -> None:
    made = generate(office)
    assert str(uuid.UUID(made["api_key_ref"])) == made["api_key_ref"]
    assert made["scopes"] == ["usage:write", "usage:read", "billing:read", "billing:write"]
    assert office.names(token=office.log_in(made["api_key"], made["password"])) == 200


def test_a_key_may_be_named_and_given_a_password(office: Office) -> None:
    name = f"Northwind {uuid.uuid4()}"
    made = generate(office, api_key=name, password="pw-3", scopes=["usage:write"])
    assert (made["api_key"], made["password"]) == (name, "pw-3")
    assert office.names(token=office.log_in(name, "pw-3")) == 403


async def test_no_password_is_kept_as_it_is(office: Office) -> None:
    passwords = [generate(office)["password"], generate(office, password="a secret")["password"]]
    rows = await office.fetch("SELECT * FROM api_key WHERE tenant_id = $1", office.tenant_id)
    rows += await office.fetch("SELECT * FROM audit_entry WHERE tenant_id = $1", office.tenant_id)
    text = str([dict(row) for row in rows])
    assert not [password for password in passwords if password in text]


def test_a_name_is_one_key_s_until_it_is_deleted(office: Office) -> None:
    made = generate(office)
    session = office.admin()
    again = {"api_key": made["api_key"], "password": "other"}
    answer = office.send("POST", "/auth/keys/generate", again, session=session)
    assert (answer.status_code, answer.json()["code"]) == (409, "key_exists")
    assert office.send("DELETE", f"/auth/user/{made['api_key']}", session=session).ok
    assert office.send("POST", "/auth/keys/generate", again, session=session).ok
    token = office.log_in(made["api_key"], "other")
    assert comes_to_be(lambda: office.names(token=token) == 200)


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"scopes": ["root"]}, "/scopes/0"),
        ({"scopes": "usage:write"}, "/scopes"),
        ({"expires_at": "2001-01-01T00:00:00Z"}, "/expires_at"),
        ({"expires_at": "tomorrow"}, "/expires_at"),
        ({"expires_at": "2099-01-01"}, "/expires_at"),
        ({"api_key": "x" * 256}, "/api_key"),
        ({"api_key": "a\u202eb"}, "/api_key"),
        ({"password": "x" * 1_025}, "/password"),
        ({"password": ["x"]}, "/password"),
    ],
)
def test_what_is_wrong_with_a_new_key_is_named(
    office: Office, fields: dict[str, object], pointer: str
) -> None:
    answer = office.send("POST", "/auth/keys/generate", fields, session=office.admin())
    assert answer.status_code == 422, answer.text
    assert [problem["pointer"] for problem in answer.json()["errors"]] == [pointer]


def test_the_list_shows_what_a_key_may_and_never_its_password(office: Office) -> None:
    ends = (datetime.now(UTC) + timedelta(days=1)).replace(microsecond=0)
    made = generate(office, scopes=["usage:write"], expires_at=ends.isoformat())
    shown = listed(office)
    assert set(shown) == {office.api_key, made["api_key"]}
    key = shown[made["api_key"]]
    assert key["scopes"] == ["usage:write"]
    assert datetime.fromisoformat(key["expires_at"]) == ends
    assert key["last_used_at"] is None
    assert made["password"] not in str(shown)
    assert not [name for name in key if "hash" in name and name != "has_next_password"]


@pytest.mark.parametrize("by", ["api_key_ref", "api_key"])
def test_a_deleted_key_and_its_tokens_stop_soon_on_every_process(office: Office, by: str) -> None:
    made = generate(office)
    tokens = [office.log_in(made["api_key"], made["password"]) for _ in range(2)]
    assert all(office.names(token=token) == 200 for token in tokens * 6)
    assert office.send("DELETE", f"/auth/user/{made[by]}", session=office.admin()).ok
    assert comes_to_be(lambda: all(office.names(token=token) == 401 for token in tokens))
    body = {"api_key": made["api_key"], "password": made["password"]}
    assert office.send("POST", "/auth/login", body).status_code == 401
    assert made["api_key"] not in listed(office)


def test_during_a_rotation_both_passwords_are_good_and_after_it_the_second(office: Office) -> None:
    made = generate(office, password="the first")
    path = f"/auth/keys/{made['api_key_ref']}/rotate"
    session = office.admin()
    second = office.send("POST", path, session=session).json()["password"]
    first_token = office.log_in(made["api_key"], "the first")
    second_token = office.log_in(made["api_key"], second)
    assert listed(office)[made["api_key"]]["has_next_password"]
    again = office.send("POST", path, session=session)
    assert (again.status_code, again.json()["code"]) == (409, "rotation_under_way")
    assert office.send("POST", path, {"drop_first": True}, session=session).ok
    assert comes_to_be(lambda: office.names(token=first_token) == 401)
    assert office.names(token=second_token) == 200
    body = {"api_key": made["api_key"], "password": "the first"}
    assert office.send("POST", "/auth/login", body).status_code == 401
    ended = office.send("POST", path, {"drop_first": True}, session=session)
    assert (ended.status_code, ended.json()["code"]) == (409, "no_rotation")


async def test_a_key_of_another_tenant_does_not_exist(site: Site, office: Office) -> None:
    stranger = await make_office(site)
    session = stranger.admin()
    for verb, path in (
        ("DELETE", f"/auth/user/{office.api_key_ref}"),
        ("DELETE", f"/auth/user/{office.api_key}"),
        ("POST", f"/auth/keys/{office.api_key_ref}/rotate"),
        ("DELETE", "/auth/user/nothing"),
        ("POST", "/auth/keys/nothing/rotate"),
    ):
        assert stranger.send(verb, path, session=session).status_code == 404, path
    assert office.api_key not in listed(stranger)
    assert office.names(token=office.log_in()) == 200


def test_a_token_with_the_scope_administers_and_one_without_it_does_not(office: Office) -> None:
    token = office.log_in()
    assert office.send("GET", "/auth/keys/list", token=token).ok
    made = generate(office)
    limited = office.log_in(made["api_key"], made["password"])
    for verb, path in (
        ("POST", "/auth/keys/generate"),
        ("GET", "/auth/keys/list"),
        ("DELETE", f"/auth/user/{office.api_key}"),
        ("POST", f"/auth/keys/{office.api_key_ref}/rotate"),
    ):
        assert office.send(verb, path, token=limited).status_code == 403, path
        assert office.send(verb, path).status_code == 401, path
        other_site = {"Origin": "https://evil.example"}
        if verb != "GET":
            answer = office.send(verb, path, session=office.admin(), headers=other_site)
            assert answer.status_code == 403, path


def test_nobody_gives_more_than_they_have(office: Office) -> None:
    narrow = generate(office, scopes=["admin"])
    token = office.log_in(narrow["api_key"], narrow["password"])
    answer = office.send("POST", "/auth/keys/generate", {"scopes": ["usage:write"]}, token=token)
    assert (answer.status_code, answer.json()["code"]) == (403, "scope_missing")
    assert office.send("POST", "/auth/keys/generate", {"scopes": ["admin"]}, token=token).ok


async def test_a_key_that_expires_logs_in_no_more(office: Office) -> None:
    ends = datetime.now(UTC) + timedelta(hours=1)
    made = generate(office, expires_at=ends.isoformat())
    body = {"api_key": made["api_key"], "password": made["password"]}
    assert office.send("POST", "/auth/login", body).ok
    await office.fetch(
        "UPDATE api_key SET expires_at = now() WHERE api_key_ref = $1", made["api_key_ref"]
    )
    assert comes_to_be(lambda: office.send("POST", "/auth/login", body).status_code in (401, 429))


def test_answers_with_passwords_are_stored_nowhere(office: Office) -> None:
    session: requests.Session = office.admin()
    answer = office.send("POST", "/auth/keys/generate", {}, session=session)
    assert answer.headers["Cache-Control"] == "no-store"


def test_when_a_key_was_used_last_is_seen_within_seconds(office: Office) -> None:
    made = generate(office)
    assert listed(office)[made["api_key"]]["last_used_at"] is None
    office.names(token=office.log_in(made["api_key"], made["password"]))
    assert comes_to_be(
        lambda: listed(office)[made["api_key"]]["last_used_at"] is not None, probes=1
    )
