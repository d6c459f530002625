"""Admins: made, listed, ended and given passwords by other admins, over HTTP."""

import uuid
from typing import Any

import pytest
import requests

from tests.integration.auth.conftest import Office, Site, make_office
from tests.integration.auth.test_throttling import put_off

CHOSEN = "a long enough password"


def make(office: Office, **fields: object) -> dict[str, Any]:
    """Have the admin make another; the answer."""
    body = {"email": f"person-{uuid.uuid4()}@example.com"} | fields
    answer = office.send("POST", "/auth/admins", body, session=office.admin())
    assert answer.ok, answer.text
    made: dict[str, Any] = answer.json()
    return made


def enter(office: Office, email: str, password: str) -> requests.Session:
    """Log an admin in; a client that keeps the cookie."""
    session = requests.Session()
    body = {"email": email, "password": password}
    answer = office.send("POST", "/auth/login", body, session=session)
    assert answer.ok, answer.text
    return session


def may_enter(office: Office, email: str, password: str) -> bool:
    return office.send("POST", "/auth/login", {"email": email, "password": password}).ok


def test_an_admin_is_made_with_a_password_that_is_shown_once(office: Office) -> None:
    made = make(office, scopes=["billing:read"])
    session = enter(office, made["email"], made["password"])
    assert office.names(session=session) == 200
    assert office.send("GET", "/auth/admins", session=session).status_code == 403
    listed = office.send("GET", "/auth/admins", session=office.admin())
    assert made["password"] not in listed.text
    mine, theirs = listed.json()
    assert mine["email"] == office.email
    assert (theirs["admin_ref"], theirs["email"]) == (made["admin_ref"], made["email"])
    assert (theirs["scopes"], theirs["sessions"]) == (["billing:read"], 1)


@pytest.mark.parametrize("by", ["admin_ref", "email"])
def test_an_admin_who_is_ended_is_out_at_once(office: Office, by: str) -> None:
    made = make(office, password=CHOSEN)
    session = enter(office, made["email"], CHOSEN)
    answer = office.send("DELETE", f"/auth/admins/{made[by]}", session=office.admin())
    assert answer.json() == {"admin_ref": made["admin_ref"], "email": made["email"]}
    assert all(office.names(session=session) == 401 for _ in range(6))
    assert not may_enter(office, made["email"], CHOSEN)
    assert make(office, email=made["email"].upper())["admin_ref"] != made["admin_ref"]


def test_the_last_one_who_looks_after_admins_stays(office: Office) -> None:
    make(office, scopes=["billing:read"])
    session = office.admin()
    answer = office.send("DELETE", f"/auth/admins/{office.email}", session=session)
    assert (answer.status_code, answer.json()["code"]) == (409, "last_admin")
    other = make(office)
    assert office.send("DELETE", f"/auth/admins/{office.email}", session=session).ok
    assert office.names(session=session) == 401
    assert office.names(session=enter(office, other["email"], other["password"])) == 200


def test_an_admin_changes_their_own_password_knowing_it(office: Office) -> None:
    made = make(office, password=CHOSEN, scopes=["billing:read"])
    session, elsewhere = (enter(office, made["email"], CHOSEN) for _ in range(2))
    path = "/auth/admins/me/password"
    body = {"password": "another long password"}
    for current, code in (("", "required"), ("wrong", "password_wrong")):
        sent = body | {"current_password": current}
        (problem,) = office.send("POST", path, sent, session=session).json()["errors"]
        assert (problem["pointer"], problem["code"]) == ("/current_password", code)
    assert office.names(session=elsewhere) == 200
    sent = body | {"current_password": CHOSEN}
    assert office.send("POST", path, sent, session=session).ok
    for former in (session, elsewhere):
        assert office.names(session=former) == 401
    assert not may_enter(office, made["email"], CHOSEN)
    assert may_enter(office, made["email"], body["password"])


def test_an_admin_gives_another_a_password(office: Office) -> None:
    made = make(office, password=CHOSEN)
    session = enter(office, made["email"], CHOSEN)
    path = f"/auth/admins/{made['admin_ref']}/password"
    given = office.send("POST", path, session=office.admin()).json()
    assert office.names(session=session) == 401
    assert may_enter(office, made["email"], given["password"])


async def test_guesses_at_one_s_own_password_are_counted_like_logins(office: Office) -> None:
    session = office.admin()

    def guess() -> int:
        body = {"current_password": "wrong"}
        path = "/auth/admins/me/password"
        return office.send("POST", path, body, session=session).status_code

    assert [guess() for _ in range(5)] == [422] * 5
    await put_off(office, office.email, hours=1)
    assert guess() == 429


def test_nobody_gets_more_by_making_or_taking_over_an_admin(office: Office) -> None:
    narrow = make(office, scopes=["admin"], password=CHOSEN)
    session = enter(office, narrow["email"], CHOSEN)
    everything = {"email": "x@example.com"}
    for verb, path, body in (
        ("POST", "/auth/admins", everything),
        ("POST", f"/auth/admins/{office.email}/password", None),
        ("DELETE", f"/auth/admins/{office.email}", None),
    ):
        answer = office.send(verb, path, body, session=session)
        assert (answer.status_code, answer.json()["code"]) == (403, "scope_missing"), path
    own = everything | {"scopes": ["admin"], "email": f"{uuid.uuid4()}@example.com"}
    assert office.send("POST", "/auth/admins", own, session=session).ok


async def test_admins_of_another_tenant_do_not_exist(site: Site, office: Office) -> None:
    stranger = await make_office(site)
    session = stranger.admin()
    for verb, path in (
        ("DELETE", f"/auth/admins/{office.email}"),
        ("POST", f"/auth/admins/{office.email}/password"),
        ("DELETE", "/auth/admins/nobody"),
    ):
        assert stranger.send(verb, path, session=session).status_code == 404, path
    listed = stranger.send("GET", "/auth/admins", session=session).json()
    assert [admin["email"] for admin in listed] == [stranger.email]
    taken = stranger.send("POST", "/auth/admins", {"email": office.email}, session=session)
    assert (taken.status_code, taken.json()["code"]) == (409, "email_taken")


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({}, {"/email": "required"}),
        ({"email": "nobody"}, {"/email": "email_malformed"}),
        ({"email": "a@b.example,c@d.example"}, {"/email": "email_malformed"}),
        ({"email": "a@b.example", "password": "short"}, {"/password": "password_too_short"}),
        ({"email": "a@b.example", "password": "x" * 1_025}, {"/password": "text_too_long"}),
        ({"email": "a@b.example", "scopes": ["root"]}, {"/scopes/0": "choice_unknown"}),
        ({"email": "a@b.example", "name": "A"}, {"/name": "unknown_field"}),
    ],
)
def test_what_is_wrong_with_a_new_admin_is_named(
    office: Office, fields: dict[str, object], wrong: dict[str, str]
) -> None:
    answer = office.send("POST", "/auth/admins", fields, session=office.admin())
    assert answer.status_code == 422
    assert {p["pointer"]: p["code"] for p in answer.json()["errors"]} == wrong


async def test_no_password_of_an_admin_is_kept_as_it_is(office: Office) -> None:
    made = make(office, password=CHOSEN)
    path = f"/auth/admins/{made['admin_ref']}/password"
    given = office.send("POST", path, session=office.admin()).json()["password"]
    for table in ("admin_user", "audit_entry", "idempotent_answer"):
        rows = await office.fetch(f"SELECT * FROM {table} WHERE tenant_id = $1", office.tenant_id)
        text = str([dict(row) for row in rows])
        assert CHOSEN not in text
        assert given not in text
