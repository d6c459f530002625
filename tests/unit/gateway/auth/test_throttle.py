"""How long a failed login makes the next one wait."""

from datetime import UTC, datetime, timedelta

import pytest

from gateway.auth.throttle import Attempts, Subjects, one_more, wait_seconds

NOW = datetime(2024, 5, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("failures", "seconds_ago", "expected"),
    [
        (4, 0, 0),
        (5, 0, 1),
        (6, 0, 2),
        (8, 0, 8),
        (8, 3, 5),
        (8, 8, 0),
        (30, 0, 900),
        (99, 900, 0),
        (100, 900, 86_400 - 900),
        (100, 86_400, 0),
    ],
)
def test_after_five_failures_the_wait_doubles_to_a_quarter_of_an_hour_and_then_a_day(
    failures: int, seconds_ago: int, expected: float
) -> None:
    attempts = Attempts(failures, NOW - timedelta(seconds=seconds_ago))
    assert wait_seconds(attempts, 5, NOW) == expected


def test_who_never_failed_never_waits() -> None:
    assert wait_seconds(Attempts(), 0, NOW) == 0


def test_failures_add_up_and_are_forgotten_after_a_day() -> None:
    attempts = Attempts()
    for count in range(1, 4):
        attempts = one_more(attempts, NOW)
        assert attempts.failures == count
    assert one_more(attempts, NOW + timedelta(days=1)).failures == 1


@pytest.mark.parametrize(
    ("address", "is_counted"),
    [("203.0.113.9", True), ("2001:db8::", True), ("127.0.0.1", False), ("unknown", False)],
)
def test_an_address_that_everybody_shares_is_not_counted(address: str, is_counted: bool) -> None:
    assert (Subjects.of("key", address).address is not None) is is_counted


def test_a_pair_is_one_account_from_one_address() -> None:
    here, there = Subjects.of("key", "203.0.113.9"), Subjects.of("key", "203.0.113.10")
    assert here.account == there.account
    assert here.pair != there.pair
    assert Subjects.of("k", "ey203.0.113.9").pair != here.pair
