"""MATRIX: a unit price for every value of one or two keys of an event's additional data.

Each cell is a charge of its own, priced by its own total. What falls in none of those listed,
because a key is missing, has no simple value or another one, falls in one more cell, the default,
which `price` prices: so a line has a bounded number of charges whatever comes. An included quantity
is free in every cell.

A cell is told by the values of the dimensions, in their order; the default one by none. Stored, it
is their JSON array, and empty text for the default.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from schemas.errors import InvalidInput
from schemas.money import PRICE_DIGITS, Price, json_number_text, scaled_to_text
from schemas.pricing.reading import Reader
from schemas.pricing.terms import Cell, LinePrice, PricingModel

Values = tuple[str, ...]
DEFAULT: Final[Values] = ()

DIMENSIONS_MAX: Final = 2
CELLS_MAX: Final = 1_000
TEXT_LENGTH_MAX: Final = 255

_decode_fields: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def amount(price: LinePrice, quantity: int) -> int:
    """Refuse a total: it has no cell, and what `cell_price` returns is priced instead."""
    raise AssertionError(f"{quantity} units without a cell of {price.dimensions}")


def cell_of(price: LinePrice, values: Values) -> Values:
    """Return the cell that an event falls in by its values of the dimensions."""
    return values if values in price.cell_prices else DEFAULT


def cell_name_of(price: LinePrice, data: str | None) -> str:
    """Return the cell that an event falls in, as it is stored. data: additional data, checked."""
    if data is None:
        return ""
    fields = _decode_fields(data)
    values = tuple(_value_text(fields.get(name)) for name in price.dimensions)
    return price.cell_names.get(values, "")


def _value_text(raw: msgspec.Raw | None) -> str:
    """Return a value as cells name it: a text, a number as it is written, true or false.

    Empty, which names no cell, for what is missing or is no such value.
    """
    text = b"" if raw is None else bytes(raw)
    if text.startswith(b'"'):
        return str(msgspec.json.decode(text))
    return "" if text.startswith((b"{", b"[", b"null")) else text.decode()


def cell_values(name: str) -> Values:
    """Return the values of a cell that is named as it is stored."""
    return tuple(msgspec.json.decode(name, type=list[str])) if name else DEFAULT


def cell_price(price: LinePrice, values: Values) -> LinePrice:
    """Return what the units of a cell cost, each alike."""
    unit_price = price.cell_prices.get(values, price.price)
    return msgspec.structs.replace(
        price, model="PER_UNIT", price=unit_price, dimensions=(), cells=()
    )


def _read(reader: Reader) -> dict[str, Any]:
    dimensions = tuple(
        _read_text(reader, item, f"dimensions/{index}")
        for index, item in enumerate(reader.items("dimensions", "keys", DIMENSIONS_MAX))
    )
    if len(set(dimensions)) < len(dimensions):
        reader.add("dimensions_repeated", "must be different keys", "dimensions")
    items = reader.items("cells", "cells", CELLS_MAX)
    cells = [_read_cell(reader, item, index, dimensions) for index, item in enumerate(items)]
    _refuse_repeated(reader, cells)
    price = reader.price("price") or Price(0)
    return {"price": price, "dimensions": dimensions, "cells": tuple(cells)}


def _read_cell(reader: Reader, item: object, index: int, dimensions: tuple[str, ...]) -> Cell:
    path = f"cells/{index}"
    if not isinstance(item, Mapping):
        reader.add("cell_malformed", "must be an object", path)
        return Cell((), Price(0))
    inner = reader.inner(item, path)
    inner.refuse_unknown(frozenset({"values", "unit_price"}))
    for name in sorted({"values", "unit_price"} - inner.present):
        inner.add("required", f"a cell needs its {name}", name)
    values = tuple(
        _read_text(inner, value, f"values/{place}")
        for place, value in enumerate(inner.items("values", "texts", DIMENSIONS_MAX))
    )
    if values and dimensions and len(values) != len(dimensions):
        detail = f"must be {len(dimensions)}, one for each of the dimensions, in their order"
        inner.add("values_malformed", detail, "values")
    return Cell(values, inner.price("unit_price") or Price(0))


def _read_text(reader: Reader, value: object, path: str) -> str:
    """Read a key or a value of additional data; a number counts as the text that it is written."""
    try:
        text = str(json_number_text(value))
    except InvalidInput:
        text = ""
    if not 1 <= len(text) <= TEXT_LENGTH_MAX or "\0" in text:
        reader.add("text_malformed", f"must be a text of 1 to {TEXT_LENGTH_MAX} characters", path)
    return text


def _refuse_repeated(reader: Reader, cells: list[Cell]) -> None:
    seen: dict[tuple[str, ...], int] = {}
    for index, cell in enumerate(cells):
        first = seen.setdefault(cell.values, index)
        if cell.values and first != index:
            reader.add("cell_repeated", f"is the cell of /cells/{first} again", f"cells/{index}")


def _write(price: LinePrice) -> dict[str, object]:
    return {
        "price": scaled_to_text(price.price, PRICE_DIGITS),
        "dimensions": list(price.dimensions),
        "cells": [
            {
                "values": list(cell.values),
                "unit_price": scaled_to_text(cell.unit_price, PRICE_DIGITS),
            }
            for cell in price.cells
        ],
    }


MODEL = PricingModel(
    required=frozenset({"price", "dimensions", "cells"}),
    optional=frozenset(),
    read=_read,
    write=_write,
    amount=amount,
    basis="CELLS",
)
