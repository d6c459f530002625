"""Tokens of API keys: ended by a logout, on every process."""

import time
from collections.abc import Callable

import jwt

from tests.integration.auth.conftest import Office

PROBES = 12
"""Requests over connections of their own: one of two processes is missed once in 2,048 times."""


DEADLINE_SECONDS = 60.0
"""What is promised is five seconds (tests/unit/gateway/auth/test_news.py); a machine that has more
to do than it can takes longer over all."""


def comes_to_be(is_so: Callable[[], bool], *, probes: int = PROBES) -> bool:
    """Tell whether something comes to be so, on every process."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        if all(is_so() for _ in range(probes)):
            return True
    return False


def test_a_logout_ends_the_token_soon_on_every_process(office: Office) -> None:
    token, other = office.log_in(), office.log_in()
    assert all(office.names(token=token) == 200 for _ in range(PROBES))
    assert office.send("POST", "/auth/logout", token=token).ok
    assert comes_to_be(lambda: office.names(token=token) == 401)
    assert office.names(token=other) == 200


def test_a_logout_needs_somebody_who_is_logged_in(office: Office) -> None:
    assert office.send("POST", "/auth/logout").status_code == 401
    assert office.send("POST", "/auth/logout", token="forged").status_code == 401


def test_an_ended_token_is_ended_however_it_is_written(office: Office) -> None:
    token = office.log_in()
    assert office.send("POST", "/auth/logout", token=token).ok
    assert comes_to_be(lambda: office.names(token=token) == 401)
    for other in (f" {token}", f"{token} ", token + "="):
        assert office.names(token=other) == 401


def test_every_token_has_an_id_of_its_own(office: Office) -> None:
    ids = {
        jwt.decode(office.log_in(), options={"verify_signature": False})["jti"] for _ in range(3)
    }
    assert len(ids) == 3
