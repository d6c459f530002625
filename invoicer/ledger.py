"""The journal: every deed books what it does to accounts, in its own transaction.

What is booked is computed by `schemas.posting`. The contracts of the documents are locked, so the
entries of a document come one after another.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from itertools import groupby
from typing import Any, Final, NamedTuple
from uuid import UUID

import asyncpg

from invoicer.repository import columns
from runtime.postgres import Connection, Queries
from schemas.document import DocumentKind, DocumentState
from schemas.money import currency_digits, decimal_to_scaled, scaled_to_decimal
from schemas.paying import Account, pay_by_credits
from schemas.posting import (
    NOTHING,
    Balances,
    EntryKind,
    Unserved,
    deferred_part,
    deferred_share,
    issue,
    settle,
)

queries: Final = Queries.beside(__file__, "ledger.sql")

_COLUMNS: Final = (
    *("shard_key", "document_ref", "entry_number", "tenant_id", "entity_id", "kind"),
    *("payment_ref", "currency", "entry_date", "booked_at"),
)
_SUMS: Final = ("sub_total", "total_discount", "total_tax", "credits_amount")
_ZERO: Final = Decimal(0)

# What price lists say comes again with every document; what was used does not.
_known_decimal: Final = lru_cache(maxsize=4_096)(scaled_to_decimal)

Entry = tuple[tuple[Any, ...], int, Balances]
"""Its columns but for the amounts, the currency's digits, and what it moves."""


class Deed(NamedTuple):
    """Why documents' accounts move, and the day for which it counts.

    document_ref: whose entry is of that kind; those of others are set-offs. payment_ref: of what
    came, or went back.
    """

    kind: EntryKind
    document_ref: UUID | None
    day: date
    payment_ref: UUID | None = None


class Member(NamedTuple):
    """A document of a family: where it stands, when money came last, and what is booked for it.

    A family is a document, its root, with the credits that take something off it. entries: how many
    there are of the document.
    """

    shard_key: int
    root: UUID
    document_ref: UUID
    tenant_id: int
    entity_id: int
    currency: str
    state: DocumentState
    was_sent: bool
    account: Account
    paid_date: date | None
    entries: int
    booked: Balances


async def book_issued(
    connection: Connection, issued: Sequence[asyncpg.Record], now: datetime
) -> None:
    """Book documents that have just been issued: their first entries.

    issued: as `issue_documents` returns them.
    """
    ahead = await _load_deferred(connection, issued)
    entries: list[Entry] = []
    for row in issued:
        place, currency = (row["shard_key"], row["document_ref"]), row["currency"]
        sub_total, discount, tax, drawn = (
            decimal_to_scaled(row[name], currency_digits(currency)) for name in _SUMS
        )
        posting = issue(sub_total - discount, tax, drawn, ahead.get(row["document_ref"], 0))
        whose = (row["tenant_id"], row["entity_id"])
        what = (EntryKind.ISSUE, None, currency, row["issue_date"], now)
        entries.append(((*place, 1, *whose, *what), currency_digits(currency), posting))
    await _write(connection, entries)


async def _load_deferred(
    connection: Connection, issued: Sequence[asyncpg.Record]
) -> dict[UUID, int]:
    """Return what of the documents was billed ahead, minor; of most nothing."""
    ahead = {
        row["document_ref"]: row
        for row in issued
        if row["period_end"] > row["issue_date"] and row["event_ref"] is None
    }
    if not ahead:
        return {}
    keys = columns([(row["shard_key"], ref) for ref, row in ahead.items()], 2)
    products: dict[UUID, list[Unserved]] = defaultdict(list)
    for row in await connection.fetch(queries.load_unserved, *keys):
        ref, digits = row["document_ref"], currency_digits(ahead[row["document_ref"]]["currency"])
        amounts = (row["total"], row["discount"], row["used"])
        products[ref].append(Unserved(*(decimal_to_scaled(one, digits) for one in amounts)))
    deferred = {ref: deferred_part(own) for ref, own in products.items()}
    if any(row["kind"] == DocumentKind.CREDIT for row in ahead.values()):
        for row in await connection.fetch(queries.load_billed_ahead, *keys):
            own = ahead[row["document_ref"]]
            if own["kind"] == DocumentKind.CREDIT:
                digits = currency_digits(own["currency"])
                amounts = (own["sub_total"], row["net"], row["deferred_revenue"])
                shares = (decimal_to_scaled(one, digits) for one in amounts)
                deferred[own["document_ref"]] = deferred_share(*shares)
    return deferred


