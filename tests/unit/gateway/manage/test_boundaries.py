"""From which day a change counts: bounds of running periods, across all versions of a product."""

from datetime import UTC, date, datetime

import pytest

from gateway.manage.boundaries import boundary
from schemas.periods import BillingTerms

FIRST = BillingTerms(date(2024, 1, 15), date(2024, 12, 14), "MONTHLY", timezone="Europe/Berlin")


def terms(since: str | None = None, until: str | None = None) -> BillingTerms:
    """Return the terms of a version: periods from the 15th on, within days."""
    first, last = (None if day is None else date.fromisoformat(day) for day in (since, until))
    return BillingTerms(
        FIRST.start_date,
        FIRST.end_date,
        "MONTHLY",
        timezone=FIRST.timezone,
        since=first,
        until=last,
    )


@pytest.mark.parametrize(
    ("versions", "now", "running", "following"),
    [
        ([terms()], "2024-03-20T00:00Z", "2024-03-15", "2024-04-15"),
        # Days are those of the zone: there it is the 15th an hour earlier.
        ([terms()], "2024-03-14T22:59Z", "2024-02-15", "2024-03-15"),
        ([terms()], "2024-03-14T23:00Z", "2024-03-15", "2024-04-15"),
        # Before it begins, and once it has ended.
        ([terms()], "2023-07-01T00:00Z", "2024-01-15", "2024-01-15"),
        ([terms()], "2025-07-01T00:00Z", "2024-11-15", "2024-12-15"),
        # What is to follow has not begun: the version before it is the running one.
        (
            [terms(since="2024-05-15"), terms(until="2024-05-15")],
            *("2024-04-20T00:00Z", "2024-04-15", "2024-05-15"),
        ),
        (
            [terms(since="2024-05-15"), terms(until="2024-05-15")],
            *("2024-06-20T00:00Z", "2024-06-15", "2024-07-15"),
        ),
        # An early end is an end.
        ([terms(until="2024-03-01")], "2024-06-01T00:00Z", "2024-02-15", "2024-03-01"),
        # What never counts has no period.
        (
            [terms(since="2024-12-15"), terms(until="2024-12-15")],
            *("2025-07-01T00:00Z", "2024-11-15", "2024-12-15"),
        ),
        ([terms(until="2024-01-15")], "2024-06-01T00:00Z", "2024-01-15", "2024-01-15"),
    ],
)
def test_a_change_counts_from_the_running_period_or_from_the_one_after(
    versions: list[BillingTerms], now: str, running: str, following: str
) -> None:
    at = datetime.fromisoformat(now).astimezone(UTC)
    assert str(boundary(versions, at, includes_current=True)) == running
    assert str(boundary(versions, at, includes_current=False)) == following
