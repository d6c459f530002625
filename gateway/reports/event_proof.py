"""What proves documents of single events, and those that such documents have billed ahead of."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final
from uuid import UUID

import asyncpg

from runtime.postgres import Connection, Queries
from schemas.errors import Conflict
from schemas.event_proof import count_line, prove_event
from schemas.proof import AHEAD, DocumentRows
from schemas.proof_figures import Answer

EVENTS_MAX: Final = 100_000
"""Events of a meter and period that a proof counts."""

queries: Final = Queries.beside(__file__, "event_proof.sql")


async def prove_change(
    connection: Connection, tenant_id: int, place: int, rows: DocumentRows
) -> Answer | None:
    """Prove a document that bills a change of an event; None for any other document.

    place: its shard. rows: its family, lines and draws. Raises Conflict when there is too much.
    """
    own = rows.family[-1]
    key = (tenant_id, place, own["document_ref"])
    change = await connection.fetchrow(queries.find_change, *key)
    if change is None:
        return None
    cut = {
        "cut_offset": change["rated_below"],
        "cut_at": change["due_at"],
        "partition": change["partition"],
    }
    products = [dict(row) | cut for row in await connection.fetch(queries.list_products, *key)]
    prices = await connection.fetch(queries.list_prices, *key)
    after, before = [
        [
            row
            for product in products
            for line in prices
            if line["product_position"] == product["position"]
            for row in count_line(
                dict(line),
                product["period_ref"],
                await _events(
                    *(connection, tenant_id, place, own["contract_ref"], due_id),
                    *(line["meter_id"], product),
                ),
            )
        ]
        for due_id in (change["event_due_id"], change["event_due_id"] - 1)
    ]
    lines = [line for line in rows.lines if line["document_ref"] == own["document_ref"]]
    alone = replace(rows, family=[own], products=products, lines=lines, cut_lines=after)
    return prove_event(alone, before)


async def _events(
    connection: Connection,
    tenant_id: int,
    place: int,
    contract_ref: UUID,
    due_id: int,
    meter_id: int,
    product: dict[str, Any],
) -> Sequence[asyncpg.Record]:
    """Return the events of a meter in a product's period, as they counted at a change."""
    span = (product["start_at"], product["end_at"])
    rows: list[asyncpg.Record] = await connection.fetch(
        *(queries.events_as_of, tenant_id, place, contract_ref, due_id, meter_id),
        *(*span, EVENTS_MAX + 1),
    )
    if len(rows) > EVENTS_MAX:
        detail = f"more than {EVENTS_MAX} events come before it: `meterline verify` counts them"
        raise Conflict("proof_too_large", detail)
    return rows


async def with_ahead(
    connection: Connection, tenant_id: int, place: int, rows: DocumentRows
) -> DocumentRows:
    """Add what documents of events have billed ahead of a document, as one document together."""
    own = rows.family[-1]
    products: list[Any] = [
        row for row in rows.products if row["document_ref"] == own["document_ref"]
    ]
    if not products:
        return rows
    root = own["document_ref"] if own["kind"] == "PERIOD" else own["parent_document_ref"]
    offset = max(row["cut_offset"] for row in products)
    asked = (tenant_id, place, root, offset, own["number_in_contract"])
    ahead = await connection.fetchrow(queries.find_ahead, *asked)
    assert ahead is not None, "it counts"
    if not ahead["documents"]:
        return rows
    known = {(row["contract_product_ref"], row["period_ref"]): row for row in products}
    positions: dict[tuple[UUID, UUID], int] = {}
    more: list[dict[str, Any]] = []
    for row in await connection.fetch(queries.list_products_ahead, *asked):
        key = (row["contract_product_ref"], row["period_ref"])
        positions[key] = len(positions)
        if key in known:
            own_row = {"document_ref": AHEAD, "position": positions[key], "true_ups": "[]"}
            more.append({**known[key], **row, **own_row})
    lines = [
        dict(row)
        | {
            "document_ref": AHEAD,
            "product_position": positions[row["contract_product_ref"], row["period_ref"]],
            "line_item_ref": None,
        }
        for row in await connection.fetch(queries.list_lines_ahead, *asked)
    ]
    count = ahead["documents"]
    name = f"{count} documents of its events" if count > 1 else "the document of its event"
    family = {
        **{"document_ref": AHEAD, "document_number": name, "is_ahead": False},
        "part_total": ahead["total"] + ahead["credits_amount"],
    }
    return replace(
        rows,
        family=[*rows.family[:-1], family, own],
        products=[*more, *rows.products],
        lines=[*lines, *rows.lines],
    )
