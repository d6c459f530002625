"""Parts of a cycle cost their days, and always add up to the whole fee."""

from datetime import date
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.periods import Part
from schemas.proration import prorate, prorated_bound

fees = st.fractions(min_value=0, max_value=10**9, max_denominator=10**6)
digits_of_currencies = st.sampled_from([0, 2, 3])


@st.composite
def partitions(draw: st.DrawFn) -> list[Part]:
    """Cut one cycle into parts at any days."""
    whole = draw(st.integers(1, 366))
    cuts = sorted(draw(st.sets(st.integers(0, whole), max_size=8)) | {0, whole})
    return [Part(before, through, whole) for before, through in pairwise(cuts)]


@pytest.mark.parametrize(
    ("before", "through", "whole", "minor"),
    [
        (0, 30, 30, 10_000),
        (0, 15, 30, 5_000),
        (0, 10, 30, 3_333),
        (10, 20, 30, 3_334),  # the cent that thirds leave over goes to one of them
        (20, 30, 30, 3_333),
        (16, 31, 31, 4_839),  # half-open days: 15 of 31
    ],
)
def test_a_part_costs_its_days(before: int, through: int, whole: int, minor: int) -> None:
    assert prorate(Fraction(100), Part(before, through, whole), 2) == minor


@given(fees, partitions(), digits_of_currencies)
def test_the_parts_of_a_cycle_add_up_to_the_whole(
    fee: Fraction, parts: list[Part], digits: int
) -> None:
    whole = prorate(fee, Part(0, 1, 1), digits)
    assert sum(prorate(fee, part, digits) for part in parts) == whole


@given(fees, partitions(), digits_of_currencies)
def test_a_part_is_within_one_minor_unit_of_its_exact_share(
    fee: Fraction, parts: list[Part], digits: int
) -> None:
    for part in parts:
        share = fee * Fraction(part.through - part.before, part.whole) * 10**digits
        assert abs(prorate(fee, part, digits) - share) <= 1
        assert prorate(fee, part, digits) >= 0
        assert prorate(-fee, part, digits) == -prorate(fee, part, digits)


def test_a_bound_of_a_whole_cycle_keeps_its_fractions_of_a_cent() -> None:
    fee = Fraction("10.005")
    assert prorated_bound(fee, Part(0, 30, 30), 2) == fee
    assert prorated_bound(fee, Part(0, 15, 30), 2) == Fraction("5.00")


def test_days_are_counted_half_open() -> None:
    part = Part.of(
        start_date=date(2024, 1, 15),
        end_date=date(2024, 2, 1),
        full_start_date=date(2024, 1, 1),
        full_end_date=date(2024, 2, 1),
    )
    assert part == Part(before=14, through=31, whole=31)
    assert not part.is_whole
    assert Part(0, 31, 31).is_whole
