"""Periods tile: no gap, no overlap, each instant in one, whatever the zone, cycle or anchor.

The oracle looks at every day by itself: a day is a bound when its month lies whole cycles from the
anchor's and it is the anchor's day, or the month's last where the month is shorter.
"""

from calendar import monthrange
from datetime import UTC, date, datetime, timedelta
from itertools import islice, pairwise
from typing import get_args
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas.errors import InvalidInput
from schemas.periods import (
    BillingTerms,
    CycleUnit,
    Part,
    PaymentTime,
    Period,
    first_instant,
    period_at,
    periods,
    periods_ending_by,
)

ZONES = sorted(available_timezones())
DAY = timedelta(days=1)
MONTHS: dict[CycleUnit, int] = {"MONTHLY": 1, "QUARTERLY": 3, "YEARLY": 12}

zones = st.sampled_from(ZONES)
days = st.dates(date(1975, 1, 1), date(2060, 12, 31))
units: st.SearchStrategy[CycleUnit] = st.sampled_from(tuple(MONTHS))
payment_times: st.SearchStrategy[PaymentTime] = st.sampled_from(get_args(PaymentTime))


def on(text: str) -> date:
    return date.fromisoformat(text)


def terms(
    start: str, end: str | None, unit: CycleUnit = "MONTHLY", **fields: object
) -> BillingTerms:
    last = None if end is None else on(end)
    return BillingTerms(on(start), last, unit, **fields)  # type: ignore[arg-type]


def bounds(found: list[Period]) -> list[str]:
    return [f"{period.start_date}/{period.end_date}" for period in found]


@st.composite
def any_terms(draw: st.DrawFn, span_days_max: int = 20 * 366) -> BillingTerms:
    start = draw(days)
    return BillingTerms(
        start_date=start,
        end_date=start + timedelta(days=draw(st.integers(0, span_days_max))),
        unit=draw(units),
        cycle=draw(st.sampled_from([1, 1, 2, 5, 12])),
        issue_day=draw(st.none() | days),
        payment_time=draw(payment_times),
        timezone=draw(zones),
    )


def is_bound(day: date, anchor: date, cycle_months: int) -> bool:
    months = (day.year - anchor.year) * 12 + day.month - anchor.month
    last = monthrange(day.year, day.month)[1]
    return months % cycle_months == 0 and day.day == min(anchor.day, last)


def bounds_day_by_day(given_terms: BillingTerms) -> list[date]:
    """List the clipped bounds by looking at every day of the contract."""
    assert given_terms.end_date is not None
    start, after = given_terms.start_date, given_terms.end_date + DAY
    anchor = given_terms.issue_day or after
    cycle_months = MONTHS[given_terms.unit] * given_terms.cycle
    inside = (start + timedelta(days=count) for count in range(1, (after - start).days))
    return [start, *(day for day in inside if is_bound(day, anchor, cycle_months)), after]


def has_instants(day: date, zone: str) -> bool:
    return first_instant(day, zone) < first_instant(day + DAY, zone)


@given(any_terms(span_days_max=4 * 366))
def test_bounds_are_those_that_a_look_at_every_day_finds(given_terms: BillingTerms) -> None:
    expected = [
        (start, end)
        for start, end in pairwise(bounds_day_by_day(given_terms))
        if (end - start) > DAY or has_instants(start, given_terms.timezone)
    ]
    found = list(periods(given_terms))
    assert [(period.start_date, period.end_date) for period in found] == expected
    assert [period.index for period in found] == list(range(len(found)))


@given(any_terms(span_days_max=50 * 366))
def test_periods_tile_the_contract(given_terms: BillingTerms) -> None:
    assert given_terms.end_date is not None
    found = list(periods(given_terms))
    zone = given_terms.timezone
    edges = [found[0].start, *(period.end for period in found)] if found else []
    assert edges == sorted(set(edges))
    assert all(one.end == other.start for one, other in pairwise(found))
    if found:
        assert edges[0] == first_instant(given_terms.start_date, zone)
        assert edges[-1] == first_instant(given_terms.end_date + DAY, zone)


