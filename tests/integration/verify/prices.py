"""The prices of the world: every model there is. See `world.py`."""

from typing import Any

CALLS: dict[str, Any] = {
    "model": "GRADUATED",
    "included_quantity": "10.5",
    "tiers": [
        {"up_to": "100", "unit_price": "0.0123456789", "flat_fee": "1"},
        {"up_to": "250.5", "unit_price": "0.0099", "flat_fee": "0"},
        {"up_to": None, "unit_price": "0.005000000000000001", "flat_fee": "0.5"},
    ],
}
MESSAGES: dict[str, Any] = {
    "model": "PER_UNIT",
    "price": "0.0333",
    "minimum_fee": "2.05",
    "discount": "10",
}
SEATS: dict[str, Any] = {"model": "FLAT", "price": "19.99", "quantity": "3"}
SET_UP: dict[str, Any] = {"model": "FLAT", "price": "50", "quantity": "1", "recurring": False}
STORAGE: dict[str, Any] = {"model": "PER_UNIT", "price": "0.07"}
MACHINES: dict[str, Any] = {**CALLS, "included_quantity": "1", "maximum_fee": "200"}
#: Lines over trips, which are counted: one by one, and by where they went.
TRIPS: dict[str, Any] = {
    "model": "PERCENTAGE",
    "rate": "30",
    "fixed_fee": "0.05",
    "maximum_per_event": "0.3",
    "included_events": "4",
    "included_quantity": "2.5",
}
PLACES: dict[str, Any] = {
    "model": "MATRIX",
    "price": "0.11",
    "dimensions": ["place"],
    "cells": [
        {"values": ["north"], "unit_price": "0.07"},
        {"values": ["3"], "unit_price": "0.2"},
    ],
    "minimum_fee": "1",
}
#: More lines over storage: a model each that needs no more than a total and the count of events.
BY_THE_TOTAL: list[dict[str, Any]] = [
    {"model": "VOLUME", "tiers": [{"up_to": "50.5", "unit_price": "0.03"}, {"unit_price": "0.02"}]},
    {"model": "STAIRSTEP", "tiers": [{"up_to": "20", "flat_fee": "1"}, {"flat_fee": "2.5"}]},
    {"model": "PACKAGE", "price": "0.75", "package_size": "7.5", "included_quantity": "3"},
    {"model": "PERCENTAGE", "rate": "2.9"},
    {"model": "FORMULA", "expression": "q / 3 + event_count * 0.01", "discount": "3"},
]
