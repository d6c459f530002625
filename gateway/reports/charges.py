"""The charges that an event counts in: what each has come to so far, and its documents."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
from msgspec import Struct

from gateway.manage.answers import number
from gateway.manage.values import DUE_UPON_USAGE
from gateway.reports.asking import queries
from runtime.postgres import Connection


class Counted(Struct, frozen=True):
    """What decides where an event counts: whose it is, of which meter, and when it happened.

    event_ref: by which its own documents are found, where it is billed upon usage.
    """

    shard_key: int
    customer_id: int
    meter_id: int
    occurred_at: datetime
    event_ref: UUID


class Charges(Struct, frozen=True):
    """The charges that an event counts in, as they are shown, the oldest contract's first.

    numbers: of the documents that are issued, as answers for events show them.
    """

    shown: list[dict[str, Any]]
    numbers: dict[str, str | None]


async def charges_of(connection: Connection, tenant_id: int, counted: Counted) -> Charges:
    """Read the charges that an event counts in."""
    rows = await connection.fetch(
        queries.list_event_charges,
        *(tenant_id, counted.shard_key, counted.customer_id, counted.meter_id),
        counted.occurred_at,
    )
    charges: dict[UUID, dict[str, Any]] = {}
    for row in rows:
        charge = charges.setdefault(row["charge_ref"], _charge_answer(row))
        if row["document_ref"] is not None:
            charge["documents"].append(document_answer(row))
    is_own = bool(rows) and rows[0]["net_terms"] == DUE_UPON_USAGE
    own: str | None = None
    if is_own:
        place = (tenant_id, counted.shard_key, counted.event_ref)
        own = await connection.fetchval(queries.find_event_document_numbers, *place)
    return Charges(list(charges.values()), _numbers(rows, own))


def _numbers(rows: Sequence[asyncpg.Record], own: str | None) -> dict[str, str | None]:
    """Return the numbers of the oldest contract's documents, None while none is issued.

    Where events have documents of their own, those of periods are their parents. own: the numbers
    of the event's.
    """
    oldest = [row for row in rows if row["contract_ref"] == rows[0]["contract_ref"]]
    found = [row["document_number"] for row in oldest if row["document_number"] is not None]
    numbers = ", ".join(dict.fromkeys(found)) or None
    is_parent = bool(oldest) and oldest[0]["net_terms"] == DUE_UPON_USAGE
    return {
        "related_document_numbers": own if is_parent else numbers,
        "related_parent_document_numbers": numbers if is_parent else None,
    }


def _charge_answer(row: asyncpg.Record) -> dict[str, Any]:
    return {
        "charge_ref": row["charge_ref"],
        "contract_ref": row["contract_ref"],
        "line_item_ref": row["line_item_ref"],
        "item": row["item"],
        "period": {"start": row["start_date"], "end": row["end_date"]},
        "quantity": number(row["quantity"]),
        "amount": number(row["amount"]),
        "currency": row["currency"],
        "documents": [],
    }


def document_answer(row: asyncpg.Record) -> dict[str, Any]:
    """Show which document it is, and how it stands."""
    return {
        "invoice_ref": row["document_ref"],
        "document_number": row["document_number"],
        "state": row["state"],
    }
