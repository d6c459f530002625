"""Which period the clock closes first, and which follows it."""

from datetime import UTC, date, datetime, timedelta

import pytest

from rater.schedule import first_to_close, period_after, period_ending
from schemas.periods import BillingTerms

QUARTER = BillingTerms(
    start_date=date(2026, 1, 15),
    end_date=date(2026, 4, 14),
    unit="MONTHLY",
    issue_day=date(2026, 2, 1),
    timezone="Europe/Berlin",
)
BERLIN = timedelta(hours=-1)


@pytest.mark.parametrize(
    ("closes_after", "end"),
    [
        (None, date(2026, 2, 1)),
        (datetime(2020, 1, 1, tzinfo=UTC), date(2026, 2, 1)),
        # The very end of January is February's first instant: January waits for a call.
        (datetime(2026, 2, 1, tzinfo=UTC) + BERLIN - timedelta(microseconds=1), date(2026, 2, 1)),
        (datetime(2026, 2, 1, tzinfo=UTC) + BERLIN, date(2026, 3, 1)),
        (datetime(2026, 4, 10, tzinfo=UTC), date(2026, 4, 15)),
        (datetime(2026, 4, 15, tzinfo=UTC), None),
        (datetime(2027, 1, 1, tzinfo=UTC), None),
    ],
)
def test_what_had_ended_waits_for_a_call(closes_after: datetime | None, end: date | None) -> None:
    period = first_to_close(QUARTER, closes_after)
    assert (period and period.end_date) == end


def test_the_schedule_walks_through_every_period_once() -> None:
    period = first_to_close(QUARTER, None)
    ends = []
    while period is not None:
        assert period_ending(QUARTER, period.end) == period
        ends.append(period.end_date.isoformat())
        period = period_after(QUARTER, period)
    assert ends == ["2026-02-01", "2026-03-01", "2026-04-01", "2026-04-15"]


@pytest.mark.parametrize("day", [date(2026, 3, 29), date(2026, 10, 25)])
def test_a_period_that_ends_on_the_night_of_a_clock_change_is_found_by_its_end(day: date) -> None:
    terms = BillingTerms(
        start_date=date(2026, 1, 1), end_date=None, unit="MONTHLY", issue_day=day,
        timezone="Europe/Berlin",
    )  # fmt: skip
    period = first_to_close(terms, datetime(2026, day.month, day.day - 1, tzinfo=UTC))
    assert period is not None
    assert period.end_date == day
    assert period_ending(terms, period.end) == period
