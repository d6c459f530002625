"""Lines explained: every step leads to the amount that drafting bills."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from schemas.drafting import line_minor
from schemas.explaining import Measured, days_text, decimal_text, explain_cells_fee, explain_line
from schemas.money import AMOUNT_DIGITS, ONE, Amount, Quantity, scaled_to_text
from schemas.periods import Part
from schemas.price import parse_line_price

WHOLE = Part(before=0, through=31, whole=31)
TIERS = [{"up_to": "100", "unit_price": "0.0123", "flat_fee": "1"}, {"unit_price": "0.005"}]
PRICES: list[dict[str, object]] = [
    {"model": "FLAT", "price": "19.99", "quantity": "3"},
    {"model": "FLAT", "price": "19.99", "recurring": False, "discount": "3"},
    {"model": "PER_UNIT", "price": "0.0333", "minimum_fee": "2.05", "discount": "10"},
    {"model": "GRADUATED", "tiers": TIERS, "included_quantity": "10.5", "maximum_fee": "7"},
    {"model": "VOLUME", "tiers": TIERS},
    {"model": "STAIRSTEP", "tiers": [{"up_to": "20", "flat_fee": "1"}, {"flat_fee": "2.5"}]},
    {"model": "PACKAGE", "price": "0.75", "package_size": "7.5"},
    {"model": "PERCENTAGE", "rate": "2.9"},
    {"model": "PERCENTAGE", "rate": "2.9", "fixed_fee": "0.1"},
    {"model": "FORMULA", "expression": "q / 3 + event_count * 0.01", "discount": "3"},
]
quantities = st.integers(-(10**22), 10**22).map(Quantity)
parts = st.tuples(*[st.integers(0, 31)] * 2).map(
    lambda days: Part(before=min(days), through=max(days) or 31, whole=31)
)


@given(st.sampled_from(PRICES), quantities, st.integers(0, 9), st.integers(1, 9), parts)
def test_the_last_step_is_what_is_billed(
    fields: dict[str, object], quantity: Quantity, events: int, over: int, part: Part
) -> None:
    price = parse_line_price(fields)
    exact = Fraction(quantity, ONE * over)
    fees = Amount(quantity * ONE) if price.event_fees is not None else None
    measured = Measured(exact, events, Fraction(fees or 0, 10**AMOUNT_DIGITS))
    story = explain_line(price, measured, part, 2)
    assert story.amount == line_minor(price, quantity, part, 2, events, exact, fees)
    assert story.steps[-1].amount == Fraction(story.amount, 100)
    if story.tiers:
        tiers = sum(Fraction(tier.amount, 10**AMOUNT_DIGITS) for tier in story.tiers)
        assert abs(tiers - story.steps[0].amount) < Fraction(1, 10**30)


def told(fields: dict[str, object], quantity: str, part: Part = WHOLE) -> list[tuple[str, str]]:
    story = explain_line(parse_line_price(fields), Measured(Fraction(quantity), 4), part, 2)
    return [(step.how, decimal_text(step.amount) or str(step.amount)) for step in story.steps]


def test_every_step_is_told_with_its_numbers() -> None:
    assert told(PRICES[2], "40") == [
        ("40 × 0.0333", "1.332"),
        ("at least 2.05", "2.05"),
        ("less 10 %", "1.845"),
        ("to 2 digits, a half away from zero", "1.85"),
    ]
    assert told(PRICES[9], "1")[0] == (
        "q / 3 + event_count * 0.01, where q is 1 of 4 events",
        "28/75",
    )
    assert told(PRICES[6], "16")[0] == (
        "packages of 7.5 in 16, at 0.75; a started one counts",
        "2.25",
    )


def test_a_fee_of_a_part_is_told_by_its_days() -> None:
    part = Part(before=9, through=31, whole=31)
    assert told({"model": "FLAT", "price": "10"}, "1", part)[-1] == (
        "10 × 31/31 is 10, less 10 × 9/31, which is 2.9",
        "7.1",
    )
    assert days_text(part) == "days 10 to 31 of 31"
    assert days_text(Part(before=0, through=9, whole=31)) == "9 days of 31"


def test_a_fee_of_all_cells_is_told_by_what_the_cells_lack() -> None:
    cells = [{"values": ["a"], "unit_price": "0.1"}, {"values": ["b"], "unit_price": "0.2"}]
    fields = {"model": "MATRIX", "price": "1", "dimensions": ["x"], "cells": cells}
    price = parse_line_price({**fields, "minimum_fee": "2"})
    usage = {'["a"]': Fraction(3), '["b"]': Fraction(4), "": Fraction(0)}
    story = explain_cells_fee(price, usage, 110, WHOLE, 2)
    assert [decimal_text(step.amount) for step in story.steps] == ["1.1", "2", "2", "0.9"]
    assert story.amount == 90


@given(st.integers(-(10**30), 10**30), st.integers(0, 40))
def test_numbers_are_written_in_full(scaled: int, digits: int) -> None:
    assert decimal_text(Fraction(scaled, 10**digits)) == scaled_to_text(scaled, digits)


def test_digits_without_end_are_a_fraction() -> None:
    assert decimal_text(Fraction(1, 3)) is None
