"""Overrides: line items that a contract product sells otherwise than its pricing does.

An override names a line item and the fields that differ; another model brings all of its own. What
comes out is a price version that the contract owns: the pricing is never changed.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec
from msgspec import Struct

from gateway.manage import values
from gateway.manage.body import Fields
from gateway.manage.line_items import shown_fields
from gateway.manage.products import NewLine, read_lines, select_lines
from schemas.aggregation import PLAIN
from schemas.price import MODELS, basis_of, to_json

_decode: Final = msgspec.json.Decoder(list[dict[str, Any]]).decode
_decode_price: Final = msgspec.json.Decoder(dict[str, Any]).decode
_NAMES: Final = ("line_item_ref", "line_item_id")
_APART: Final = frozenset({*_NAMES, "item", "usage_product_ref"})
_ABSENT: Final = (None, "")

Line = asyncpg.Record | dict[str, Any]


class Override(Struct, frozen=True):
    """What differs of a line item. given: the fields, as they were sent."""

    fields: Fields
    line_ref: UUID
    given: Mapping[str, object]


def read_overrides(fields: Fields) -> tuple[Override, ...]:
    """Read `overrides` of a contract product."""
    found: list[Override] = []
    for one in fields.each("overrides") or ():
        line_ref = one.required(values.ref, *_NAMES)
        one.optional(values.choice(*MODELS), "model")
        one.ignore(*one.values)
        given = {n: v for n, v in one.values.items() if n not in _NAMES and v not in _ABSENT}
        found.append(Override(one, line_ref, given))
    return tuple(found)


def meters_named(overrides: Sequence[Override]) -> list[UUID]:
    """Return the meters that overrides name, as far as they can be read."""
    found: list[UUID] = []
    for one in overrides:
        ref = one.fields.optional(values.ref, "usage_product_ref")
        found += [ref] if ref is not None else []
    return found


def apply(
    overrides: Sequence[Override],
    lines: Sequence[Line],
    meters: Mapping[UUID, asyncpg.Record],
) -> tuple[list[Line], str]:
    """Return the lines as they are sold, and the overrides as they are stored.

    meters: those that the overrides name. Notes a problem of every override that can't be.
    """
    sold = list(lines)
    stored: dict[str, dict[str, object]] = {}
    for one in overrides:
        chosen, _ = select_lines(lines, [one.line_ref])
        if not chosen:
            detail = "is no line item that this product sells"
            one.fields.add("line_item_unknown", detail, "line_item_ref")
            continue
        base = chosen[0]
        name = str(base["line_item_ref"])
        if name in stored:
            one.fields.add("line_item_repeated", "has an override already", "line_item_ref")
        line = _priced(one, base)
        if line is None or (meter := _meter_of(one, line, base, meters)) is None:
            continue
        text = to_json(line.price)
        stored[name] = {"line_item_ref": name, **_canonical(one.given, line, text)}
        place = next(p for p, other in enumerate(lines) if other is base)
        own = {"price": text, "item": line.item, "is_own": True}
        sold[place] = {**base, **meter, **own}
    return sold, msgspec.json.encode(list(stored.values())).decode()


def _priced(one: Override, base: Line) -> NewLine | None:
    """Read a line item from its pricing's fields and an override's over them."""
    fields = {"item": base["item"], "usage_product_ref": _text(base["usage_product_ref"])}
    former = _decode_price(base["price"])
    if one.given.get("model") in (None, former["model"]):
        fields |= former
    merged = {**fields, **one.given}
    if merged["model"] == "FLAT":
        merged.pop("usage_product_ref")
    return next(read_lines([one.fields.body.object(merged, one.fields.pointer)]), None)


def _meter_of(
    one: Override, line: NewLine, base: Line, meters: Mapping[UUID, asyncpg.Record]
) -> Mapping[str, Any] | None:
    """Return the columns of a line that say its meter; None when it can't be that one."""
    names = ("usage_product_ref", "meter_id", "aggregation")
    if line.meter_ref is None:
        return dict.fromkeys(names)
    known = base if base["usage_product_ref"] == line.meter_ref else meters.get(line.meter_ref)
    if known is None:
        one.fields.add("usage_product_unknown", "names no meter of yours", "usage_product_ref")
        return None
    if basis_of(line.price) != "TOTAL" and known["aggregation"] not in PLAIN:
        detail = f"a price of events or cells can't be one of a meter's {known['aggregation']}"
        one.fields.add("aggregation_not_priced", detail, "model")
        return None
    return {name: known[name] for name in names}


def _canonical(given: Mapping[str, object], line: NewLine, text: str) -> dict[str, object]:
    """Return the fields of an override, each written in one way alone."""
    known = _decode_price(text) | {"item": line.item, "usage_product_ref": _text(line.meter_ref)}
    return {name: known.get(name, _plain(value)) for name, value in sorted(given.items())}


def _plain(value: object) -> object:
    """Return a value that is the same as if it were left out: a zero, or a word."""
    if not isinstance(value, str | int) or isinstance(value, bool):
        return value
    try:
        return format(Decimal(value), "f")
    except InvalidOperation:
        return value


def _text(ref: UUID | None) -> str | None:
    return None if ref is None else str(ref)


def overrides_shown(text: str) -> list[dict[str, Any]]:
    """Show stored overrides as the API takes them."""
    return [
        {name: row[name] for name in row if name in _APART}
        | shown_fields({name: row[name] for name in row if name not in _APART})
        for row in _decode(text)
    ]