@given(any_terms(span_days_max=6 * 366), st.data())
def test_terms_that_follow_each_other_at_a_bound_have_the_periods_of_one(
    given_terms: BillingTerms, data: st.DataObject
) -> None:
    found = list(periods(given_terms))
    if not found:
        return
    bound = data.draw(st.sampled_from(found)).start_date
    before, after = replace(given_terms, until=bound), replace(given_terms, since=bound)
    both = [*periods(before), *periods(after)]
    assert [replace(one, index=0) for one in both] == [replace(one, index=0) for one in found]
    assert [one.index for one in periods(before)] == list(range(len(list(periods(before)))))
    assert all(one.index > 0 for one in periods(after)) or bound == found[0].start_date
    for one in found:
        holding = [t for t in (before, after) if period_at(t, one.start) is not None]
        assert holding == [before if one.start_date < bound else after]


def test_terms_that_end_within_a_period_cut_it_short() -> None:
    whole = terms("2024-01-15", "2025-01-14", issue_day=on("2024-01-31"))
    found = list(periods(replace(whole, since=on("2024-02-29"), until=on("2024-03-11"))))
    assert bounds(found) == ["2024-02-29/2024-03-11"]
    assert (found[0].full_end_date, found[0].issue_date) == (on("2024-03-31"), on("2024-03-11"))
    assert found[0].is_partial
    once = replace(whole, unit="ONE_TIME", issue_day=None, until=on("2024-03-11"))
    assert bounds(list(periods(once))) == ["2024-01-15/2024-03-11"]
    assert next(periods(once)).part == Part(before=0, through=56, whole=366)
    assert list(periods(replace(whole, since=on("2025-01-15")))) == []
    assert list(periods(replace(whole, since=on("2024-05-01"), until=on("2024-05-01")))) == []


@given(any_terms(), st.data())
def test_an_instant_lies_in_the_one_period_that_period_at_finds(
    given_terms: BillingTerms, data: st.DataObject
) -> None:
    assert given_terms.end_date is not None
    found = list(periods(given_terms))
    edges = [instant for period in found for instant in (period.start, period.end)]
    near_edge = st.sampled_from(edges or [datetime(2011, 12, 30, 10, tzinfo=UTC)])
    offsets = st.sampled_from([timedelta(0), timedelta(microseconds=1), timedelta(hours=1), DAY])
    instant = data.draw(near_edge) + data.draw(st.sampled_from([-1, 1])) * data.draw(offsets)
    holding = [period for period in found if period.start <= instant < period.end]
    at = period_at(given_terms, instant)
    assert holding == ([] if at is None else [at])


@given(any_terms())
def test_a_partial_period_is_a_piece_of_its_whole_cycle(given_terms: BillingTerms) -> None:
    cycle_months = MONTHS[given_terms.unit] * given_terms.cycle
    assert given_terms.end_date is not None
    anchor = given_terms.issue_day or given_terms.end_date + DAY
    for period in islice(periods(given_terms), 60):
        part = period.part
        assert 0 <= part.before < part.through <= part.whole
        assert period.is_partial == (not part.is_whole)
        assert is_bound(period.full_start_date, anchor, cycle_months)
        assert is_bound(period.full_end_date, anchor, cycle_months)
        assert part.whole == (period.full_end_date - period.full_start_date).days


@given(any_terms())
def test_no_document_is_due_before_the_issue_day(given_terms: BillingTerms) -> None:
    for period in islice(periods(given_terms), 60):
        natural = {
            "AFTER_USE": period.end_date,
            "BEFORE_USE": period.start_date,
            "DURING_USE": period.start_date if given_terms.issue_day else period.end_date - DAY,
        }[given_terms.payment_time]
        assert period.issue_date == max(natural, given_terms.issue_day or natural)


@given(days, zones)
def test_a_local_day_begins_with_its_first_instant(day: date, name: str) -> None:
    zone = ZoneInfo(name)
    start = first_instant(day, name)
    assert start.astimezone(zone).date() >= day
    before = [
        start - timedelta(seconds=1),
        *(start - timedelta(minutes=15 * n) for n in range(1, 120)),
    ]
    assert all(instant.astimezone(zone).date() < day for instant in before)
    assert start <= first_instant(day + DAY, name)


