"""What documents have billed ahead of others, and whether those can be issued yet.

A document that settles a period waits until what was billed ahead of it stands on a complete
document, so that both add up whatever the order of messages. Contracts with such documents have
them drawn up one after the other.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from invoicer.ahead import AheadPart, ahead_parts, given_back
from invoicer.assembly import CutPeriod, DocumentKey, assemble
from invoicer.repository import (
    Groups,
    Issuer,
    columns,
    contract_columns,
    document_columns,
    load_cut_lines,
    queries,
    read_cut,
    read_key,
)
from runtime.postgres import Connection


class Opened(NamedTuple):
    """A period that was billed ahead, or was to be. is_billed: on a document that is complete.

    holder: the document that it was for. successor_ref: the product that has cut it short.
    """

    period_ref: UUID
    holder: DocumentKey
    is_waiting: bool
    is_billed: bool
    successor_ref: UUID | None


class Aheads(NamedTuple):
    """What documents bill ahead, and what of it they settle or give back.

    own: by document, the periods that it bills a part of before they are over. waiting: the periods
    that documents settle before what was billed ahead of them is known. given: what documents give
    back, by their refs.
    """

    tenant_ref: str
    own: Mapping[UUID, list[CutPeriod]]
    waiting: set[UUID]
    given: Mapping[UUID, list[AheadPart]]


_NONE = Aheads("", {}, set(), {})


def settles_ahead(groups: Groups, documents: Iterable[DocumentKey]) -> bool:
    """Tell whether a product of these documents is billed before or during use."""
    places = {(key.contract_ref, key.document_group) for key in documents}
    return any(one.payment_time != "AFTER_USE" for place in places for one in groups[place])


async def load_aheads(
    connection: Connection,
    tenant_id: int,
    documents: Sequence[DocumentKey],
    groups: Groups,
    cuts: Mapping[UUID, Sequence[CutPeriod]],
) -> Aheads:
    """Look up what documents bill ahead, and what was billed ahead of what they settle."""
    contracts = {key.contract_ref for key in documents}
    sold = [one for (ref, _), own in groups.items() if ref in contracts for one in own]
    if all(one.payment_time == "AFTER_USE" for one in sold):
        return _NONE
    tenant_ref = str(await connection.fetchval(queries.find_tenant_ref, tenant_id))
    own = await load_ahead_cuts(connection, documents)
    settled = {
        cut.period_ref: key.document_ref
        for key in documents
        for cut in cuts.get(key.document_ref, ())
    }
    wanted = [(key.shard_key, ref) for key in documents for ref in _periods(cuts, key)]
    rows = await connection.fetch(queries.find_opened, *columns(wanted, 2))
    opened = {row["period_ref"]: row for row in rows if row["successor_ref"] is None}
    waiting = {
        cut.period_ref
        for found in cuts.values()
        for cut in found
        if cut.is_ahead
        and (cut.period_ref not in opened or opened[cut.period_ref]["state"] == "DRAFT")
    }
    given: dict[UUID, list[AheadPart]] = {}
    for row in rows:
        if row["successor_ref"] is None:
            continue
        if row["state"] == "DRAFT":
            waiting.add(row["settled_ref"])
        elif row["is_billed"]:
            part = await _part_of(connection, tenant_ref, read_key(row), groups, row["period_ref"])
            given.setdefault(settled[row["settled_ref"]], []).append(given_back(part))
    return Aheads(tenant_ref, own, waiting, given)


def _periods(cuts: Mapping[UUID, Sequence[CutPeriod]], key: DocumentKey) -> list[UUID]:
    return [cut.period_ref for cut in cuts.get(key.document_ref, ())]


async def load_ahead_cuts(
    connection: Connection, documents: Iterable[DocumentKey]
) -> dict[UUID, list[CutPeriod]]:
    """Return the periods of which each document bills a part before they are over."""
    found: dict[UUID, list[CutPeriod]] = {}
    for row in await connection.fetch(queries.load_ahead_cuts, *document_columns(documents)):
        found.setdefault(row["document_ref"], []).append(read_cut(row))
    return found


async def _part_of(
    connection: Connection, tenant_ref: str, holder: DocumentKey, groups: Groups, period_ref: UUID
) -> AheadPart:
    """Draw up again what a document has billed ahead of a period: its inputs never change."""
    aheads = (await load_ahead_cuts(connection, [holder]))[holder.document_ref]
    lines = await load_cut_lines(connection, aheads)
    group = groups[holder.contract_ref, holder.document_group]
    assembly = assemble(holder, group, [], lines, {}, aheads=aheads)
    parts = ahead_parts(assembly, aheads, tenant_ref)
    return next(part for part in parts if part.product.period_ref == period_ref)


async def find_sequential(connection: Connection, documents: Sequence[DocumentKey]) -> set[UUID]:
    """Return the contracts of these documents that bill ahead."""
    rows = await connection.fetch(queries.find_sequential, *contract_columns(documents))
    return {row["contract_ref"] for row in rows}


def in_waves(documents: Sequence[DocumentKey], sequential: set[UUID]) -> list[list[DocumentKey]]:
    """Sort documents into waves: one document after the other of a contract that bills ahead."""
    waves: list[list[DocumentKey]] = []
    counts: dict[UUID, int] = {}
    for key in sorted(documents, key=lambda key: (key.issue_date, key.document_ref)):
        number = 0
        if key.contract_ref in sequential:
            number = counts.get(key.contract_ref, 0)
            counts[key.contract_ref] = number + 1
        if number == len(waves):
            waves.append([])
        waves[number].append(key)
    return waves


async def find_settling(
    connection: Connection, documents: Sequence[DocumentKey]
) -> list[DocumentKey]:
    """Return the drafts that settle what these documents have billed ahead."""
    rows = await connection.fetch(queries.find_settling, *document_columns(documents))
    return [read_key(row) for row in rows]


async def drop_documents(connection: Connection, documents: Sequence[DocumentKey]) -> None:
    """Take away drafts that have come to say nothing; their content is gone."""
    await connection.execute(queries.drop_documents, *document_columns(documents))


async def find_overdue(
    connection: Connection, now: datetime, count: int
) -> dict[Issuer, list[DocumentKey]]:
    """Return drafts of contracts that bill ahead whose day has come, by issuer.

    Those that were drawn up before it, and those that are still there a day later.
    """
    found: dict[Issuer, list[DocumentKey]] = {}
    for row in await connection.fetch(queries.find_overdue, now, count):
        number_format, year = row["document_number_format"], row["issue_date"].year
        issuer = Issuer(row["tenant_id"], row["entity_id"], number_format, year)
        found.setdefault(issuer, []).append(read_key(row))
    return found
