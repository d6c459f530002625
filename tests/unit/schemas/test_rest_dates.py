"""Which document settles a period, where a part of it is billed ahead."""

from itertools import islice, pairwise
from typing import Any

import pytest
from hypothesis import given

from schemas.periods import BillingTerms, first_instant, periods
from tests.unit.schemas.test_periods import any_terms, on, terms


@pytest.mark.parametrize(
    ("payment_time", "fields", "expected"),
    [
        ("AFTER_USE", {}, ["2024-02-01", "2024-03-01", "2024-04-01"]),
        ("BEFORE_USE", {}, ["2024-02-01", "2024-03-01", "2024-04-01"]),
        ("DURING_USE", {}, ["2024-02-29", "2024-03-31", "2024-04-01"]),
        # What is due on the first issue day is not split.
        ("BEFORE_USE", {"issue_day": "2024-03-01"}, ["2024-03-01", "2024-03-01", "2024-04-01"]),
        ("DURING_USE", {"issue_day": "2024-02-01"}, ["2024-02-01", "2024-03-01", "2024-04-01"]),
        ("BEFORE_USE", {"ahead_since": "2024-03-01"}, ["2024-01-15", "2024-02-01", "2024-04-01"]),
        # What an edit rates anew is billed behind its end.
        (
            "BEFORE_USE",
            {"since": "2024-02-01", "ahead_since": "2024-03-01"},
            ["2024-03-01", "2024-04-01"],
        ),
        (
            "DURING_USE",
            {"since": "2024-02-01", "ahead_since": "2024-03-01"},
            ["2024-03-01", "2024-04-01"],
        ),
        (
            "BEFORE_USE",
            {"unit": "ONE_TIME", "since": "2024-01-15", "ahead_since": "2024-04-01"},
            ["2024-04-01"],
        ),
        # An edit does not move what was promised before it.
        ("DURING_USE", {"until": "2024-03-01"}, ["2024-02-29", "2024-03-31"]),
        ("BEFORE_USE", {"until": "2024-03-01"}, ["2024-02-01", "2024-03-01"]),
        ("BEFORE_USE", {"timezone": "America/Havana"}, ["2024-02-01", "2024-03-01", "2024-04-01"]),
        ("DURING_USE", {"unit": "ONE_TIME"}, ["2024-04-01"]),
        ("BEFORE_USE", {"unit": "ONE_TIME"}, ["2024-04-01"]),
        ("BEFORE_USE", {"unit": "ONE_TIME", "issue_day": "2024-05-01"}, ["2024-05-01"]),
        ("DURING_USE", {"unit": "ONE_TIME", "issue_day": "2024-02-20"}, ["2024-04-01"]),
    ],
)
def test_what_is_known_at_the_end_is_on_the_next_document(
    payment_time: str, fields: dict[str, str], expected: list[str]
) -> None:
    days = {"issue_day", "ahead_since", "since", "until"}
    values: dict[str, Any] = {n: on(text) if n in days else text for n, text in fields.items()}
    given_terms = terms(
        "2024-01-15",
        "2024-03-31",
        values.pop("unit", "MONTHLY"),
        payment_time=payment_time,
        **values,
    )
    assert [str(period.rest_date) for period in periods(given_terms)] == expected


@given(any_terms())
def test_what_is_billed_ahead_is_settled_behind_the_period(given_terms: BillingTerms) -> None:
    found = list(islice(periods(given_terms), 60))
    for period in found:
        assert period.rest_date >= period.issue_date
        assert period.issued_at == first_instant(period.issue_date, given_terms.timezone)
        if period.is_ahead:
            assert given_terms.payment_time != "AFTER_USE"
            assert period.rest_date >= period.end_date > period.issue_date
    for earlier, later in pairwise(found):
        if given_terms.payment_time != "AFTER_USE":
            assert earlier.rest_date == later.issue_date