@pytest.mark.parametrize(
    ("zone", "day", "instant"),
    [
        ("America/Havana", "2024-03-10", "2024-03-10T05:00:00"),  # 00:00 is skipped
        ("America/Havana", "2024-11-03", "2024-11-03T04:00:00"),  # 00:00 comes twice
        ("America/St_Johns", "2006-10-29", "2006-10-29T02:30:00"),  # back over midnight at 00:01
        ("America/Toronto", "1919-03-31", "1919-03-31T04:30:00"),  # 23:30 to 00:30
        ("Pacific/Apia", "2011-12-30", "2011-12-30T10:00:00"),  # the whole day is skipped
        ("Asia/Kathmandu", "2024-01-01", "2023-12-31T18:15:00"),
    ],
)
def test_midnights_that_are_skipped_or_come_twice_have_one_instant(
    zone: str, day: str, instant: str
) -> None:
    assert first_instant(on(day), zone) == datetime.fromisoformat(instant).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("given_terms", "expected"),
    [
        (  # unset: bounds count back from the day after the last
            terms("2024-01-15", "2024-03-31"),
            ["2024-01-15/2024-02-01", "2024-02-01/2024-03-01", "2024-03-01/2024-04-01"],
        ),
        (  # an issue day anchors the bounds before it too
            terms("2024-01-01", "2024-03-31", issue_day=on("2024-02-10")),
            ["2024-01-01/2024-01-10", "2024-01-10/2024-02-10", "2024-02-10/2024-03-10",
             "2024-03-10/2024-04-01"],
        ),
        (  # and may lie before the start; the 31st clamps and returns
            terms("2023-01-01", "2023-04-30", issue_day=on("2020-12-31")),
            ["2023-01-01/2023-01-31", "2023-01-31/2023-02-28", "2023-02-28/2023-03-31",
             "2023-03-31/2023-04-30", "2023-04-30/2023-05-01"],
        ),
        (  # the 29th of February, yearly
            terms("2024-02-29", "2028-02-28", "YEARLY", issue_day=on("2024-02-29")),
            ["2024-02-29/2025-02-28", "2025-02-28/2026-02-28", "2026-02-28/2027-02-28",
             "2027-02-28/2028-02-29"],
        ),
        (terms("2024-05-31", "2024-05-31"), ["2024-05-31/2024-06-01"]),
        (terms("2024-05-01", "2024-12-31", "ONE_TIME"), ["2024-05-01/2025-01-01"]),
        (
            terms("2024-01-01", "2024-12-31", "QUARTERLY", cycle=2),
            ["2024-01-01/2024-07-01", "2024-07-01/2025-01-01"],
        ),
    ],
)  # fmt: skip
def test_bounds_stand_at_the_anchor_and_whole_cycles_from_it(
    given_terms: BillingTerms, expected: list[str]
) -> None:
    assert bounds(list(periods(given_terms))) == expected


def test_without_an_end_or_an_issue_day_bounds_count_from_the_start() -> None:
    found = list(islice(periods(terms("2024-01-31", None)), 3))
    assert bounds(found) == [
        "2024-01-31/2024-02-29",
        "2024-02-29/2024-03-31",
        "2024-03-31/2024-04-30",
    ]
    assert not any(period.is_partial for period in found)
    assert period_at(terms("2024-01-31", None), datetime(2524, 2, 1, tzinfo=UTC)) is not None


@pytest.mark.parametrize(
    ("payment_time", "issue_day", "expected"),
    [
        ("AFTER_USE", None, ["2024-02-01", "2024-03-01", "2024-04-01"]),
        ("BEFORE_USE", None, ["2024-01-15", "2024-02-01", "2024-03-01"]),
        ("DURING_USE", None, ["2024-01-31", "2024-02-29", "2024-03-31"]),
        ("AFTER_USE", "2024-03-01", ["2024-03-01", "2024-03-01", "2024-04-01"]),
        ("BEFORE_USE", "2024-03-01", ["2024-03-01", "2024-03-01", "2024-03-01"]),
        ("DURING_USE", "2023-12-01", ["2024-01-15", "2024-02-01", "2024-03-01"]),
    ],
)
def test_documents_are_due_by_payment_time_and_wait_for_the_issue_day(
    payment_time: str, issue_day: str | None, expected: list[str]
) -> None:
    day = None if issue_day is None else on(issue_day)
    given_terms = terms("2024-01-15", "2024-03-31", payment_time=payment_time, issue_day=day)
    assert [str(period.issue_date) for period in periods(given_terms)] == expected


