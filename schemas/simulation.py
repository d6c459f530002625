"""Simulation: what a line item would cost for quantities, or events, that nobody has used. Pure.

Each quantity is the total of one whole period. A price of single events, or of cells, needs the
events: those of one period, or a list of such lists. Amounts have their fees and their discount and
are not rounded.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, Final

import msgspec

from schemas.document import tiers_json
from schemas.errors import InvalidInput
from schemas.money import (
    AMOUNT_DIGITS,
    ONE,
    PRICE_DIGITS,
    QUANTITY_DIGITS,
    Amount,
    Price,
    Quantity,
    json_number_text,
    parse_quantity,
    scaled_to_text,
)
from schemas.price import (
    LinePrice,
    TierCharge,
    basis_of,
    bounded_amount,
    exact_total,
    needs_count,
    parse_line_price,
    price_cells,
    price_events,
    tier_walk,
)
from schemas.pricing.matrix import cell_of
from schemas.pricing.reading import Reader, plain

CASES_MAX: Final = 1_000
"""Quantities, or periods of events, of one simulation."""

EVENTS_MAX: Final = 10_000
"""Events of all periods together."""

WORK_MAX: Final = 20_000
"""Prices computed in one answer, each weighing as much as it may have tiers and parts."""

EXACT_DIGITS: Final = AMOUNT_DIGITS + PRICE_DIGITS + 2
"""Digits after the point that an unrounded amount may have: a discount's percentage adds some."""

_FIELDS: Final = frozenset({"line_item", "quantities", "events"})


class Event(msgspec.Struct, frozen=True):
    """An event. values: of the price's dimensions, empty text where the event has none."""

    quantity: Quantity
    values: tuple[str, ...] = ()


class Simulation(msgspec.Struct, frozen=True):
    """What is asked for: each case is a period, as its total or as its events."""

    price: LinePrice
    cases: tuple[Quantity | tuple[Event, ...], ...]


class Part(msgspec.Struct, frozen=True):
    """What an event, or a cell, adds. values: of the cell."""

    quantity: Quantity
    amount: Amount
    values: tuple[str, ...] = ()


class Result(msgspec.Struct, frozen=True):
    """What one period costs, exactly; parts where the price is one of events or of cells."""

    quantity: Quantity
    amount: Fraction
    tiers: Sequence[TierCharge] = ()
    events: Sequence[Part] = ()
    cells: Sequence[Part] = ()


def read_simulation(fields: Mapping[str, object]) -> Simulation:
    """Read a request, its numbers exact. Raises InvalidInput that lists all that is wrong."""
    reader = Reader(fields, "")
    reader.refuse_unknown(_FIELDS)
    price, states_quantity = _read_line_item(reader)
    if ("quantities" in reader.present) == ("events" in reader.present):
        reader.add("required", "needs either quantities or events", "quantities")
    cases: list[Quantity | tuple[Event, ...]] = [
        *_read_quantities(reader),
        *_read_events(reader, () if price is None else price.dimensions),
    ]
    if price is not None and "quantities" in reader.present:
        what = "their count" if needs_count(price) else _NEEDS_EVENTS.get(basis_of(price))
        if what is not None:
            detail = f"this is a price of {what}: send events instead"
            reader.add("events_required", detail, "quantities")
    if price is not None and len(cases) * weight(price) > WORK_MAX:
        detail = f"is too much for so many tiers: send {WORK_MAX // weight(price)} at most"
        name = "quantities" if "quantities" in reader.present else "events"
        reader.add("simulation_too_large", detail, name)
    reader.finish()
    assert price is not None
    if basis_of(price) == "OWN_QUANTITY" and states_quantity:
        cases = [price.quantity for _ in cases]
    return Simulation(price, tuple(cases))


def weight(price: LinePrice) -> int:
    """Return how much work a price is: 1, and more for tiers and for a long formula."""
    return 1 + len(price.tiers) + len(price.expression) // 8


_NEEDS_EVENTS: Final[Mapping[str, str]] = {"EVENTS": "single events", "CELLS": "cells"}


def _read_line_item(reader: Reader) -> tuple[LinePrice | None, bool]:
    """Read the price, and whether it states its own quantity."""
    item = reader.fields.get("line_item")
    if not isinstance(item, Mapping):
        code = "required" if item is None else "type_object"
        reader.add(code, "must be a line item, with its model", "line_item")
        return None, False
    given = {name: value for name, value in item.items() if value not in (None, "")}
    try:
        return parse_line_price(given, "/line_item"), "quantity" in given
    except InvalidInput as error:
        reader.problems.extend(error.problems)
        return None, False


def _read_quantities(reader: Reader) -> list[Quantity]:
    items = reader.items("quantities", "quantities", CASES_MAX)
    return [_read_quantity(reader, item, f"quantities/{at}") for at, item in enumerate(items)]


def _read_quantity(reader: Reader, value: object, path: str) -> Quantity:
    try:
        return parse_quantity(json_number_text(value))
    except InvalidInput as error:
        reader.add(error.code, error.detail, path)
        return Quantity(0)


