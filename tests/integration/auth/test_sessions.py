"""Admins: a session in a cookie, ended on the server, and of no use to other sites."""

import pytest
import requests

from tests.integration.auth.conftest import Office

SAME_ANSWER = ("status", "title", "code", "detail", "type")


def test_an_admin_gets_a_cookie_that_scripts_and_other_sites_do_not(office: Office) -> None:
    body = {"email": office.email, "password": office.password}
    answer = office.send("POST", "/auth/login", body)
    assert answer.ok, answer.text
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("meterline_session=")
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    assert answer.headers["Cache-Control"] == "no-store"


def test_anywhere_but_on_loopback_the_cookie_is_bound_to_host_and_https(office: Office) -> None:
    body = {"email": office.email, "password": office.password}
    answer = office.send("POST", "/auth/login", body, headers={"Host": "billing.example.com"})
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("__Host-meterline_session=")
    assert {"HttpOnly", "SameSite=Lax", "Path=/", "Secure"} <= set(cookie.split("; "))
    assert "Domain" not in cookie
    token = cookie.partition("=")[2].partition(";")[0]
    for name, status in (("__Host-meterline_session", 200), ("meterline_session", 401)):
        headers = {"Cookie": f"{name}={token}", "Host": "billing.example.com"}
        assert office.send("GET", "/api/customers/names", headers=headers).status_code == status


def test_the_e_mail_is_matched_whatever_its_case(office: Office) -> None:
    body = {"email": f" {office.email.upper()} ", "password": office.password}
    assert office.send("POST", "/auth/login", body).ok


def test_a_session_may_call_the_api_until_it_is_logged_out(office: Office) -> None:
    session = office.admin()
    token = session.cookies["meterline_session"]
    assert office.names(session=session) == 200
    assert office.send("POST", "/auth/logout", session=session).ok
    assert "meterline_session" not in session.cookies
    for _ in range(4):
        stale = {"Cookie": f"meterline_session={token}"}
        answer = office.send("GET", "/api/customers/names", headers=stale)
        assert (answer.status_code, answer.json()["code"]) == (401, "session_ended")


def test_logging_in_again_ends_the_session_that_was(office: Office) -> None:
    session = office.admin()
    before = session.cookies["meterline_session"]
    body = {"email": office.email, "password": office.password}
    office.send("POST", "/auth/login", body, session=session)
    assert session.cookies["meterline_session"] != before
    assert office.names(headers={"Cookie": f"meterline_session={before}"}) == 401
    assert office.names(session=session) == 200


@pytest.mark.parametrize("email", ["nobody@example.com", "", "x" * 9_000, "\0", "not an address"])
def test_an_unknown_admin_and_a_wrong_password_get_one_answer(office: Office, email: str) -> None:
    unknown = office.send("POST", "/auth/login", {"email": email, "password": office.password})
    wrong = office.send("POST", "/auth/login", {"email": office.email, "password": "wrong"})
    assert unknown.status_code == wrong.status_code == 401
    assert [unknown.json()[name] for name in SAME_ANSWER] == [
        wrong.json()[name] for name in SAME_ANSWER
    ]
    assert "Set-Cookie" not in unknown.headers


@pytest.mark.parametrize(
    ("headers", "is_taken"),
    [
        ({}, True),
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "none"}, True),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Origin": "https://evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "https://evil.example", "Sec-Fetch-Site": "same-origin"}, True),
    ],
)
def test_a_change_by_session_has_to_come_from_our_own_pages(
    office: Office, headers: dict[str, str], is_taken: bool
) -> None:
    session = office.admin()
    body = {"name": "Units"}
    answer = office.send("POST", "/api/usage/products", body, session=session, headers=headers)
    assert answer.ok is is_taken, answer.text
    if not is_taken:
        assert (answer.status_code, answer.json()["code"]) == (403, "cross_site")
        assert office.names(session=session, headers=headers) == 200
        logged_in = {"email": office.email, "password": office.password}
        assert office.send("POST", "/auth/login", logged_in, headers=headers).status_code == 403


def test_our_own_origin_is_known_by_the_host(office: Office) -> None:
    session = office.admin()
    body = {"name": "Units"}
    answer = office.send(
        "POST", "/api/usage/products", body, session=session, headers={"Origin": office.url}
    )
    assert answer.ok


def test_a_token_is_not_asked_where_it_comes_from(office: Office) -> None:
    answer = office.send(
        "POST", "/api/usage/products", {"name": "Units"}, token=office.log_in(),
        headers={"Origin": "https://dashboard.example"},
    )  # fmt: skip
    assert answer.ok


def test_with_a_token_the_cookie_is_not_looked_at(office: Office) -> None:
    session = office.admin()
    assert office.names(session=session, token="forged") == 401


async def test_a_session_ends_at_its_time(office: Office) -> None:
    session = office.admin()
    await office.fetch(
        "UPDATE session SET expires_at = now() WHERE tenant_id = $1", office.tenant_id
    )
    assert office.names(session=session) == 401


async def test_an_admin_who_is_revoked_has_no_session(office: Office) -> None:
    session = office.admin()
    await office.fetch(
        "UPDATE admin_user SET revoked_at = now() WHERE tenant_id = $1", office.tenant_id
    )
    assert office.names(session=session) == 401
    body = {"email": office.email, "password": office.password}
    assert office.send("POST", "/auth/login", body).status_code == 401


async def test_what_the_database_holds_opens_nothing(office: Office) -> None:
    session = office.admin()
    rows = await office.fetch("SELECT * FROM session WHERE tenant_id = $1", office.tenant_id)
    token = session.cookies["meterline_session"]
    assert token not in str([dict(row) for row in rows])


async def test_an_admin_sees_their_own_tenant_alone(office: Office) -> None:
    other = requests.Session()
    assert office.names(session=other) == 401
    made = office.send(
        "POST", "/api/customers", {"name": "N", "email": "a@b.example"}, session=office.admin()
    )
    rows = await office.fetch(
        "SELECT tenant_id FROM customer WHERE customer_ref = $1", made.json()["customer_ref"]
    )
    assert [row["tenant_id"] for row in rows] == [office.tenant_id]
