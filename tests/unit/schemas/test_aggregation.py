"""Aggregations: the documented example, edges, and any order and splitting against plain sums."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.aggregation import (
    ORDERED,
    PLAIN,
    Last,
    Span,
    Total,
    Use,
    divisor,
    extend,
    fold,
    nothing,
)
from schemas.money import ONE, Quantity, round_ratio

DAY = 86_400_000_000
SPAN = Span(100 * DAY, 130 * DAY)
EXAMPLE = [(0, 5), (10, 3), (20, 4)]


def use(day: Fraction | float, quantity: int | str, ref: int = 0) -> Use:
    at = SPAN.start + int(Fraction(day) * DAY)
    return Use(at, ref or at, Quantity(int(Fraction(quantity) * ONE)))


def value(aggregation: str, total: Total, span: Span = SPAN) -> Fraction:
    over = divisor(aggregation, total.event_count, span.length)
    return Fraction(total.quantity, ONE * over)


def plainly(aggregation: str, uses: list[Use], carried: int = 0) -> Fraction:
    """Compute by hand, in fractions, from sorted uses."""
    quantities = [Fraction(use.quantity, ONE) for use in uses]
    if aggregation == "TIME_WEIGHTED":
        held = [(SPAN.start, Fraction(carried, ONE))]
        held += [(use.at, q) for use, q in zip(uses, quantities, strict=True)]
        ends = [at for at, _ in held[1:]] + [SPAN.end]
        areas = (q * (end - at) for (at, q), end in zip(held, ends, strict=True))
        return sum(areas, Fraction(0)) / SPAN.length
    if not uses:
        return Fraction(0)
    if aggregation == "MAX":
        return max(quantities)
    if aggregation == "LAST":
        return quantities[-1]
    assert aggregation == "RUNNING_AVERAGE"
    sums = accumulate(use.quantity for use in uses)
    means = (Fraction(round_ratio(so_far, n), ONE) for n, so_far in enumerate(sums, 1))
    return sum(means, Fraction(0)) / len(uses)


@pytest.mark.parametrize(
    ("aggregation", "expected"),
    [
        ("MAX", Fraction(5)),
        ("LAST", Fraction(4)),
        ("RUNNING_AVERAGE", Fraction(13, 3)),
        ("TIME_WEIGHTED", Fraction(4)),
    ],
)
def test_the_documented_example(aggregation: str, expected: Fraction) -> None:
    total = fold(aggregation, SPAN, [use(day, quantity) for day, quantity in EXAMPLE])
    assert value(aggregation, total) == expected
    assert total.event_count == 3


def test_an_average_is_the_sum_by_the_count() -> None:
    assert Fraction(12, divisor("AVERAGE", 3, SPAN.length)) == 4
    assert divisor("AVERAGE", 0, SPAN.length) == divisor("SUM", 7, SPAN.length) == 1


@pytest.mark.parametrize("aggregation", sorted(ORDERED))
def test_no_use_comes_to_nothing(aggregation: str) -> None:
    assert value(aggregation, fold(aggregation, SPAN, [])) == 0


@pytest.mark.parametrize("aggregation", sorted(ORDERED - {"TIME_WEIGHTED"}))
def test_one_use_comes_to_its_quantity_below_zero_too(aggregation: str) -> None:
    assert value(aggregation, fold(aggregation, SPAN, [use(3, "-2.5")])) == Fraction(-5, 2)


def test_nothing_holds_before_the_first_use_of_all() -> None:
    assert value("TIME_WEIGHTED", fold("TIME_WEIGHTED", SPAN, [use(27, 10)])) == 1


def test_the_last_value_of_earlier_periods_is_carried_in() -> None:
    carried = Last(SPAN.start - DAY, 1, 6 * ONE)
    empty = nothing("TIME_WEIGHTED", SPAN, carried)
    assert value("TIME_WEIGHTED", empty) == 6
    assert empty.event_count == 0
    later = fold("TIME_WEIGHTED", SPAN, [use(15, 2)], carried)
    assert value("TIME_WEIGHTED", later) == 4
    assert later.last == Last(SPAN.start + 15 * DAY, SPAN.start + 15 * DAY, 2 * ONE)


def test_others_carry_nothing_in() -> None:
    for aggregation in ORDERED - {"TIME_WEIGHTED"}:
        assert nothing(aggregation, SPAN, Last(SPAN.start - 1, 1, ONE)) == Total()


def test_a_partial_period_weighs_by_its_own_length() -> None:
    span = Span(SPAN.start, SPAN.start + 10 * DAY)
    total = fold("TIME_WEIGHTED", span, [use(0, 4), use(5, 2)])
    assert value("TIME_WEIGHTED", total, span) == 3


def test_of_uses_at_one_instant_the_greater_ref_is_the_later_one() -> None:
    uses = [use(10, 7, ref=2), use(10, 9, ref=1)]
    assert value("LAST", fold("LAST", SPAN, uses)) == 7
    assert value("TIME_WEIGHTED", fold("TIME_WEIGHTED", SPAN, uses)) == Fraction(14, 3)
    assert value("RUNNING_AVERAGE", fold("RUNNING_AVERAGE", SPAN, uses)) == Fraction(17, 2)


def test_a_use_that_belongs_before_the_last_asks_for_a_new_fold() -> None:
    for aggregation in ORDERED - {"MAX"}:
        total = fold(aggregation, SPAN, [use(10, 1)])
        assert extend(aggregation, SPAN, total, [use(9, 1)]) is None
        assert extend(aggregation, SPAN, total, [use(10, 1)]) is None
        assert extend(aggregation, SPAN, total, [use(11, 1)]) is not None
    greatest = fold("MAX", SPAN, [use(10, 1)])
    assert extend("MAX", SPAN, greatest, [use(9, 3)]) == Total(Quantity(3 * ONE), 2)


def test_how_far_a_total_has_got_is_written_and_read() -> None:
    last = Last(1_700_000_000_000_000, 1 << 127, -(10**38))
    assert Last.parse(str(last)) == last


def test_time_that_a_clock_change_takes_is_time_of_the_period() -> None:
    """A period is an interval of instants: a day of 23 hours weighs 23."""
    start = datetime(2024, 3, 30, 23, tzinfo=UTC)
    end = start + timedelta(hours=23)
    span = Span(*(int(instant.timestamp()) * 1_000_000 for instant in (start, end)))
    total = fold("TIME_WEIGHTED", span, [Use(span.start, 1, Quantity(ONE))])
    assert value("TIME_WEIGHTED", total, span) == 1


USES = st.lists(
    st.builds(
        use,
        st.sampled_from([0, 0, 1, Fraction(29, 2), 20, 29]),
        st.integers(-(10**6), 10**6),
        st.integers(1, 5),
    ),
    unique_by=lambda one: one[:2],
    max_size=12,
)


@given(USES, st.sampled_from(sorted(ORDERED)), st.data())
def test_any_order_and_splitting_comes_to_the_plain_sum(
    uses: list[Use], aggregation: str, data: st.DataObject
) -> None:
    carried = data.draw(st.none() | st.builds(Last, st.just(1), st.just(1), st.integers(-9, 9)))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(uses)), max_size=3)))
    arriving = data.draw(st.permutations(uses))
    total, seen = nothing(aggregation, SPAN, carried), list[Use]()
    for start, end in pairwise([0, *cuts, len(uses)]):
        seen += arriving[start:end]
        grown = extend(aggregation, SPAN, total, arriving[start:end])
        total = fold(aggregation, SPAN, seen, carried) if grown is None else grown
    expected = plainly(aggregation, sorted(uses), 0 if carried is None else carried.value)
    assert value(aggregation, total) == expected
    assert total == fold(aggregation, SPAN, uses, carried)
    assert total.event_count == len(uses)


def test_every_aggregation_is_plain_ordered_or_moved_by_what_is_added() -> None:
    assert frozenset({"SUM", "COUNT"}) == PLAIN
    assert not PLAIN & ORDERED
