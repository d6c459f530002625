"""What is simulated is what would be charged: whole periods, exact, with fees and discount."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.drafting import line_minor
from schemas.errors import InvalidInput
from schemas.money import ONE, Price, Quantity, round_fraction
from schemas.periods import Part
from schemas.price import LinePrice, to_json
from schemas.simulation import CASES_MAX, EVENTS_MAX, read_simulation, result_json, simulate
from tests.pricing import total_prices

GRADUATED: dict[str, object] = {
    "model": "GRADUATED",
    "tiers": [{"up_to": 100, "unit_price": "0.1", "flat_fee": 2}, {"unit_price": "0.05"}],
}
PER_UNIT: dict[str, object] = {"model": "PER_UNIT", "price": "0.1"}
CARD: dict[str, object] = {"model": "PERCENTAGE", "rate": "2.9", "fixed_fee": "0.30"}
MATRIX: dict[str, object] = {
    "model": "MATRIX",
    "price": "0.5",
    "dimensions": ["region", "size"],
    "cells": [{"values": ["eu", "2"], "unit_price": "0.1"}],
}


def results(line_item: Mapping[str, object], **asked: object) -> list[dict[str, Any]]:
    simulation = read_simulation({"line_item": line_item, **asked})
    encoded = msgspec.json.encode([result_json(result) for result in simulate(simulation)])
    found: list[dict[str, Any]] = msgspec.json.Decoder(float_hook=Decimal).decode(encoded)
    return found


def amounts(line_item: Mapping[str, object], **asked: object) -> list[object]:
    return [result["amount"] for result in results(line_item, **asked)]


def test_each_quantity_is_a_period_of_its_own() -> None:
    first, second = results(GRADUATED, quantities=["0", "100.5"])
    assert (first["quantity"], first["amount"]) == (0, 2)
    assert (second["quantity"], second["amount"]) == (Decimal("100.5"), Decimal("12.025"))
    assert second["tiers"] == [
        {"up_to": 100, "quantity": 100, "amount": 12}
        | {"unit_price": Decimal("0.1"), "flat_fee": 2},
        {"up_to": None, "quantity": Decimal("0.5"), "amount": Decimal("0.025")}
        | {"unit_price": Decimal("0.05"), "flat_fee": 0},
    ]
    assert results(PER_UNIT, quantities=[1])[0]["tiers"] == []


def test_fees_and_discount_are_applied_and_nothing_is_rounded() -> None:
    bounded = PER_UNIT | {"minimum_fee": 1, "maximum_fee": 3, "discount": "0.000000000000000001"}
    assert amounts(bounded, quantities=[5, 20, 50]) == [
        Decimal("0.99999999999999999999"),
        Decimal("1.99999999999999999998"),
        Decimal("2.99999999999999999997"),
    ]
    tiny = {"model": "PER_UNIT", "price": "0.000000000000000001"}
    assert amounts(tiny, quantities=["0.000000000000000001"]) == [Decimal("1E-36")]


def test_a_flat_price_is_simulated_by_seats_unless_it_states_them() -> None:
    flat = {"model": "FLAT", "price": 10}
    assert amounts(flat, quantities=[0, 1, 5]) == [0, 10, 50]
    stated = results(flat | {"quantity": 3}, quantities=[0, 7])
    assert [(result["quantity"], result["amount"]) for result in stated] == [(3, 30), (3, 30)]


def test_events_are_those_of_one_period_or_of_several() -> None:
    (one,) = results(CARD, events=[100, "25", {"quantity": "-60"}])
    assert (one["quantity"], one["amount"]) == (65, Decimal("2.185"))
    assert [event["amount"] for event in one["events"]] == [
        Decimal("3.2"),
        Decimal("1.025"),
        Decimal("-2.04"),
    ]
    assert amounts(CARD, events=[[100, 100], [], [100]]) == [Decimal("6.4"), 0, Decimal("3.2")]
    assert amounts(GRADUATED, events=[[60, "40.5"]]) == [Decimal("12.025")]


def test_cells_are_told_apart_by_the_additional_data() -> None:
    eu = {"region": "eu", "size": 2}
    (result,) = results(
        MATRIX,
        events=[
            {"quantity": 10, "additional_report_data": eu},
            {"quantity": 5, "additional_report_data": {**eu, "other": True}},
            {"quantity": 1, "additional_report_data": {"region": "eu", "size": True}},
            2,
        ],
    )
    assert (result["quantity"], result["amount"]) == (18, 3)
    assert result["cells"] == [
        {"values": ["eu", "2"], "quantity": 15, "amount": Decimal("1.5")},
        {"values": [], "quantity": 3, "amount": Decimal("1.5")},  # in no cell
    ]


def test_a_formula_may_count_the_events() -> None:
    counting = {"model": "FORMULA", "expression": "q * 0.5 + event_count"}
    assert amounts(counting, events=[[1, 2, 3], []]) == [6, 0]
    third = amounts({"model": "FORMULA", "expression": "q / 3"}, quantities=[1])
    assert third == [Decimal(f"0.{'3' * 56}")]
    with pytest.raises(InvalidInput, match="their count: send events"):
        amounts(counting, quantities=[1])


@pytest.mark.parametrize(
    ("request_fields", "wrong"),
    [
        ({}, {"/line_item": "required", "/quantities": "required"}),
        (
            {"line_item": 1, "quantities": [1], "events": [1]},
            {"/line_item": "type_object", "/quantities": "required"},
        ),
        ({"line_item": {"model": "X"}, "quantities": [1]}, {"/line_item/model": "model_unknown"}),
        ({"line_item": PER_UNIT, "quantities": []}, {"/quantities": "quantities_malformed"}),
        (
            {"line_item": PER_UNIT, "quantities": [1] * (CASES_MAX + 1)},
            {"/quantities": "quantities_malformed"},
        ),
        (
            {"line_item": PER_UNIT, "quantities": [1, "x", None], "quantitys": 1},
            {
                "/quantities/1": "number_malformed",
                "/quantities/2": "number_malformed",
                "/quantitys": "field_unknown",
            },
        ),
        (
            {
                "line_item": {
                    "model": "VOLUME",
                    "tiers": [{"up_to": n, "unit_price": 1} for n in range(1, 999)]
                    + [{"unit_price": 1}],
                },
                "quantities": [1] * 21,
            },
            {"/quantities": "simulation_too_large"},
        ),
        ({"line_item": CARD, "quantities": [1]}, {"/quantities": "events_required"}),
        ({"line_item": MATRIX, "quantities": [1]}, {"/quantities": "events_required"}),
        (
            {"line_item": CARD, "events": [[1], [1] * EVENTS_MAX]},
            {"/events": "events_malformed"},
        ),
        ({"line_item": CARD, "events": [[1]] * (CASES_MAX + 1)}, {"/events": "events_malformed"}),
        (
            {"line_item": CARD, "events": [[1, "y"], {"amount": 1}]},
            {
                "/events/0/1": "number_malformed",
                "/events/1/0/amount": "field_unknown",
                "/events/1/0/quantity": "number_malformed",
            },
        ),
        (
            {"line_item": MATRIX, "events": [{"quantity": 1, "additional_report_data": [1]}]},
            {"/events/0/additional_report_data": "type_object"},
        ),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(
    request_fields: dict[str, object], wrong: dict[str, str]
) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_simulation(request_fields)
    assert {problem.pointer: problem.code for problem in caught.value.problems} == wrong


money = st.integers(-(10**22), 10**22).map(Price)
fees = st.integers(0, 10**22).map(Price)
units = st.integers(0, 10**22).map(Quantity)


@given(total_prices(money, units, fees), st.integers(-(10**22), 10**22))
def test_what_is_simulated_is_what_a_document_charges(price: LinePrice, quantity: int) -> None:
    item = msgspec.json.decode(to_json(price))
    sent = Decimal(quantity).scaleb(-18)
    (result,) = simulate(read_simulation({"line_item": item, "quantities": [f"{sent:f}"]}))
    charged = line_minor(price, Quantity(quantity), Part(0, 1, 1), 2)
    assert round_fraction(result.amount, 2) == charged
    assert result.quantity == (price.quantity if price.model == "FLAT" else quantity)


def test_a_whole_unit_is_one() -> None:
    (result,) = simulate(read_simulation({"line_item": PER_UNIT, "quantities": [1]}))
    assert result.quantity == ONE
