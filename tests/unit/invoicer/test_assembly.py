"""Which periods a document waits for."""

from datetime import UTC, date, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from invoicer.assembly import ahead_starts, due_date, due_starts
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


def test_what_is_billed_before_use_is_settled_by_the_next_document() -> None:
    terms = BillingTerms(START, None, "MONTHLY", payment_time="BEFORE_USE")
    months = [utc(START.year, START.month + n, START.day) for n in range(2)]
    assert ahead_starts(terms, START) == (months[0],)
    assert due_starts(terms, START) == ()
    assert ahead_starts(terms, months[1].date()) == (months[1],)
    assert due_starts(terms, months[1].date()) == (months[0],)


days = st.integers(min_value=0, max_value=900).map(lambda count: START + timedelta(days=count))


@given(
    end=days,
    unit=st.sampled_from(["ONE_TIME", "MONTHLY", "QUARTERLY", "YEARLY"]),
    cycle=st.integers(min_value=1, max_value=5),
    issue_day=st.none() | days,
    payment_time=st.sampled_from(["BEFORE_USE", "DURING_USE", "AFTER_USE"]),
    timezone=st.sampled_from(["UTC", "Europe/Berlin", "America/Santiago", "Pacific/Apia"]),
)
def test_every_period_is_due_on_exactly_one_day(
    end: date, unit: str, cycle: int, issue_day: date | None, payment_time: str, timezone: str
) -> None:
    terms = BillingTerms(START, end, unit, cycle, issue_day, payment_time, timezone)  # type: ignore[arg-type]  # one of the units
    every = list(periods(terms))
    days = sorted({day for period in every for day in (period.issue_date, period.rest_date)})
    due = [start for day in days for start in due_starts(terms, day)]
    assert due == [period.start for period in every]
    ahead = [start for day in days for start in ahead_starts(terms, day)]
    assert ahead == [period.start for period in every if period.is_ahead]


def test_net_terms_are_days_from_the_issue_date() -> None:
    assert due_date(date(2026, 9, 1), "30") == date(2026, 10, 1)
    for at_once in ("DUE_UPON_RECEIPT", "DUE_UPON_USAGE"):
        assert due_date(date(2026, 9, 1), at_once) == date(2026, 9, 1)
