"""What the commands of `meterline admin` share: a connection, a tenant, and how rows are shown."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from getpass import getuser
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import asyncpg
import msgspec
from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from deploy.local.errors import StackError
from deploy.local.find import find_stack
from gateway.auth.audit import Who
from runtime.postgres import Queries

PLAIN_WIDTH: Final = 200

queries: Final = Queries.beside(__file__, "admin.sql")

T = TypeVar("T")
Work = Callable[[asyncpg.Connection], Awaitable[T]]

State = Annotated[
    Path | None,
    Parameter(name="--state", help="Directory of a running stack; else METERLINE_* decide."),
]
AsJson = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON.")]
TenantRef = Annotated[
    str | None,
    Parameter(name="--tenant", help="Ref of the tenant; may be left out where there is one."),
]


def run(state: Path | None, work: Work[T], *, reads_only: bool = False) -> T:
    """Do some work in one transaction. reads_only: over one snapshot of the database."""
    address = find_stack(state, os.environ)
    isolation: Final = "repeatable_read" if reads_only else "read_committed"

    async def connected() -> T:
        connection = await asyncpg.connect(address.postgres)
        try:
            async with connection.transaction(isolation=isolation, readonly=reads_only):
                return await work(connection)
        finally:
            await connection.close()

    return asyncio.run(connected())


def who() -> Who:
    """Return whom the audit log names for what is done by hand."""
    return Who(f"command line {getuser()}")


async def find_tenant(connection: asyncpg.Connection, tenant_ref: str | None) -> int:
    """Return the number of the tenant of that ref, or of the only one. Raises StackError."""
    tenants = await connection.fetch(queries.list_tenants)
    found = [row for row in tenants if tenant_ref in (None, str(row["tenant_ref"]))]
    if len(found) == 1:
        number: int = found[0]["tenant_id"]
        return number
    known = ", ".join(f"{row['tenant_ref']} ({row['name']})" for row in tenants[:20])
    raise StackError(f"say which tenant with --tenant: {known or 'there is none'}")


def show(rows: Sequence[dict[str, Any]], columns: Sequence[str], *, as_json: bool) -> None:
    """Print rows: some columns as a table for people, or all of each as a line of JSON."""
    if as_json:
        for row in rows:
            sys.stdout.buffer.write(msgspec.json.encode(row, enc_hook=str) + b"\n")
        sys.stdout.buffer.flush()
        return
    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*[_cell(row[name]) for name in columns])
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, width=PLAIN_WIDTH)
    console.print(table)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return " ".join(value) if isinstance(value, list) else str(value)
