"""`meterline documents`: the documents of a tenant, newest first, and what they come to."""

import sys
from collections.abc import Sequence
from datetime import date
from typing import Annotated, Any, Final, NamedTuple
from uuid import UUID

import asyncpg
import msgspec
from cyclopts import Parameter, validators

from deploy.cli.admin_work import AsJson, State, TenantRef, find_tenant, run, show
from deploy.local.errors import StackError
from gateway.manage.document_filter import (
    PAGE_MAX,
    Chosen,
    Place,
    Wanted,
    cursor_of,
    find_documents,
    load_totals,
    read_place,
)
from schemas.document import DocumentState
from schemas.errors import InvalidInput
from schemas.event_ref import canonical_ref

_COLUMNS: Final = (
    *("document_number", "state", "issue_date", "due_date", "currency", "total"),
    *("customer", "document_ref"),
)
_SUMS: Final = ("currency", "state", "accounting_event_type", "documents", "total")
_encode: Final = msgspec.json.Encoder(decimal_format="number", enc_hook=str).encode


class _Found(NamedTuple):
    rows: Sequence[asyncpg.Record]
    totals: Sequence[asyncpg.Record]


def documents(
    *,
    customer: tuple[str, ...] = (),
    contract: tuple[str, ...] = (),
    document_state: Annotated[DocumentState | None, Parameter(name="--in-state")] = None,
    from_: Annotated[date | None, Parameter(name="--from")] = None,
    to: date | None = None,
    limit: Annotated[int, Parameter(validator=validators.Number(gte=1, lte=PAGE_MAX))] = 50,
    cursor: str | None = None,
    tenant: TenantRef = None,
    state: State = None,
    as_json: AsJson = False,
) -> None:
    """List documents, the newest first, and what all of them come to by currency and state.

    For example:

        meterline documents
        meterline documents --in-state UNDER_REVIEW
        meterline documents --from 2026-11-01 --to 2026-11-30 --limit 500 --json

    Parameters
    ----------
    customer
        Refs of customers; else all.
    contract
        Refs of contracts; else all.
    from_
        First issue date.
    to
        Last issue date.
    limit
        The most documents shown.
    cursor
        Where to go on, as the page before says.
    """
    refs = ([*map(_ref, customer)], [*map(_ref, contract)])
    chosen = Chosen(*refs, document_state and str(document_state), from_, to)
    wanted = Wanted(chosen, limit, 0, None if cursor is None else _place(cursor))

    async def load(connection: asyncpg.Connection) -> _Found:
        tenant_id = await find_tenant(connection, tenant)
        rows = await find_documents(connection, tenant_id, wanted)
        return _Found(rows, await load_totals(connection, tenant_id, chosen))

    _print(run(state, load, reads_only=True), limit, as_json=as_json)


def _print(found: _Found, limit: int, *, as_json: bool) -> None:
    page, following = found.rows[:limit], None
    if len(found.rows) > limit:
        following = cursor_of(Place(page[-1]["issue_date"], page[-1]["document_ref"]))
    rows, totals = [_shown(row) for row in page], [dict(row) for row in found.totals]
    if as_json:
        answer = {"documents": rows, "totals": totals, "next_cursor": following}
        sys.stdout.buffer.write(_encode(answer) + b"\n")
        return
    show(rows, _COLUMNS, as_json=False)
    sys.stdout.write("\nAll of them:\n")
    sys.stdout.flush()
    show(totals, _SUMS, as_json=False)
    if following is not None:
        sys.stdout.write(f"\nMore with --cursor {following}\n")


def _shown(row: asyncpg.Record) -> dict[str, Any]:
    parties = msgspec.json.decode(row["parties"], type=dict[str, Any])
    shown = {name: row[name] for name in _COLUMNS if name != "customer"}
    return shown | {
        "customer": parties["customer"]["name"],
        "contract_ref": row["contract_ref"],
        "accounting_event_type": row["accounting_event_type"],
    }


def _ref(text: str) -> UUID:
    try:
        return UUID(canonical_ref(text))
    except InvalidInput:
        raise StackError(f"{text!r} is no ref: one looks like {UUID(int=0)}") from None


def _place(text: str) -> Place:
    try:
        return read_place(text)
    except InvalidInput:
        raise StackError(f"{text!r} is no cursor: take it from the page before") from None