async def load_families(connection: Connection, places: Iterable[tuple[int, UUID]]) -> list[Member]:
    """Return the documents of these places, each with its family."""
    rows = await connection.fetch(queries.load_families, *columns(places, 2))
    found: list[Member] = []
    for _root, family in groupby(rows, key=lambda row: (row["shard_key"], row["root"])):
        found += _settled([_member(row) for row in family])
    return found


def _settled(family: Sequence[Member]) -> list[Member]:
    """Let the credits of a family pay for its document; what is void takes no part."""
    head = next((one for one in family if one.document_ref == one.root), None)
    credits_ = [one for one in family if one is not head]
    paying = [one for one in credits_ if one.state is not DocumentState.VOID]
    void = [one for one in credits_ if one.state is DocumentState.VOID]
    is_open = head is not None and head.state is not DocumentState.VOID
    to_pay = head.account if head is not None and is_open else None
    accounts = pay_by_credits(to_pay, [one.account for one in paying])
    found = [one._replace(account=own) for one, own in zip(paying, accounts, strict=True)] + void
    if head is None:
        return found
    set_off = -sum(account.set_off for account in accounts)
    return [head._replace(account=head.account._replace(set_off=set_off)), *found]


def _member(row: asyncpg.Record) -> Member:
    digits = currency_digits(row["currency"])
    total, paid = (decimal_to_scaled(row[name], digits) for name in ("total", "paid"))
    booked = Balances(*(decimal_to_scaled(row[name] or _ZERO, digits) for name in Balances._fields))
    return Member(
        shard_key=row["shard_key"],
        root=row["root"],
        document_ref=row["document_ref"],
        tenant_id=row["tenant_id"],
        entity_id=row["entity_id"],
        currency=row["currency"],
        state=DocumentState(row["state"]),
        was_sent=row["was_sent"],
        account=Account(total, paid),
        paid_date=row["paid_date"],
        entries=row["entries"] or 0,
        booked=booked,
    )


async def book(connection: Connection, family: Iterable[Member], deed: Deed, now: datetime) -> None:
    """Book what a deed has made of documents; of those that it left alone, nothing."""
    entries: list[Entry] = []
    for one in family:
        posting = settle(one.account, one.state, one.booked)
        if posting == NOTHING:
            continue
        is_own = one.document_ref == deed.document_ref
        kind = deed.kind if is_own else EntryKind.SET_OFF
        payment = deed.payment_ref if is_own else None
        head = (one.shard_key, one.document_ref, one.entries + 1, one.tenant_id, one.entity_id)
        what = (kind, payment, one.currency, deed.day, now)
        entries.append(((*head, *what), currency_digits(one.currency), posting))
    await _write(connection, entries)


async def _write(connection: Connection, entries: Sequence[Entry]) -> None:
    """Write entries. The accounts that none of them moves are left to the table's default."""
    if not entries:
        return
    moved = [i for i in range(len(Balances._fields)) if any(posting[i] for *_, posting in entries)]
    rows = [
        (*head, *(_known_decimal(posting[i], digits) for i in moved))
        for head, digits, posting in entries
    ]
    names = [*_COLUMNS, *(Balances._fields[i] for i in moved)]
    await connection.copy_records_to_table("journal_entry", records=rows, columns=names)
