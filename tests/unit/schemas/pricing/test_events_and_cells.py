"""Prices of single events and of cells: their tables, and a sum by hand in fractions."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.money import AMOUNT_DIGITS, ONE, Price, Quantity, parse_quantity
from schemas.price import (
    LinePrice,
    basis_of,
    cell_values,
    parse_line_price,
    price_cells,
    price_events,
    price_total,
)
from schemas.pricing.matrix import cell_name_of
from tests.pricing import event_prices

CARD: dict[str, object] = {"model": "PERCENTAGE", "rate": "2.9", "fixed_fee": "0.30"}
MATRIX: dict[str, object] = {
    "model": "MATRIX",
    "price": "0.5",
    "dimensions": ["region", "plan"],
    "cells": [
        {"values": ["eu", "gold"], "unit_price": "0.1"},
        {"values": ["us", "gold"], "unit_price": "0.2"},
    ],
}


def costs(fields: dict[str, object], *quantities: str) -> list[Fraction]:
    amounts = price_events(parse_line_price(fields), [parse_quantity(q) for q in quantities])
    return [Fraction(amount, 10**AMOUNT_DIGITS) for amount in amounts]


@pytest.mark.parametrize(
    ("fields", "quantities", "amounts"),
    [
        ({}, ["100", "0", "-100"], ["3.2", "0.3", "-3.2"]),
        ({"minimum_per_event": "0.5"}, ["1", "100"], ["0.5", "3.2"]),
        ({"maximum_per_event": "3"}, ["1", "100", "-100"], ["0.329", "3", "-3"]),
        ({"included_events": 2}, ["100", "1", "1", "100"], ["0", "0", "0.329", "3.2"]),
        # units free of charge are used up by one event after another
        ({"included_quantity": "150"}, ["100", "100", "100"], ["0", "1.75", "3.2"]),
        ({"included_quantity": "100"}, ["100", "100"], ["0", "3.2"]),
        (
            {"included_quantity": "100", "included_events": 1},
            ["70", "100", "1"],
            ["0", "0", "0.329"],
        ),
    ],
)
def test_each_event_costs_its_share_and_its_fee(
    fields: dict[str, object], quantities: list[str], amounts: list[str]
) -> None:
    assert costs(CARD | fields, *quantities) == [Fraction(amount) for amount in amounts]


def test_no_event_costs_nothing() -> None:
    assert costs(CARD) == []


some_money = st.integers(0, 10**21).map(Price)
any_units = st.integers(-(10**22), 10**22).map(Quantity)


@given(event_prices(some_money), st.lists(any_units, max_size=8))
def test_events_cost_what_one_gets_by_hand(price: LinePrice, quantities: list[Quantity]) -> None:
    fees = price.event_fees
    assert fees is not None
    assert basis_of(price) == "EVENTS"
    amounts = price_events(price, quantities)
    for index, (quantity, amount) in enumerate(zip(quantities, amounts, strict=True)):
        expected = abs(Fraction(quantity, ONE)) * Fraction(price.price, ONE)
        expected += Fraction(fees.fixed_fee, ONE)
        if fees.minimum is not None:
            expected = max(expected, Fraction(fees.minimum, ONE))
        if fees.maximum is not None:
            expected = min(expected, Fraction(fees.maximum, ONE))
        if index < fees.included_events:
            expected = Fraction(0)
        sign = -1 if quantity < 0 else 1
        assert Fraction(amount, 10**AMOUNT_DIGITS) == sign * expected


@pytest.mark.parametrize(
    ("values", "cell", "amount"),
    [
        (("eu", "gold"), ("eu", "gold"), "10"),
        (("us", "gold"), ("us", "gold"), "20"),
        (("gold", "eu"), (), "50"),  # the values stand in the order of the dimensions
        (("eu", ""), (), "50"),  # no such cell: the default
    ],
)
def test_a_cell_prices_its_own_total(
    values: tuple[str, ...], cell: tuple[str, ...], amount: str
) -> None:
    price = parse_line_price(MATRIX)
    assert basis_of(price) == "CELLS"
    amounts = price_cells(price, {values: Quantity(100 * ONE)})
    assert amounts == {cell: Fraction(amount) * 10**AMOUNT_DIGITS}


def test_what_is_in_no_cell_is_one_total() -> None:
    price = parse_line_price(MATRIX | {"included_quantity": "90"})
    unlisted: list[tuple[str, ...]] = [("eu", "tin"), ("asia", "gold"), ("", "")]
    amounts = price_cells(price, dict.fromkeys(unlisted, Quantity(100 * ONE)))
    assert amounts == {(): 105 * 10**AMOUNT_DIGITS}


@pytest.mark.parametrize(
    ("data", "cell"),
    [
        ('{"region": "eu", "plan": "gold"}', '["eu","gold"]'),
        ('{"plan": "gold", "region": "\\u0065u", "more": {"a": [1]}}', '["eu","gold"]'),
        ('{"region": 1.50, "plan": true}', '["1.50","true"]'),  # a number as it is written
        ('{"region": 1.5, "plan": true}', ""),
        ('{"region": "eu"}', ""),
        ('{"region": "eu", "plan": null}', ""),
        ('{"region": ["eu"], "plan": {"gold": 1}}', ""),
        ("{}", ""),
        (None, ""),
    ],
)
def test_an_event_falls_in_the_cell_that_its_data_names(data: str | None, cell: str) -> None:
    cells = [*MATRIX["cells"], {"values": ["1.50", "true"], "unit_price": "1"}]  # type: ignore[misc]
    price = parse_line_price(MATRIX | {"cells": cells})
    name = cell_name_of(price, data)
    assert name == cell
    assert cell_values(name) in {(), *price.cell_prices}


def test_an_included_quantity_is_free_in_every_cell() -> None:
    price = parse_line_price(MATRIX | {"included_quantity": "90"})
    totals: dict[tuple[str, ...], Quantity] = {
        ("eu", "gold"): Quantity(100 * ONE),
        ("us", "gold"): Quantity(-100 * ONE),
    }
    amounts = price_cells(price, totals)
    assert [Fraction(cost, 10**AMOUNT_DIGITS) for cost in amounts.values()] == [1, -2]


@pytest.mark.parametrize("fields", [CARD, MATRIX])
def test_a_total_is_never_billed_where_it_does_not_say_enough(fields: dict[str, object]) -> None:
    with pytest.raises(AssertionError):
        price_total(parse_line_price(fields), Quantity(ONE))