@pytest.mark.parametrize(
    ("payment_time", "issue_day", "expected"),
    [
        ("AFTER_USE", None, "2024-02-01"),
        ("DURING_USE", None, "2024-02-01"),
        ("BEFORE_USE", None, "2024-01-01"),
        ("BEFORE_USE", "2024-01-20", "2024-01-20"),
    ],
)
def test_a_one_time_document_is_due_once(
    payment_time: str, issue_day: str | None, expected: str
) -> None:
    day = None if issue_day is None else on(issue_day)
    given_terms = terms(
        "2024-01-01", "2024-01-31", "ONE_TIME", payment_time=payment_time, issue_day=day
    )
    (period,) = periods(given_terms)
    assert (str(period.issue_date), period.is_partial) == (expected, False)


def test_instants_outside_the_contract_are_in_no_period() -> None:
    given_terms = terms("2024-01-15", "2024-03-31", timezone="America/New_York")
    first, *_, last = periods(given_terms)
    assert period_at(given_terms, first.start - timedelta(microseconds=1)) is None
    assert period_at(given_terms, first.start) == first
    assert period_at(given_terms, last.end - timedelta(microseconds=1)) == last
    assert period_at(given_terms, last.end) is None


def test_periods_that_end_by_a_day_include_the_one_whose_last_day_it_is() -> None:
    given_terms = terms("2024-01-01", None)
    assert bounds(list(periods_ending_by(given_terms, on("2024-02-28")))) == [
        "2024-01-01/2024-02-01"
    ]
    assert len(list(periods_ending_by(given_terms, on("2024-02-29")))) == 2
    assert list(periods_ending_by(given_terms, on("2024-01-30"))) == []


def test_a_period_of_a_day_that_its_zone_left_out_does_not_exist() -> None:
    skipped = terms("2011-12-30", "2011-12-30", timezone="Pacific/Apia")
    assert list(periods(skipped)) == []
    assert period_at(skipped, datetime(2011, 12, 30, 10, tzinfo=UTC)) is None


def test_a_contract_that_begins_on_such_a_day_begins_with_the_next() -> None:
    given_terms = terms(
        "2011-12-30", "2012-02-29", issue_day=on("2011-12-31"), timezone="Pacific/Apia"
    )
    first, *_ = found = list(periods(given_terms))
    assert bounds(found)[0] == "2011-12-31/2012-01-31"
    assert [period.index for period in found] == [0, 1, 2]
    assert period_at(given_terms, first.start) == first


def test_an_instant_that_bears_yesterdays_date_again_stays_in_todays_period() -> None:
    given_terms = terms("2006-09-29", "2006-11-28", timezone="America/St_Johns")
    september, october = periods(given_terms)
    again = datetime(2006, 10, 29, 3, 0, tzinfo=UTC)  # clocks went from 00:01 back to 23:01
    assert again.astimezone(ZoneInfo("America/St_Johns")).date() == on("2006-10-28")
    assert september.end == october.start < again
    assert period_at(given_terms, again) == october


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"end_date": on("2023-12-31")}, "/end_date"),
        ({"end_date": None, "unit": "ONE_TIME"}, "/end_date"),
        ({"cycle": 0}, "/cycle"),
        ({"cycle": 121}, "/cycle"),
        ({"timezone": "Mars/Olympus"}, "/timezone"),
        ({"timezone": ""}, "/timezone"),
        ({"timezone": "../../etc/passwd"}, "/timezone"),
        ({"start_date": on("0001-01-01")}, "/start_date"),
        ({"issue_day": date.max}, "/issue_day"),
    ],
)
def test_terms_that_make_no_sense_cannot_be_built(fields: dict[str, object], pointer: str) -> None:
    plain: dict[str, object] = {
        "start_date": on("2024-01-01"), "end_date": on("2024-12-31"), "unit": "MONTHLY",
    }  # fmt: skip
    with pytest.raises(InvalidInput) as caught:
        BillingTerms(**(plain | fields))  # type: ignore[arg-type]
    assert [problem.pointer for problem in caught.value.problems] == [pointer]
