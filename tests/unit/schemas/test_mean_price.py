"""Prices of means: what a fraction of a unit costs, against fractions by hand."""

from fractions import Fraction
from math import ceil, floor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.verify.oracle import read_price, usage_amount
from schemas.mean_price import cut_amount, exact_amount, mean_walk, nearest_quantity
from schemas.money import AMOUNT_DIGITS, ONE, Quantity
from schemas.price import exact_total, parse_line_price, price_total, tier_walk, to_json

TIERS = [
    {"up_to": "4", "unit_price": "3", "flat_fee": "1"},
    {"up_to": "10.5", "unit_price": "2", "flat_fee": "0.25"},
    {"up_to": None, "unit_price": "0.5", "flat_fee": "0"},
]
MODELS: list[dict[str, Any]] = [
    {"model": "PER_UNIT", "price": "3"},
    {"model": "PER_UNIT", "price": "3", "included_quantity": "2.5"},
    {"model": "GRADUATED", "tiers": TIERS},
    {"model": "GRADUATED", "tiers": TIERS, "included_quantity": "1"},
    {"model": "VOLUME", "tiers": TIERS},
    {"model": "STAIRSTEP", "tiers": [{"up_to": "4", "flat_fee": "7"}, {"flat_fee": "9"}]},
    {"model": "PACKAGE", "price": "2", "package_size": "1.5"},
    {"model": "PACKAGE", "price": "2", "package_size": "1.5", "package_rounding": "DOWN"},
    {"model": "PERCENTAGE", "rate": "2.9"},
    {"model": "FORMULA", "expression": "graduated + q / 7 + event_count", "tiers": TIERS},
    {"model": "FORMULA", "expression": "q / max(event_count, 1) + tiers[0].unit_price",
     "tiers": TIERS},
]  # fmt: skip


def test_thirteen_thirds_at_three_each_cost_thirteen() -> None:
    price = parse_line_price({"model": "PER_UNIT", "price": "3"})
    assert exact_amount(price, Fraction(13, 3), 3) == 13


def test_a_mean_just_past_a_bound_lies_in_the_next_tier() -> None:
    price = parse_line_price({"model": "VOLUME", "tiers": TIERS})
    assert exact_amount(price, Fraction(4), 1) == 13
    assert exact_amount(price, Fraction(4 * 10**30 + 1, 10**30), 1) < 9
    packages = parse_line_price({"model": "PACKAGE", "price": "2", "package_size": "1"})
    assert exact_amount(packages, Fraction(13, 3), 1) == 2 * ceil(Fraction(13, 3))


def test_an_own_quantity_is_priced_whatever_the_meter_says() -> None:
    price = parse_line_price({"model": "FLAT", "price": "5", "quantity": "3"})
    assert exact_amount(price, Fraction(1, 3), 0) == 15


@pytest.mark.parametrize("fields", MODELS)
@given(st.fractions(-50, 50, max_denominator=10**6), st.integers(0, 10**6))
def test_every_model_prices_a_fraction_exactly(
    fields: dict[str, Any], quantity: Fraction, count: int
) -> None:
    price = parse_line_price(fields)
    expected = usage_amount(read_price(to_json(price)), quantity, count)
    assert exact_amount(price, quantity, count) == expected


@pytest.mark.parametrize("fields", MODELS)
@given(st.integers(-20 * ONE, 20 * ONE), st.integers(0, 9))
def test_a_decimal_quantity_costs_what_it_always_has(
    fields: dict[str, Any], quantity: int, count: int
) -> None:
    price = parse_line_price(fields)
    units = Fraction(quantity, ONE)
    total = Quantity(quantity)
    assert exact_amount(price, units, count) == exact_total(price, total, count)
    assert cut_amount(exact_amount(price, units, count)) == price_total(price, total, count)
    assert mean_walk(price, units) == tier_walk(price, total)


def test_tiers_of_a_mean_show_the_nearest_digits() -> None:
    price = parse_line_price({"model": "GRADUATED", "tiers": TIERS})
    first, second = mean_walk(price, Fraction(13, 3))
    assert (first.quantity, first.amount) == (4 * ONE, 13 * 10**AMOUNT_DIGITS)
    assert second.quantity == nearest_quantity(Fraction(1, 3)) == 333333333333333333
    assert (second.up_to, second.flat_fee) == (price.tiers[1].up_to, price.tiers[1].flat_fee)
    assert second.amount == floor(Fraction(11, 12) * 10**AMOUNT_DIGITS)


def test_a_half_is_shown_away_from_zero() -> None:
    half = Fraction(1, 2 * ONE)
    assert (nearest_quantity(half), nearest_quantity(-half)) == (1, -1)
