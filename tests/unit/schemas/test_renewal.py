"""Terms that renew themselves have the bounds that they would have, and ends of equal terms."""

from datetime import date, timedelta
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.periods import BillingTerms, CycleUnit, periods
from schemas.renewal import anchor_of, term_end

days = st.dates(date(2020, 1, 1), date(2030, 12, 31))


@given(
    days, st.integers(1, 1500), st.sampled_from(["MONTHLY", "QUARTERLY", "YEARLY"]),
    st.integers(1, 7),
)  # fmt: skip
def test_what_renews_is_cut_as_it_was_and_goes_on(
    start: date, length: int, unit: CycleUnit, cycle: int
) -> None:
    end = start + timedelta(days=length - 1)
    once = list(periods(BillingTerms(start, end, unit, cycle)))
    anchor = anchor_of(start, end, unit, cycle)
    assert anchor is None or anchor <= start
    goes_on = list(islice(periods(BillingTerms(start, None, unit, cycle, anchor)), len(once) + 2))
    bounds = [(one.start_date, one.end_date) for one in goes_on]
    assert bounds[: len(once)] == [(one.start_date, one.end_date) for one in once]
    assert not goes_on[-1].is_partial
    issued = [one.issue_date for one in goes_on]
    assert issued[: len(once)] == [one.issue_date for one in once]


@pytest.mark.parametrize(
    ("start", "end", "day", "expected"),
    [
        ("2024-01-01", "2024-12-31", "2024-06-01", "2024-12-31"),
        ("2024-01-01", "2024-12-31", "2025-01-01", "2025-12-31"),
        ("2024-01-31", "2024-02-28", "2024-03-01", "2024-03-30"),  # a month, from the 31st
        ("2024-03-15", "2025-03-14", "2030-03-15", "2031-03-14"),
        ("2024-01-01", "2024-01-10", "2024-01-25", "2024-01-30"),  # so many days
    ],
)
def test_terms_are_of_equal_length(start: str, end: str, day: str, expected: str) -> None:
    first, last, on = map(date.fromisoformat, (start, end, day))
    assert str(term_end(first, last, on)) == expected
