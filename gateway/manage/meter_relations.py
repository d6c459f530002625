"""Relations of meters: what counts toward what, read from bodies and settled in the database."""

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final
from uuid import UUID

import asyncpg
from msgspec import Struct

from gateway.manage import values
from gateway.manage.answers import number
from gateway.manage.body import Fields
from gateway.manage.context import queries
from runtime.postgres import Connection
from schemas.errors import Conflict, InvalidInput
from schemas.meter_feed import FACTOR_MAX, RELATIONS, Link, check_link
from schemas.money import (
    ONE,
    QUANTITY_DIGITS,
    json_number_text,
    parse_quantity,
    scaled_to_decimal,
)

_FACTOR: Final = Decimal(1)
_CREDITED: Final = Decimal(-1)
_NEW: Final = 0
"""Stands for the id of a meter that has none yet: ids begin with 1."""


class NewRelation(Struct, frozen=True):
    """A relation as it is asked for. toward: the meter that it counts toward, if there is one.

    factor: None without such a meter, below zero of a CREDIT. is_bare: the body says no more than
    that it is a DEBIT, which one with a parent is, too.
    """

    kind: str
    toward: UUID | None
    factor: Decimal | None
    is_bare: bool = False

    @property
    def field(self) -> str:
        """The field that names the other meter."""
        return "offsets_ref" if self.kind == "CREDIT" else "parent_ref"


NO_RELATION: Final = NewRelation("DEBIT", None, None)


def is_kept(relation: NewRelation, row: asyncpg.Record) -> bool:
    """Tell whether a meter keeps the relation that it has, as the body says. row: as stored."""
    if relation.is_bare:
        return bool(row["relation"] == "DEBIT")
    asked = (relation.kind, relation.toward, relation.factor)
    return asked == (row["relation"], row["toward_ref"], row["parent_factor"])


class Subject(Struct, frozen=True):
    """The meter whose relation it is. row: as stored, None before it is made."""

    name: str
    aggregation: str
    row: asyncpg.Record | None = None

    @property
    def meter_id(self) -> int:
        """Its id, a stand-in before it is made."""
        return _NEW if self.row is None else self.row["meter_id"]


def _factor(value: object) -> Decimal:
    """Read a factor above zero, exact."""
    scaled = parse_quantity(json_number_text(value))
    if scaled <= 0:
        detail = "must be above 0; what takes away from a meter is a CREDIT with an offsets_ref"
        raise InvalidInput("factor_out_of_range", detail)
    if scaled > FACTOR_MAX * ONE:
        raise InvalidInput("factor_out_of_range", f"must be at most {FACTOR_MAX}")
    return scaled_to_decimal(scaled, QUANTITY_DIGITS)


def read_relation(fields: Fields) -> NewRelation | None:
    """Read what a meter counts toward; None where the body doesn't speak of it."""
    kind = fields.optional(values.choice(*RELATIONS), "relation")
    parent = fields.optional(values.ref, "parent_ref")
    factor = fields.optional(_factor, "parent_factor")
    offsets = fields.optional(values.ref, "offsets_ref")
    if kind == "CREDIT":
        if not fields.has("offsets_ref"):
            detail = "a CREDIT takes away from another usage product: name it"
            fields.add("required", detail, "offsets_ref")
        for name in ("parent_ref", "parent_factor"):
            if fields.has(name):
                detail = "a CREDIT counts toward the usage product that it offsets, by -1, alone"
                fields.add("field_not_applicable", detail, name)
        return NewRelation("CREDIT", offsets, _CREDITED)
    if fields.has("offsets_ref"):
        detail = "a DEBIT adds: name the usage product in parent_ref, or make it a CREDIT"
        fields.add("field_not_applicable", detail, "offsets_ref")
    if fields.has("parent_factor") and not fields.has("parent_ref"):
        detail = "multiplies what counts toward a parent: name that in parent_ref"
        fields.add("field_not_applicable", detail, "parent_factor")
    is_bare = not {"parent_ref", "offsets_ref"} & fields.values.keys()
    if kind is None and is_bare:
        return None
    return NewRelation("DEBIT", parent, None if parent is None else factor or _FACTOR, is_bare)


async def settle_relation(
    connection: Connection, tenant_id: int, subject: Subject, relation: NewRelation
) -> int | None:
    """Return the id of the meter that one is to count toward, once that is possible and allowed.

    The caller has called `lock_meters`. Raises InvalidInput, Conflict.
    """
    toward: int | None = None
    if relation.toward is not None:
        rows = await connection.fetch(queries.find_meters, tenant_id, [relation.toward])
        if not rows:
            detail = "names no usage product of yours"
            raise InvalidInput("usage_product_unknown", detail, f"/{relation.field}")
        toward = rows[0]["meter_id"]
    if subject.row is not None and (toward, relation.factor) != (
        subject.row["parent_meter_id"],
        subject.row["parent_factor"],
    ):
        await _refuse_if_rated(connection, tenant_id, subject, toward)
    link = Link(subject.name, subject.aggregation, toward, Fraction(relation.factor or _FACTOR))
    try:
        await check_links(connection, tenant_id, subject, link)
    except InvalidInput as error:
        raise InvalidInput(error.code, error.detail, f"/{relation.field}") from None
    return toward


async def check_links(connection: Connection, tenant_id: int, subject: Subject, link: Link) -> None:
    """Refuse a meter that can't be among the tenant's others. Raises InvalidInput."""
    named = [subject.meter_id] + ([] if link.parent is None else [link.parent])
    rows = await connection.fetch(queries.list_links, tenant_id, named)
    check_link({**_links(rows), subject.meter_id: link}, subject.meter_id)


def _links(rows: list[asyncpg.Record]) -> Mapping[int, Link]:
    return {row["meter_id"]: link_of(row) for row in rows}


def link_of(row: asyncpg.Record) -> Link:
    """Read a meter's place among the others."""
    factor = row["parent_factor"]
    return Link(
        row["name"], row["aggregation"], row["parent_meter_id"], Fraction(factor or _FACTOR)
    )


async def lock_meters(connection: Connection, tenant_id: int) -> None:
    """Let nobody else change or price the tenant's meters before the end of the transaction."""
    await connection.execute(queries.lock_meters, tenant_id)


async def _refuse_if_rated(
    connection: Connection, tenant_id: int, subject: Subject, toward: int | None
) -> None:
    """Raise Conflict when events were rated, or should have been, toward a meter above."""
    place = (tenant_id, subject.meter_id, toward)
    priced = await connection.fetchval(queries.find_priced_above, *place)
    if priced is not None:
        detail = (
            f"line items price {priced!r}, toward which it counts or would count, and usage is "
            "rated by the relation that there is: leave that, or make another usage product"
        )
        raise Conflict("relation_settled", detail)


def relation_answer(row: asyncpg.Record) -> dict[str, Any]:
    """Show what a meter counts toward. row: with `toward_ref`."""
    toward, is_credit = row["toward_ref"], row["relation"] == "CREDIT"
    has_parent = toward is not None and not is_credit
    return {
        "relation": row["relation"],
        "parent_ref": toward if has_parent else None,
        "parent_factor": number(row["parent_factor"]) if has_parent else None,
        "offsets_ref": toward if is_credit else None,
    }
