"""Every model of a period's total: tables where peers disagree, and a sum by hand in fractions."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import accumulate, pairwise
from math import ceil, floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.money import AMOUNT_DIGITS, ONE, Price, Quantity, parse_quantity, round_amount
from schemas.price import (
    LinePrice,
    billable_quantity,
    from_json,
    parse_line_price,
    price_total,
    tier_walk,
    to_json,
    unit_price,
)
from tests.pricing import TIERED_MODELS, event_prices, total_prices

TIERS = [
    {"up_to": 100, "unit_price": "0.10", "flat_fee": "2"},
    {"up_to": 1000, "unit_price": "0.05", "flat_fee": "5"},
    {"up_to": None, "unit_price": "0.01"},
]
STEPS = [{"up_to": 10, "flat_fee": "5"}, {"up_to": 20, "flat_fee": "8"}, {"flat_fee": "9"}]
RATES = [{"up_to": 1000, "rate": "2.9", "flat_fee": 1}, {"rate": "1.5"}]

any_money = st.integers(-(10**24), 10**24).map(Price)
some_money = st.integers(0, 10**24).map(Price)
any_units = st.integers(-(10**25), 10**25).map(Quantity)
some_units = st.integers(0, 10**24).map(Quantity)

priced = total_prices(any_money, some_units, some_money)
tiered = total_prices(any_money, some_units, some_money, TIERED_MODELS).filter(
    lambda price: bool(price.tiers)
)


def cost(fields: dict[str, object], quantity: str) -> Fraction:
    total = price_total(parse_line_price(fields), parse_quantity(quantity))
    return Fraction(total, 10**AMOUNT_DIGITS)


@pytest.mark.parametrize(
    ("quantity", "amount"),
    [
        ("0", "2"),  # nothing is in the first tier, whose flat fee is due
        ("100", "12"),  # on a bound: the lower tier
        ("100.000000000000000001", "10.00000000000000000005"),  # past it, all units cost less
        ("100.5", "10.025"),  # a fraction between whole bounds lies in a tier like any other
        ("1000", "55"),
        ("1001", "10.01"),
        ("-100.5", "-10.025"),
    ],
)
def test_volume_prices_all_units_by_the_tier_they_reach(quantity: str, amount: str) -> None:
    assert cost({"model": "VOLUME", "tiers": TIERS}, quantity) == Fraction(amount)


@pytest.mark.parametrize(
    ("quantity", "amount"),
    [("0", "5"), ("10", "5"), ("10.5", "8"), ("20", "8"), ("1000000", "9"), ("-10.5", "-8")],
)
def test_stairstep_costs_the_fee_of_the_step(quantity: str, amount: str) -> None:
    assert cost({"model": "STAIRSTEP", "tiers": STEPS}, quantity) == Fraction(amount)


@pytest.mark.parametrize(
    ("quantity", "up", "down"),
    [
        ("0", "0", "0"),
        ("0.000000000000000001", "3", "0"),
        ("99.9", "3", "0"),
        ("100", "3", "3"),
        ("100.1", "6", "3"),
        ("-100.1", "-6", "-3"),  # the magnitude is rounded as a positive one
    ],
)
def test_a_package_is_of_the_whole_total(quantity: str, up: str, down: str) -> None:
    package: dict[str, object] = {"model": "PACKAGE", "price": 3, "package_size": 100}
    assert cost(package, quantity) == Fraction(up)
    assert cost(package | {"package_rounding": "UP"}, quantity) == Fraction(up)
    assert cost(package | {"package_rounding": "DOWN"}, quantity) == Fraction(down)


@pytest.mark.parametrize(
    ("quantity", "flat", "graduated"),
    [
        ("0", "0", "1"),
        ("1000", "29", "30"),
        ("1000.5", "29.0145", "30.0075"),
        ("-1001", "-29.029", "-30.015"),
    ],
)
def test_a_percentage_is_of_the_total(quantity: str, flat: str, graduated: str) -> None:
    assert cost({"model": "PERCENTAGE", "rate": "2.9"}, quantity) == Fraction(flat)
    assert cost({"model": "PERCENTAGE", "tiers": RATES}, quantity) == Fraction(graduated)


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "PER_UNIT", "price": 1},
        {"model": "VOLUME", "tiers": TIERS},
        {"model": "STAIRSTEP", "tiers": STEPS},
        {"model": "PACKAGE", "price": 1, "package_size": 7},
        {"model": "PERCENTAGE", "rate": 10},
    ],
)
def test_included_units_are_taken_off_before_anything_else(fields: dict[str, object]) -> None:
    generous = fields | {"included_quantity": 50}
    for total, rest in [("0", "0"), ("50", "0"), ("50.5", "0.5"), ("170", "120"), ("-51", "-1")]:
        assert cost(generous, total) == cost(fields, rest)


def by_hand(price: LinePrice, quantity: Quantity) -> Fraction:
    """Price a total as on paper: no shared line, no scaled integer past the first."""
    total = price.quantity if price.model == "FLAT" else quantity
    units = max(abs(Fraction(total, ONE)) - Fraction(price.included_quantity, ONE), Fraction(0))
    each = Fraction(price.price, ONE)
    if price.model == "PACKAGE":
        packages = units / Fraction(price.package_size, ONE)
        amount = each * (ceil(packages) if price.package_rounding == "UP" else floor(packages))
    elif price.model in ("VOLUME", "STAIRSTEP"):
        tier = next(t for t in price.tiers if t.up_to is None or units * ONE <= t.up_to)
        amount = units * Fraction(tier.unit_price, ONE) + Fraction(tier.flat_fee, ONE)
    elif price.tiers:
        amount = Fraction(0)
        lower = Fraction(-1)  # so that nothing enters the first tier
        for tier in price.tiers:
            if units > lower:
                upper = units if tier.up_to is None else min(units, Fraction(tier.up_to, ONE))
                amount += (upper - max(lower, Fraction(0))) * Fraction(tier.unit_price, ONE)
                amount += Fraction(tier.flat_fee, ONE)
            lower = Fraction(tier.up_to or 0, ONE)
    else:
        amount = units * each
    return -amount if total < 0 else amount


@given(priced, any_units)
def test_a_total_costs_what_one_gets_by_hand(price: LinePrice, quantity: Quantity) -> None:
    assert Fraction(price_total(price, quantity), 10**AMOUNT_DIGITS) == by_hand(price, quantity)


@given(tiered, st.data())
def test_a_total_on_and_beside_a_bound_costs_what_one_gets_by_hand(
    price: LinePrice, data: st.DataObject
) -> None:
    bound = data.draw(st.sampled_from([0, *price.bounds]))
    for beside in (-1, 0, 1):
        quantity = Quantity(bound + beside + price.included_quantity)
        expected = by_hand(price, quantity)
        assert Fraction(price_total(price, quantity), 10**AMOUNT_DIGITS) == expected


@given(priced, any_units)
def test_the_sign_turns_an_amount_and_nothing_else(price: LinePrice, quantity: Quantity) -> None:
    if quantity and price.model != "FLAT":
        assert price_total(price, Quantity(-quantity)) == -price_total(price, quantity)


@given(tiered, any_units)
def test_tiers_conserve_units_and_money(price: LinePrice, quantity: Quantity) -> None:
    walk = tier_walk(price, quantity)
    assert sum(charge.quantity for charge in walk) == billable_quantity(price, quantity)
    assert sum(charge.amount for charge in walk) == price_total(price, quantity)
    for charge in walk:
        assert charge.amount == charge.quantity * charge.unit_price + charge.flat_fee * ONE


monotone = total_prices(
    some_money, some_units, some_money, ("PER_UNIT", "GRADUATED", "PACKAGE", "PERCENTAGE")
)


@given(monotone, some_units, some_units)
def test_more_usage_never_costs_less_where_every_price_is_positive(
    price: LinePrice, one: Quantity, other: Quantity
) -> None:
    less, more = sorted((one, other))
    assert price_total(price, less) <= price_total(price, more)


def test_volume_is_allowed_to_cost_less_for_more() -> None:
    volume: dict[str, object] = {"model": "VOLUME", "tiers": TIERS}
    assert cost(volume, "101") < cost(volume, "100")


def billed_in_parts(price: LinePrice, parts: Sequence[Quantity]) -> list[int]:
    """Bill what each part adds to the total so far, in cents."""
    sums = [Quantity(total) for total in accumulate(parts, initial=0)]
    bills = [round_amount(price_total(price, total), 2) for total in sums]
    return [bills[0], *(after - before for before, after in pairwise(bills))]


@given(priced, st.lists(any_units, max_size=8), st.integers(0, 8))
def test_the_parts_of_a_period_add_up_however_it_was_split(
    price: LinePrice, parts: list[Quantity], place: int
) -> None:
    merged = [Quantity(sum(parts[:place])), *parts[place:]]
    once = round_amount(price_total(price, Quantity(sum(parts))), 2)
    assert sum(billed_in_parts(price, parts)) == sum(billed_in_parts(price, merged)) == once


def test_a_package_that_is_split_over_two_bills_is_sold_once() -> None:
    price = parse_line_price({"model": "PACKAGE", "price": 3, "package_size": 100})
    halves = [parse_quantity(text) for text in ("150", "50", "100.5")]
    assert billed_in_parts(price, halves) == [0, 600, 0, 600]


@given(priced | event_prices(some_money))
def test_a_price_is_stored_and_read_to_the_byte(price: LinePrice) -> None:
    assert from_json(to_json(price)) == price
    assert to_json(from_json(to_json(price))) == to_json(price)


@pytest.mark.parametrize(
    ("fields", "stored"),
    [
        (
            {"model": "VOLUME", "tiers": [{"up_to": 1, "flat_fee": 1}, {"unit_price": "0.50"}]},
            '{"model":"VOLUME","tiers":[{"up_to":"1","unit_price":"0","flat_fee":"1"},'
            '{"up_to":null,"unit_price":"0.5","flat_fee":"0"}]}',
        ),
        (
            {"model": "STAIRSTEP", "tiers": [{"flat_fee": 1}]},
            '{"model":"STAIRSTEP","tiers":[{"up_to":null,"flat_fee":"1"}]}',
        ),
        (
            {"model": "PACKAGE", "price": 5, "package_size": "1e2", "package_rounding": "DOWN"},
            '{"model":"PACKAGE","price":"5","package_size":"100","package_rounding":"DOWN"}',
        ),
        (
            {"model": "PERCENTAGE", "rate": "2.90", "included_events": 3, "fixed_fee": "0.30"},
            '{"model":"PERCENTAGE","rate":"2.9","fixed_fee":"0.3","included_events":3}',
        ),
        (
            {"model": "PERCENTAGE", "tiers": [{"rate": 1}]},
            '{"model":"PERCENTAGE","tiers":[{"up_to":null,"rate":"1","flat_fee":"0"}]}',
        ),
        (
            {
                "model": "MATRIX",
                "price": 1,
                "dimensions": ["region"],
                "cells": [{"values": ["eu"], "unit_price": "0.20"}],
            },
            '{"model":"MATRIX","price":"1","dimensions":["region"],'
            '"cells":[{"values":["eu"],"unit_price":"0.2"}]}',
        ),
    ],
)
def test_the_stored_form_names_the_fields_of_the_model(
    fields: dict[str, object], stored: str
) -> None:
    assert to_json(parse_line_price(fields)) == stored


@pytest.mark.parametrize(
    ("fields", "each"),
    [
        ({"model": "FLAT", "price": 2}, 2 * ONE),
        ({"model": "PER_UNIT", "price": 2}, 2 * ONE),
        ({"model": "PERCENTAGE", "rate": 200}, 2 * ONE),
        ({"model": "PERCENTAGE", "rate": 200, "fixed_fee": 1}, None),
        ({"model": "PERCENTAGE", "tiers": RATES}, None),
        ({"model": "PACKAGE", "price": 2, "package_size": 2}, None),
        ({"model": "VOLUME", "tiers": TIERS}, None),
    ],
)
def test_only_units_that_cost_the_same_have_a_unit_price(
    fields: dict[str, object], each: int | None
) -> None:
    assert unit_price(parse_line_price(fields)) == each
