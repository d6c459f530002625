"""Figures beside thresholds, as they are compared and written."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.alerts import (
    AlertKind,
    commitment_percent,
    included_percent,
    is_reached,
    shown_value,
)
from schemas.commitments import TrueUp
from schemas.money import ONE, Quantity

TINY = Fraction(1, 10**18)


@pytest.mark.parametrize("kind", ["QUANTITY", "AMOUNT", "INCLUDED_PERCENT", "COMMITMENT_PERCENT"])
def test_a_figure_that_rises_reaches_its_threshold_exactly_there(kind: AlertKind) -> None:
    bound = Fraction(100)
    assert not is_reached(kind, bound - TINY, bound)
    assert is_reached(kind, bound, bound)
    assert is_reached(kind, bound + TINY, bound)


def test_credit_falls_to_its_threshold() -> None:
    assert not is_reached("CREDIT_LEFT", TINY, Fraction(0))
    assert is_reached("CREDIT_LEFT", Fraction(0), Fraction(0))


def test_percentages_are_exact_and_of_what_there_is() -> None:
    assert included_percent(Fraction(1, 3), Quantity(ONE)) == Fraction(100, 3)
    assert included_percent(Fraction(-5), Quantity(10 * ONE)) == 50
    assert included_percent(Fraction(5), Quantity(0)) is None
    by_period, by_contract = TrueUp("PERIOD", 300, 100, 200), TrueUp("CONTRACT", 900, 90, 810)
    assert commitment_percent((by_period, by_contract)) == Fraction(100, 3)
    assert commitment_percent((by_contract,)) == 10
    assert commitment_percent((TrueUp("PERIOD", 300, -100, 400),)) == 0
    assert commitment_percent((TrueUp("PERIOD", 0, 0, 0),)) is None
    assert commitment_percent(()) is None


@given(st.fractions())
def test_a_figure_is_written_with_what_digits_it_has_and_never_further_from_zero(
    value: Fraction,
) -> None:
    text = shown_value(value)
    assert "e" not in text.lower()
    assert not ("." in text and text.endswith(("0", ".")))
    assert abs(Fraction(text)) <= abs(value) < abs(Fraction(text)) + TINY
    assert Fraction(text) * value >= 0
