"""A price that can't be meant is refused with every wrong field named, by pointer and code."""

import pytest

from schemas.errors import InvalidInput
from schemas.price import parse_line_price
from schemas.pricing.matrix import CELLS_MAX
from schemas.pricing.tiers import TIERS_MAX

OPEN_TIER: dict[str, object] = {"unit_price": "1"}


def refusals(fields: dict[str, object]) -> dict[str, str]:
    """Return pointer -> code of all that is wrong."""
    with pytest.raises(InvalidInput) as caught:
        parse_line_price(fields, "/line_items/0")
    return {
        problem.pointer.removeprefix("/line_items/0/"): problem.code
        for problem in caught.value.problems
    }


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({}, {"model": "required"}),
        ({"model": "LINEAR"}, {"model": "model_unknown"}),
        ({"model": 5}, {"model": "model_unknown"}),
        ({"model": ["FLAT"]}, {"model": "model_unknown"}),
        ({"model": "VOLUME", "tiers": []}, {"tiers": "tiers_malformed"}),
        ({"model": "PER_UNIT"}, {"price": "required"}),
        ({"model": "PER_UNIT", "price": None}, {"price": "required"}),
        ({"model": "PER_UNIT", "price": ""}, {"price": "number_malformed"}),
        ({"model": "PER_UNIT", "price": 0.1}, {"price": "number_malformed"}),
        ({"model": "PER_UNIT", "price": "NaN"}, {"price": "number_malformed"}),
        ({"model": "PER_UNIT", "price": "1e99"}, {"price": "number_too_large"}),
        ({"model": "PER_UNIT", "price": 1, "quantity": 2}, {"quantity": "field_not_applicable"}),
        ({"model": "PER_UNIT", "price": 1, "rate": 2}, {"rate": "field_not_applicable"}),
        ({"model": "PER_UNIT", "price": 1, "discuont": 2}, {"discuont": "field_unknown"}),
        ({"model": "PER_UNIT", "price": 1, "a/b~c": 2}, {"a~1b~0c": "field_unknown"}),
        ({"model": "PER_UNIT", "price": 1, "discount": 101}, {"discount": "percent_out_of_range"}),
        ({"model": "PER_UNIT", "price": 1, "discount": -1}, {"discount": "percent_out_of_range"}),
        ({"model": "PER_UNIT", "price": 1, "currency": "XYZ"}, {"currency": "currency_unknown"}),
        ({"model": "FLAT", "price": 1, "quantity": -1}, {"quantity": "number_negative"}),
        ({"model": "FLAT", "price": 1, "recurring": "maybe"}, {"recurring": "flag_malformed"}),
        ({"model": "FLAT", "price": 1, "recurring": 1}, {"recurring": "flag_malformed"}),
        (
            {"model": "FLAT", "price": 1, "minimum_fee": 2, "maximum_fee": 1},
            {"maximum_fee": "fees_crossed"},
        ),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, object], wrong: dict[str, str]) -> None:
    assert refusals(fields) == wrong