def _read_events(reader: Reader, dimensions: tuple[str, ...]) -> list[tuple[Event, ...]]:
    """Read one period's events, or several periods'."""
    items = reader.items("events", "events", EVENTS_MAX)
    if not items or not isinstance(items[0], list):
        return [_read_period(reader, items, "events", dimensions)] if items else []
    if len(items) > CASES_MAX:
        reader.add("events_malformed", f"must be at most {CASES_MAX} periods", "events")
        return []
    periods = [item if isinstance(item, list) else [item] for item in items]
    if sum(map(len, periods)) > EVENTS_MAX:
        reader.add("events_malformed", f"must be at most {EVENTS_MAX} events", "events")
        return []
    return [
        _read_period(reader, period, f"events/{at}", dimensions)
        for at, period in enumerate(periods)
    ]


def _read_period(
    reader: Reader, items: Sequence[object], path: str, dimensions: tuple[str, ...]
) -> tuple[Event, ...]:
    return tuple(
        _read_event(reader, plain(item), f"{path}/{at}", dimensions)
        for at, item in enumerate(items)
    )


def _read_event(reader: Reader, item: object, path: str, dimensions: tuple[str, ...]) -> Event:
    """Read an event: its quantity alone, or with the additional data that chooses a cell."""
    if not isinstance(item, Mapping):
        return Event(_read_quantity(reader, item, path), ("",) * len(dimensions))
    inner = reader.inner(item, path)
    inner.refuse_unknown(frozenset({"quantity", "additional_report_data"}))
    data = inner.fields.get("additional_report_data") or {}
    if not isinstance(data, Mapping):
        inner.add("type_object", "must be an object", "additional_report_data")
        data = {}
    quantity = _read_quantity(reader, inner.fields.get("quantity"), f"{path}/quantity")
    return Event(quantity, tuple(_value_text(data.get(name)) for name in dimensions))


def _value_text(value: object) -> str:
    """Write a value of additional data as the text that cells name it by."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def simulate(simulation: Simulation) -> list[Result]:
    """Price every period."""
    return [
        _of_total(simulation.price, case)
        if isinstance(case, int)
        else _of_events(simulation.price, case)
        for case in simulation.cases
    ]


def _of_total(price: LinePrice, total: Quantity, event_count: int | None = None) -> Result:
    if basis_of(price) == "OWN_QUANTITY":
        price = msgspec.structs.replace(price, quantity=total)
    amount = _with_fees(price, exact_total(price, total, event_count))
    return Result(total, amount, tiers=tier_walk(price, total))


def _of_events(price: LinePrice, events: tuple[Event, ...]) -> Result:
    basis = basis_of(price)
    quantities = [event.quantity for event in events]
    total = Quantity(sum(quantities))
    if basis not in _NEEDS_EVENTS:
        return _of_total(price, total, len(events))
    if basis == "EVENTS":
        amounts = price_events(price, quantities)
        parts = [Part(*part) for part in zip(quantities, amounts, strict=True)]
        return Result(total, _with_fees(price, _money(sum(amounts))), events=parts)
    totals: dict[tuple[str, ...], Quantity] = {}
    for event in events:
        cell = cell_of(price, event.values)
        totals[cell] = Quantity(totals.get(cell, 0) + event.quantity)
    cells = price_cells(price, totals)
    parts = [Part(totals[values], amount, values) for values, amount in cells.items()]
    return Result(total, _with_fees(price, _money(sum(cells.values()))), cells=parts)


def _money(amount: int) -> Fraction:
    return Fraction(amount, 10**AMOUNT_DIGITS)


def _with_fees(price: LinePrice, money: Fraction) -> Fraction:
    """Apply the fees of a whole period, and the discount."""
    return bounded_amount(price, money, _fee(price.minimum_fee), _fee(price.maximum_fee))


def _fee(fee: Price | None) -> Fraction | None:
    return None if fee is None else Fraction(fee, ONE)


def result_json(result: Result) -> dict[str, Any]:
    """Show a result as the API does: numbers with every digit."""
    shown: dict[str, Any] = {
        "quantity": _number(result.quantity, QUANTITY_DIGITS),
        "amount": _number(int(result.amount * 10**EXACT_DIGITS), EXACT_DIGITS),
        "tiers": msgspec.Raw(tiers_json(result.tiers).encode()),
    }
    if result.events:
        shown["events"] = [_part_json(part) for part in result.events]
    if result.cells:
        shown["cells"] = [{"values": part.values, **_part_json(part)} for part in result.cells]
    return shown


def _part_json(part: Part) -> dict[str, msgspec.Raw]:
    return {
        "quantity": _number(part.quantity, QUANTITY_DIGITS),
        "amount": _number(part.amount, AMOUNT_DIGITS),
    }


def _number(value: int, digits: int) -> msgspec.Raw:
    return msgspec.Raw(scaled_to_text(value, digits).encode())
