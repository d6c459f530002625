"""What counts toward what: factors multiplied along a way up, and the trees that can't be."""

from fractions import Fraction
from math import floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import InvalidInput
from schemas.meter_feed import DEPTH_MAX, WHOLE, Feed, Link, check_link, times, ways_up
from schemas.meter_formula import parse_formula
from schemas.money import ONE, parse_quantity
from schemas.usage_csv import fed_quantity

quantities = st.integers(-(10**38), 10**38)
factors = st.fractions(Fraction(-(10**9)), Fraction(10**9), max_denominator=10**18).filter(bool)


@given(quantities, factors)
def test_a_product_is_taken_to_eighteen_digits_a_half_away_from_zero(
    quantity: int, factor: Fraction
) -> None:
    exact = quantity * factor
    nearest = floor(abs(exact) + Fraction(1, 2))
    assert times(quantity, factor) == (nearest if exact > 0 else -nearest)
    assert times(-quantity, factor) == times(quantity, -factor) == -times(quantity, factor)
    assert times(quantity, WHOLE) == quantity


@pytest.mark.parametrize(
    ("factor", "formula", "quantity", "counted"),
    [
        ("1", None, "2.5", "2.5"),
        ("-1", None, "2.5", "-2.5"),
        ("1/3", None, "1", "0.333333333333333333"),
        ("1/2", None, "0.000000000000000001", "0.000000000000000001"),
        ("1/2", None, "-0.000000000000000001", "-0.000000000000000001"),
        ("3", "quantity / 3", "1", "0.999999999999999999"),  # the formula's own digits end first
        ("-60", "quantity * coalesce(additional_report_data.size, 2)", "1.5", "-180"),
    ],
)
def test_an_event_counts_by_its_own_formula_and_then_the_factor(
    factor: str, formula: str | None, quantity: str, counted: str
) -> None:
    feed = Feed(Fraction(factor), None if formula is None else parse_formula(formula))
    assert feed.counted(parse_quantity(quantity), None) == parse_quantity(counted)
    assert fed_quantity(feed, quantity, None) == counted


@st.composite
def forests(draw: st.DrawFn) -> dict[int, Link]:
    """Draw meters that each count toward one made before, or toward nothing."""
    links: dict[int, Link] = {}
    for number in range(draw(st.integers(1, 14))):
        parent = draw(st.none() | st.integers(0, number - 1)) if number else None
        factor = draw(st.sampled_from([WHOLE, -WHOLE, Fraction(2), Fraction(1, 8)]))
        aggregation = draw(st.sampled_from(["SUM", "MAX", "UNIQUE"]))
        links[number] = Link(f"m{number}", aggregation, parent, factor)
    return links


def by_hand(links: dict[int, Link], lower: int, upper: int) -> Fraction | None:
    """Return what an event of one meter counts as toward another, None where it does not."""
    if lower == upper:
        return WHOLE
    parent = links[lower].parent
    above = None if parent is None else by_hand(links, parent, upper)
    return None if above is None else links[lower].factor * above


@given(forests())
def test_a_way_up_multiplies_the_factors_that_are_on_it(links: dict[int, Link]) -> None:
    for lower in links:
        found = dict(ways_up(links, lower))
        every = {upper: by_hand(links, lower, upper) for upper in links if upper != lower}
        assert found == {upper: factor for upper, factor in every.items() if factor is not None}


@given(forests(), st.data())
def test_a_link_is_refused_when_a_tree_would_come_to_what_it_must_not(
    links: dict[int, Link], data: st.DataObject
) -> None:
    changed = data.draw(st.sampled_from(sorted(links)))
    below = [m for m in links if by_hand(links, m, changed) is not None]
    parent = data.draw(st.none() | st.sampled_from(sorted(links)))
    link = Link("changed", links[changed].aggregation, parent, links[changed].factor)
    after = {**links, changed: link}
    code = None
    if parent in below:
        code = "relation_cycle"
    else:
        ways = {
            (m, upper): by_hand(after, m, upper)
            for m in below
            for upper in after
            if by_hand(after, changed, upper) is not None
        }
        depth = max(sum(by_hand(after, m, upper) is not None for upper in after) for m in below)
        if depth - 1 > DEPTH_MAX:
            code = "relation_too_deep"
        elif any(after[up].aggregation == "UNIQUE" and f != 1 for (_, up), f in ways.items()):
            code = "relation_not_applicable"
    assert code_of(after, changed) == code


def code_of(links: dict[int, Link], changed: int) -> str | None:
    try:
        check_link(links, changed)
    except InvalidInput as error:
        return error.code
    return None


def test_factors_that_leave_the_range_together_are_refused() -> None:
    links = {
        0: Link("root", "SUM"),
        1: Link("tiny", "SUM", 0, Fraction(1, ONE)),
        2: Link("half", "SUM", 1, Fraction(1, 2)),
    }
    with pytest.raises(InvalidInput, match="'half' up to 'root'"):
        check_link(links, 2)