@pytest.mark.parametrize(
    ("tiers", "wrong"),
    [
        ([], {"tiers": "tiers_malformed"}),
        ("100", {"tiers": "tiers_malformed"}),
        ([OPEN_TIER] * (TIERS_MAX + 1), {"tiers": "tiers_malformed"}),
        (["x"], {"tiers/0": "tier_malformed"}),
        ([{"up_to": 5, "unit_price": 1}], {"tiers/0/up_to": "tier_closed"}),
        ([OPEN_TIER, OPEN_TIER], {"tiers/0/up_to": "tier_open"}),
        ([{"up_to": 0, "unit_price": 1}, OPEN_TIER], {"tiers/0/up_to": "tiers_not_ascending"}),
        ([{"up_to": "x", "unit_price": 1}, OPEN_TIER], {"tiers/0/up_to": "number_malformed"}),
        ([{}], {"tiers/0/unit_price": "required"}),
        ([{"unit_price": 1, "price": 1}], {"tiers/0/price": "field_unknown"}),
        (
            [{"up_to": 5, "unit_price": 1}, {"up_to": 5, "unit_price": 1}, OPEN_TIER],
            {"tiers/1/up_to": "tiers_not_ascending"},
        ),
    ],
)
def test_wrong_tiers_are_named(tiers: object, wrong: dict[str, str]) -> None:
    assert refusals({"model": "GRADUATED", "tiers": tiers}) == wrong


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"model": "VOLUME"}, {"tiers": "required"}),
        (
            {"model": "VOLUME", "tiers": [{"rate": 1}]},
            {"tiers/0/rate": "field_unknown", "tiers/0/unit_price": "required"},
        ),
        (
            {"model": "STAIRSTEP", "tiers": [{"unit_price": 1}]},
            {"tiers/0/unit_price": "field_unknown", "tiers/0/flat_fee": "required"},
        ),
        (
            {"model": "STAIRSTEP", "tiers": [{"up_to": 1, "flat_fee": 1}]},
            {"tiers/0/up_to": "tier_closed"},
        ),
        ({"model": "PACKAGE", "price": 1}, {"package_size": "required"}),
        (
            {"model": "PACKAGE", "price": 1, "package_size": 0},
            {"package_size": "number_not_positive"},
        ),
        ({"model": "PACKAGE", "price": 1, "package_size": -5}, {"package_size": "number_negative"}),
        (
            {"model": "PACKAGE", "price": 1, "package_size": 5, "package_rounding": "HALF"},
            {"package_rounding": "value_unknown"},
        ),
        ({"model": "PERCENTAGE"}, {"rate": "required"}),
        ({"model": "PERCENTAGE", "rate": "1.00000000000000001"}, {"rate": "number_too_precise"}),
        (
            {"model": "PERCENTAGE", "rate": 1, "tiers": [{"rate": 1}]},
            {"rate": "field_not_applicable"},
        ),
        (
            {"model": "PERCENTAGE", "fixed_fee": 1, "tiers": [{"rate": 1}]},
            {"fixed_fee": "field_not_applicable"},
        ),
        (
            {"model": "PERCENTAGE", "tiers": [{"unit_price": 1}]},
            {"tiers/0/unit_price": "field_unknown", "tiers/0/rate": "required"},
        ),
        (
            {"model": "PERCENTAGE", "rate": 1, "included_events": "1.5"},
            {"included_events": "number_not_whole"},
        ),
        (
            {"model": "PERCENTAGE", "rate": 1, "included_events": -1},
            {"included_events": "number_negative"},
        ),
        (
            {"model": "PERCENTAGE", "rate": 1, "minimum_per_event": 2, "maximum_per_event": 1},
            {"maximum_per_event": "fees_crossed"},
        ),
        (
            {"model": "PERCENTAGE", "rate": 1, "maximum_per_event": -1},
            {"maximum_per_event": "number_negative"},
        ),
        (
            {"model": "GRADUATED", "tiers": [OPEN_TIER], "package_size": 1},
            {"package_size": "field_not_applicable"},
        ),
    ],
)
def test_a_wrong_field_of_a_model_is_named(
    fields: dict[str, object], wrong: dict[str, str]
) -> None:
    assert refusals(fields) == wrong


CELL: dict[str, object] = {"values": ["eu"], "unit_price": 1}


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"price": None}, {"price": "required"}),
        ({"dimensions": ["a", "b", "c"]}, {"dimensions": "dimensions_malformed"}),
        ({"dimensions": [""]}, {"dimensions/0": "text_malformed"}),
        ({"dimensions": ["a", "b"]}, {"cells/0/values": "values_malformed"}),
        (
            {"dimensions": ["a", "a"]},
            {"dimensions": "dimensions_repeated", "cells/0/values": "values_malformed"},
        ),
        ({"cells": []}, {"cells": "cells_malformed"}),
        ({"cells": [CELL] * (CELLS_MAX + 1)}, {"cells": "cells_malformed"}),
        ({"cells": ["eu"]}, {"cells/0": "cell_malformed"}),
        ({"cells": [{}]}, {"cells/0/values": "required", "cells/0/unit_price": "required"}),
        ({"cells": [CELL | {"price": 1}]}, {"cells/0/price": "field_unknown"}),
        ({"cells": [CELL | {"values": [True]}]}, {"cells/0/values/0": "text_malformed"}),
        ({"cells": [CELL, CELL]}, {"cells/1": "cell_repeated"}),
    ],
)
def test_a_wrong_cell_is_named(changes: dict[str, object], wrong: dict[str, str]) -> None:
    matrix = {"model": "MATRIX", "price": 1, "dimensions": ["region"], "cells": [CELL]}
    assert refusals(matrix | changes) == wrong


def test_all_that_is_wrong_is_said_at_once() -> None:
    assert refusals(
        {
            "model": "GRADUATED",
            "price": 1,
            "tiers": [{"up_to": 5, "unit_price": "x"}, {"up_to": 4, "flat": 1}],
            "minimum_fee": -1,
        }
    ) == {
        "price": "field_not_applicable",
        "tiers/0/unit_price": "number_malformed",
        "tiers/1/flat": "field_unknown",
        "tiers/1/unit_price": "required",
        "tiers/1/up_to": "tiers_not_ascending",
        "minimum_fee": "number_negative",
    }


def test_an_unknown_field_is_answered_with_the_nearest_known_one() -> None:
    with pytest.raises(InvalidInput, match="did you mean discount"):
        parse_line_price({"model": "PER_UNIT", "price": 1, "discuont": 2})


def test_what_describes_the_item_is_left_to_the_caller() -> None:
    fields = {"model": "PER_UNIT", "price": 1, "item": "Calls", "usage_product_ref": "anything"}
    assert parse_line_price(fields) == parse_line_price({"model": "PER_UNIT", "price": "1.0"})
