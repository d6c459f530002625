"""Waits between tries, and what a Retry-After header asks for."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterline_client.retry import read_retry_after, wait_seconds

NOW = datetime(2026, 11, 1, 12, 0, 0, tzinfo=UTC)


@given(tried=st.integers(1, 10_000), asked=st.floats(0, 100))
def test_a_wait_is_never_shorter_than_asked_nor_longer_than_its_bound(
    tried: int, asked: float
) -> None:
    seconds = wait_seconds(tried, asked, first=0.25, longest=20.0)
    assert asked <= seconds <= asked + min(20.0, 0.25 * 2.0 ** min(tried - 1, 20))


def test_waits_are_spread_over_the_whole_of_their_bound() -> None:
    waits = [wait_seconds(4, 0.0, first=1.0, longest=60.0) for _ in range(2_000)]
    assert min(waits) < 1.0
    assert max(waits) > 7.0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, 0.0),
        ("2", 2.0),
        (" 120 ", 120.0),
        ("-5", 0.0),
        ("soon", 0.0),
        ("1.5", 0.0),
        ("²", 0.0),
        ("9" * 400, 999_999_999.0),
        ("Sun, 01 Nov 2026 12:00:30 GMT", 30.0),
        ("Sun, 01 Nov 2026 11:00:00 GMT", 0.0),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(value: str | None, seconds: float) -> None:
    assert read_retry_after(value, NOW) == seconds
