"""What a deed for one document makes of its family: where each one stands, and what is booked.

A document and the credits that take something off it pay for each other, so a payment, a credit or
a void of one may move another. Their contract is locked.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

import asyncpg

from invoicer.ledger import Deed, Member, book, load_families
from invoicer.subject import queries
from runtime.postgres import Connection
from schemas.document import DocumentKind, DocumentState
from schemas.lifecycle import Cause, check_transition
from schemas.paying import state_after
from schemas.posting import EntryKind

_S = DocumentState


async def settle_family(
    connection: Connection, places: Iterable[tuple[int, UUID]], deed: Deed, now: datetime
) -> None:
    """Bring the others of these documents' families where they stand now, and book them all.

    The document of the deed stands where it should.
    """
    family = await load_families(connection, places)
    moved = [
        one if one.document_ref == deed.document_ref else await _move(connection, one)
        for one in family
    ]
    await book(connection, moved, deed, now)


async def _move(connection: Connection, one: Member) -> Member:
    """Bring a document where what others have paid of it says."""
    is_open = one.state is _S.UNCOLLECTIBLE and one.account.due
    if one.state is _S.VOID or is_open:
        return one
    is_paid = one.state is _S.PAID
    state = state_after(one.account, one.state, was_sent=one.was_sent, is_settled=is_paid)
    if state is one.state:
        return one
    check_transition(one.state, state, Cause.PAYMENT)
    paid_date = one.paid_date if state is _S.PAID else None
    await connection.execute(queries.act_for_payment)
    await connection.execute(queries.settle, one.shard_key, one.document_ref, state, paid_date)
    await connection.execute(queries.act_for_nobody)
    return one._replace(state=state)


async def set_off_issued(
    connection: Connection, issued: Sequence[asyncpg.Record], now: datetime
) -> None:
    """Set documents that have just been issued off against those that they are credits of.

    The document of a period may come after credits of its events, and takes them up then.
    issued: as `issue_documents` returns them; of most there is nothing to be set off.
    """
    touched = [row for row in issued if _may_be_set_off(row)]
    for day in sorted({row["issue_date"] for row in touched}):
        own = [row for row in touched if row["issue_date"] == day]
        places = [(row["shard_key"], row["document_ref"]) for row in own]
        await settle_family(connection, places, Deed(EntryKind.SET_OFF, None, day), now)


def _may_be_set_off(row: asyncpg.Record) -> bool:
    if row["kind"] == DocumentKind.PERIOD:
        return bool(row["net_terms"] == "DUE_UPON_USAGE")
    return bool(row["is_credit"])
