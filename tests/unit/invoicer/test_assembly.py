"""Which periods a document waits for."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoicer.assembly import due_date, due_starts
from schemas.errors import InvalidInput
from schemas.periods import BillingTerms, periods

START = date(2024, 1, 15)


def utc(year: int, month: int, day: int) -> datetime:
    return datetime(year, month, day, tzinfo=UTC)


def test_a_month_is_due_on_the_day_after_its_last() -> None:
    terms = BillingTerms(date(2026, 6, 1), date(2026, 8, 31), "MONTHLY")
    assert due_starts(terms, date(2026, 8, 1)) == (utc(2026, 7, 1),)
    assert due_starts(terms, date(2026, 8, 2)) == ()
    assert due_starts(terms, date(2026, 10, 1)) == ()


def test_the_first_issue_day_takes_all_periods_before_it() -> None:
    terms = BillingTerms(date(2026, 6, 1), None, "MONTHLY", issue_day=date(2026, 8, 1))
    assert due_starts(terms, date(2026, 8, 1)) == (utc(2026, 6, 1), utc(2026, 7, 1))
    assert due_starts(terms, date(2026, 9, 1)) == (utc(2026, 8, 1),)


def test_a_single_period_is_due_on_its_issue_day() -> None:
    terms = BillingTerms(
        date(2026, 6, 1), date(2026, 6, 30), "ONE_TIME", issue_day=date(2026, 9, 9)
    )
    assert due_starts(terms, date(2026, 9, 9)) == (utc(2026, 6, 1),)
    assert due_starts(terms, date(2026, 7, 1)) == ()


def test_what_is_not_billed_after_use_is_refused() -> None:
    terms = BillingTerms(START, None, "MONTHLY", payment_time="BEFORE_USE")
    with pytest.raises(InvalidInput, match="payment_time_unsupported"):
        due_starts(terms, date(2026, 8, 1))


days = st.integers(min_value=0, max_value=900).map(lambda count: START + timedelta(days=count))


@given(
    end=days,
    unit=st.sampled_from(["ONE_TIME", "MONTHLY", "QUARTERLY", "YEARLY"]),
    cycle=st.integers(min_value=1, max_value=5),
    issue_day=st.none() | days,
    timezone=st.sampled_from(["UTC", "Europe/Berlin", "America/Santiago", "Pacific/Apia"]),
)
def test_every_period_is_due_on_exactly_one_day(
    end: date, unit: str, cycle: int, issue_day: date | None, timezone: str
) -> None:
    terms = BillingTerms(START, end, unit, cycle, issue_day, timezone=timezone)  # type: ignore[arg-type]  # one of the units
    every = list(periods(terms))
    issue_dates = sorted({period.issue_date for period in every})
    due = [start for day in issue_dates for start in due_starts(terms, day)]
    assert due == [period.start for period in every]


def test_net_terms_are_days_from_the_issue_date() -> None:
    assert due_date(date(2026, 9, 1), "30") == date(2026, 10, 1)
    for at_once in ("DUE_UPON_RECEIPT", "DUE_UPON_USAGE"):
        assert due_date(date(2026, 9, 1), at_once) == date(2026, 9, 1)
