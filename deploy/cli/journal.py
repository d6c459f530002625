"""`meterline journal`: what is booked, added up by account, and the entries one by one."""

import sys
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from itertools import groupby
from typing import Annotated, Any, Final, NamedTuple
from uuid import UUID

import asyncpg
import msgspec
from cyclopts import Parameter, validators
from rich.console import Console
from rich.table import Table

from deploy.cli.admin_work import PLAIN_WIDTH, AsJson, State, TenantRef, find_tenant, run
from deploy.cli.explain import find_document
from deploy.local.errors import StackError
from runtime.postgres import Queries
from schemas.errors import InvalidInput
from schemas.event_ref import canonical_ref, shard_key, shard_key_of
from schemas.money import currency_digits

queries: Final = Queries.beside(__file__, "journal.sql")

ENTRIES_MAX: Final = 10_000

_Ref = Annotated[str | None, Parameter()]


class Wanted(NamedTuple):
    """What is shown, as the statements take it; None for any."""

    tenant_id: int
    entity_id: int | None
    shard_key: int | None
    customer_id: int | None
    document_ref: UUID | None
    first: date | None
    last: date | None


class Books(NamedTuple):
    """What was found: sums by currency and account, and the newest entries."""

    sums: list[asyncpg.Record]
    entries: list[asyncpg.Record]


def journal(
    *,
    entity: _Ref = None,
    customer: _Ref = None,
    document: _Ref = None,
    from_: Annotated[date | None, Parameter(name="--from")] = None,
    to: Annotated[date | None, Parameter(name="--to")] = None,
    entries: Annotated[
        int, Parameter(name="--entries", validator=validators.Number(gte=0, lte=ENTRIES_MAX))
    ] = 50,
    tenant: TenantRef = None,
    state: State = None,
    as_json: AsJson = False,
) -> None:
    """Show what is booked: a trial balance, and the newest entries, each with its lines.

    The balances of a currency come to zero. RECEIVABLE of a document is what is due of it.

    For example:

        meterline journal
        meterline journal --document INV-2026-007
        meterline journal --from 2026-11-01 --to 2026-11-30 --entries 0 --json

    Parameters
    ----------
    entity
        Ref of an entity; else all of the tenant's.
    customer
        Ref of a customer; else all.
    document
        A document's number or ref; else all.
    from_
        First day of entries.
    to
        Last day of entries.
    entries
        How many entries, the newest ones.
    """

    async def load(connection: asyncpg.Connection) -> Books:
        whose = await _find(connection, tenant, entity, customer, document)
        return await _load(connection, whose._replace(first=from_, last=to), entries)

    books = run(state, load, reads_only=True)
    if as_json:
        sys.stdout.buffer.write(msgspec.json.encode(_as_plain(books), enc_hook=str) + b"\n")
    else:
        _print(books)


async def _load(connection: asyncpg.Connection, wanted: Wanted, entries: int) -> Books:
    return Books(
        await connection.fetch(queries.add_up, *wanted),
        await connection.fetch(queries.list_entries, *wanted, entries),
    )


def _print(books: Books) -> None:
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, width=PLAIN_WIDTH)
    if not books.sums and not books.entries:
        console.print("Nothing is booked.")
    for currency, rows in groupby(books.sums, key=lambda row: row["currency"]):
        print_balance(console, currency, list(rows))
    if books.entries:
        _print_entries(console, books.entries)


async def _find(
    connection: asyncpg.Connection,
    tenant: str | None,
    entity: str | None,
    customer: str | None,
    document: str | None,
) -> Wanted:
    """Find what is named. Raises StackError where there is no such thing, or not of one tenant."""
    wanted = Wanted(0, None, None, None, None, None, None)
    owners = set()
    if document is not None:
        tenant_id, ref = await find_document(connection, document)
        wanted = wanted._replace(shard_key=shard_key_of(ref.int), document_ref=ref)
        owners.add(tenant_id)
    if customer is not None:
        ref = _ref(customer)
        row = await connection.fetchrow(queries.find_customer, ref, shard_key(str(ref)))
        if row is None:
            raise StackError(f"there is no customer {customer}")
        wanted = wanted._replace(shard_key=row["shard_key"], customer_id=row["customer_id"])
        owners.add(row["tenant_id"])
    if entity is not None:
        row = await connection.fetchrow(queries.find_entity, _ref(entity))
        if row is None:
            raise StackError(f"there is no entity {entity}")
        wanted = wanted._replace(entity_id=row["entity_id"])
        owners.add(row["tenant_id"])
    if tenant is not None or not owners:
        owners.add(await find_tenant(connection, tenant))
    if len(owners) > 1:
        raise StackError("what is named is of several tenants")
    return wanted._replace(tenant_id=owners.pop())


def _ref(text: str) -> UUID:
    try:
        return UUID(canonical_ref(text))
    except InvalidInput:
        raise StackError(f"{text!r} is no ref: one looks like {UUID(int=0)}") from None


def _as_plain(books: Books) -> dict[str, Any]:
    return {
        "balance": [_plain(row) for row in books.sums],
        "entries": [
            _plain(row)
            | {
                "lines": [
                    {"account": account, "amount": _number(amount)}
                    for account, amount in row["lines"] or ()
                ]
            }
            for row in books.entries
        ],
    }


def _plain(row: asyncpg.Record) -> dict[str, Any]:
    return {
        name: _number(value) if isinstance(value, Decimal) else value
        for name, value in row.items()
        if name != "lines"
    }


def _number(value: Decimal) -> msgspec.Raw:
    return msgspec.Raw(format(value, "f").encode())


def _money(amount: Decimal, currency: str) -> str:
    return f"{amount:,.{currency_digits(currency)}f}"


def print_balance(console: Console, currency: str, rows: Sequence[asyncpg.Record]) -> None:
    """Print what is in the accounts of one currency, and that it comes to zero."""
    table = Table(title=f"\nTrial balance, {currency}", title_justify="left", box=None)
    table.add_column("Account")
    for name in ("Debits", "Credits", "Balance"):
        table.add_column(name, justify="right")
    for row in rows:
        sums = [_money(row[name], currency) for name in ("debits", "credits", "balance")]
        table.add_row(row["account"], *sums)
    table.add_section()
    totals = [sum(row[name] for row in rows) for name in ("debits", "credits", "balance")]
    table.add_row("", *(_money(total, currency) for total in totals))
    console.print(table)


def _print_entries(console: Console, entries: Sequence[asyncpg.Record]) -> None:
    """Print entries, oldest first, a row a line."""
    table = Table(title="\nEntries, the newest last", title_justify="left", box=None)
    for name in ("Day", "Document", "Entry", "Account"):
        table.add_column(name)
    for name in ("Debit", "Credit"):
        table.add_column(name, justify="right")
    table.add_column("")
    for entry in entries:
        head = (str(entry["entry_date"]), entry["document_number"], entry["kind"])
        for account, amount in entry["lines"] or [("nothing", Decimal(0))]:
            said = _money(abs(amount), entry["currency"])
            sides = (said, "") if amount >= 0 else ("", said)
            table.add_row(*head, account, *sides, entry["currency"])
            head = ("", "", "")
    console.print(table)
