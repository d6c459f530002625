"""Line items as product lists show them: one row each, or one a tier, every field of the price."""

from collections.abc import Iterator, Mapping
from typing import Any, Final
from uuid import UUID, uuid5

import asyncpg
import msgspec

from gateway.manage.answers import number
from schemas.money import PRICE_DIGITS, QUANTITY_DIGITS, scaled_to_decimal
from schemas.price import LinePrice, from_json, is_usage, to_json

_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode
_WORDS: Final = frozenset(
    {"model", "package_rounding", "currency", "dimensions", "values", "expression"}
)
_SHOWN_APART: Final = frozenset({"model", "price", "quantity", "tiers"})


def tier_refs(line_item_ref: UUID, price: LinePrice) -> list[UUID]:
    """Return the refs by which a line item's tiers are known: the same for ever."""
    return [uuid5(line_item_ref, f"tier {index}") for index in range(len(price.tiers))]


def cell_ref(line_item_ref: UUID, cell: str) -> UUID:
    """Return the ref by which a cell of a line item is known on documents: the same for ever."""
    return uuid5(line_item_ref, f"cell {cell}")


def line_item_rows(row: asyncpg.Record) -> Iterator[dict[str, Any]]:
    """Show a line item. `price` is null where its units have no price of their own."""
    price = from_json(row["price"])
    fields = _decode(to_json(price))
    shown = {
        "item": row["item"],
        "model": price.model,
        "usage_product_ref": row["usage_product_ref"],
    }
    rest = {name: _shown(name, fields[name]) for name in fields if name not in _SHOWN_APART}
    ref = row["line_item_ref"]
    for tier_ref, tier in zip(tier_refs(ref, price), fields.get("tiers", ()), strict=True):
        unit_price = tier.pop("unit_price", None)
        yield {
            "line_item_ref": tier_ref,
            **shown,
            **_amounts(price, unit_price),
            "parent_line_item_ref": ref,
            **_shown("tier", tier),
            **rest,
        }
    if price.tiers:
        return
    unit_price = fields.get("price")
    if price.model == "MATRIX":  # its cells have prices of their own
        rest["default_price"], unit_price = _shown("price", unit_price), None
    yield {"line_item_ref": ref, **shown, **_amounts(price, unit_price), **rest}


def shown_fields(fields: Mapping[str, object]) -> dict[str, Any]:
    """Show fields of a stored price, their numbers as numbers."""
    return {name: _shown(name, value) for name, value in fields.items()}


def _amounts(price: LinePrice, unit_price: str | None) -> dict[str, Any]:
    """Show a unit price, and what the quantity costs that the line itself fixes."""
    quantity = 0 if is_usage(price) else price.quantity
    amount = scaled_to_decimal(quantity * price.price, QUANTITY_DIGITS + PRICE_DIGITS)
    return {
        "price": _shown("price", unit_price),
        "quantity": number(scaled_to_decimal(quantity, QUANTITY_DIGITS)),
        "amount": number(amount),
    }


def _shown(name: str, value: object) -> Any:  # noqa: ANN401 - JSON
    """Turn the numbers of a stored price, which are texts, into numbers."""
    if isinstance(value, str) and name not in _WORDS:
        return msgspec.Raw(value.encode())
    if isinstance(value, list):
        return [_shown(name, item) for item in value]
    if isinstance(value, Mapping):
        return {inner: _shown(inner, item) for inner, item in value.items()}
    return value
