"""Ready-made pricings, at least one of each model: bodies of `POST /api/products`. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct


class Template(Struct, frozen=True):
    """A pricing to begin with. line: its line item, the meter left out."""

    name: str
    describes: str
    line: Mapping[str, object]
    prices_usage: bool = True


TEMPLATES: Final = (
    Template(
        "Seats",
        "A fixed price for each of some seats, every period.",
        {"item": "Seat", "model": "FLAT", "price": "49", "quantity": "5"},
        prices_usage=False,
    ),
    Template(
        "Pay as you go",
        "Every unit has the same price.",
        {"item": "Units", "model": "PER_UNIT", "price": "0.02"},
    ),
    Template(
        "Tiered",
        "Every tier prices the units inside it.",
        {
            "item": "Units",
            "model": "GRADUATED",
            "tiers": [
                {"up_to": "1000", "unit_price": "0.10"},
                {"up_to": "10000", "unit_price": "0.08"},
                {"unit_price": "0.05"},
            ],
        },
    ),
    Template(
        "Volume",
        "The tier that the total falls in prices all units.",
        {
            "item": "Units",
            "model": "VOLUME",
            "tiers": [{"up_to": "1000", "unit_price": "0.10"}, {"unit_price": "0.07"}],
        },
    ),
    Template(
        "Stairstep",
        "One fee for all usage up to each step.",
        {
            "item": "Units",
            "model": "STAIRSTEP",
            "tiers": [{"up_to": "100", "flat_fee": "20"}, {"flat_fee": "90"}],
        },
    ),
    Template(
        "Package",
        "Units are sold by the thousand, begun thousands whole.",
        {"item": "Thousand units", "model": "PACKAGE", "price": "5", "package_size": "1000"},
    ),
    Template(
        "Percentage",
        "A share of what each event reports, and a fixed fee.",
        {
            "item": "Payments",
            "model": "PERCENTAGE",
            "rate": "2.9",
            "fixed_fee": "0.30",
        },
    ),
    Template(
        "Matrix",
        "A price for every value of a key that events report.",
        {
            "item": "Transfer",
            "model": "MATRIX",
            "price": "0.09",
            "dimensions": ["region"],
            "cells": [
                {"values": ["eu"], "unit_price": "0.05"},
                {"values": ["us"], "unit_price": "0.07"},
            ],
        },
    ),
    Template(
        "Formula",
        "An expression over the period's quantity.",
        {"item": "Units", "model": "FORMULA", "expression": "10 + q * 0.015"},
    ),
)


def templates(meter_ref: str | None) -> list[dict[str, Any]]:
    """Show every template as a request that can be sent as it stands.

    meter_ref: whose usage is priced; None where there is no meter yet: it has to be made first.
    """
    return [_shown(template, meter_ref) for template in TEMPLATES]


def _shown(template: Template, meter_ref: str | None) -> dict[str, Any]:
    line = dict(template.line)
    if template.prices_usage:
        line["usage_product_ref"] = meter_ref
    return {
        "template_name": template.name,
        "model": template.line["model"],
        "description": template.describes,
        "product_request": {
            "product_name": template.name,
            "pricing_name": template.name,
            "line_items": [line],
            "publish": False,
        },
    }
