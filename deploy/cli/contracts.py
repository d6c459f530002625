"""`meterline contracts history`: who changed what of a contract, and when."""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec
from cyclopts import App

from deploy.cli.admin_work import AsJson, State, TenantRef, find_tenant, run, show
from deploy.local.errors import StackError
from gateway.manage.contract_changes import Change
from gateway.manage.contract_history import PAGE_DEFAULT, Entry, History, Page, load_history
from runtime.postgres import Queries
from schemas.errors import InvalidInput
from schemas.event_ref import canonical_ref, shard_key_of

queries: Final = Queries.beside(__file__, "contracts.sql")

contracts = App(name="contracts", help="Contracts: what became of them.")

_COLUMNS: Final = ("at", "made_by", "action", "field", "before", "after")
_VALUE_LENGTH_MAX: Final = 48
_encode: Final = msgspec.json.Encoder(decimal_format="number", enc_hook=str).encode


@contracts.command
def history(
    contract: str,
    /,
    *,
    limit: int = PAGE_DEFAULT,
    tenant: TenantRef = None,
    state: State = None,
    as_json: AsJson = False,
) -> None:
    """Show who changed what of a contract, the newest change first, a row a field.

    For example:

        meterline contracts history 12
        meterline contracts history 3f2a…c1 --json

    Parameters
    ----------
    contract
        A contract's number or ref; a draft that was dropped still has its ref.
    limit
        The most changes shown.
    """

    async def load(connection: asyncpg.Connection) -> History:
        tenant_id, ref = await _find(connection, contract, tenant)
        return await load_history(connection, tenant_id, ref, Page(limit, None), datetime.now(UTC))

    found = run(state, load, reads_only=True)
    if as_json:
        sys.stdout.buffer.write(_encode(found) + b"\n")
        return
    phase = f", {found.phase}" if found.phase else ""
    sys.stdout.write(f"Contract {found.contract_ref}: {found.state}{phase}\n\n")
    show([row for entry in found.entries for row in _rows(entry)], _COLUMNS, as_json=False)


async def _find(
    connection: asyncpg.Connection, contract: str, tenant: str | None
) -> tuple[int, UUID]:
    """Return the tenant and the ref of the one contract that is meant. Raises StackError."""
    if contract.isdecimal() and len(contract) < 19:  # noqa: PLR2004 - digits of a bigint
        place = await find_tenant(connection, tenant)
        rows = await connection.fetch(queries.find_by_number, place, int(contract))
    else:
        try:
            ref = UUID(canonical_ref(contract))
        except InvalidInput:
            raise StackError(f"{contract!r} is neither a contract's number nor its ref") from None
        rows = await connection.fetch(queries.find_by_ref, ref, shard_key_of(ref.int))
    if not rows:
        raise StackError(f"there is no contract {contract}")
    return rows[0]["tenant_id"], rows[0]["contract_ref"]


def _rows(entry: Entry) -> Iterator[dict[str, Any]]:
    """Yield a row a field; the first of a change says whose it is."""
    head = {"at": entry.at[:19], "made_by": entry.made_by, "action": entry.action}
    nothing = Change("(too large to be kept)" if entry.changes is None else "", None, None, None)
    for change in entry.changes or [nothing]:
        values = {"before": _short(change.before), "after": _short(change.after)}
        yield {**head, "field": change.pointer.removeprefix("/"), **values}
        head = dict.fromkeys(head, "")


def _short(value: object) -> str:
    text = "" if value is None else _encode(value).decode()
    return text if len(text) <= _VALUE_LENGTH_MAX else text[: _VALUE_LENGTH_MAX - 1] + "…"
