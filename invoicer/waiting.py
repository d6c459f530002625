"""What has changed of issued documents and waits for the next document of its contract.

A tenant chooses whether it does (`late_usage`). It waits only where there is to be another
document; what waits is drawn up with that one each time it is, and has been billed when that one is
issued.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Final
from uuid import UUID

from invoicer.assembly import DocumentKey, ProductTerms
from invoicer.repository import (
    Groups,
    Issuer,
    columns,
    document_columns,
    load_terms,
    queries,
    read_key,
)
from runtime.postgres import Connection
from schemas.periods import first_instant, period_at

_MOMENT: Final = timedelta(microseconds=1)
_DAY: Final = timedelta(days=1)


async def split_waiting(
    connection: Connection,
    issuer: Issuer,
    documents: Sequence[DocumentKey],
    drawn: Sequence[DocumentKey] = (),
) -> tuple[list[DocumentKey], list[DocumentKey]]:
    """Tell documents that are corrected by documents of their own from those that wait.

    What waits already goes on waiting. drawn: what is about to be drawn up.
    """
    if not documents:
        return [], []
    keys = document_columns(documents)
    waiting = {row["document_ref"] for row in await connection.fetch(queries.find_waiting, *keys)}
    if await connection.fetchval(queries.find_late_usage, issuer.tenant_id) == "NEXT_DOCUMENT":
        groups = await load_terms(connection, documents)
        waiting |= {
            key.document_ref for key in await followed(connection, documents, groups, drawn)
        }
    own = [key for key in documents if key.document_ref not in waiting]
    return own, [key for key in documents if key.document_ref in waiting]


async def followed(
    connection: Connection,
    documents: Sequence[DocumentKey],
    groups: Groups,
    drawn: Sequence[DocumentKey] = (),
) -> list[DocumentKey]:
    """Return those of the documents whose contract and group have a document still to come.

    drawn: what is about to be drawn up, and is to come for sure.
    """
    rows = await connection.fetch(queries.load_issue_dates, *document_columns(documents))
    issued: dict[tuple[UUID, int], set[date]] = {}
    for row in rows:
        place = (row["contract_ref"], row["document_group"])
        issued.setdefault(place, set()).add(row["issue_date"])
    for key in drawn:
        issued.get((key.contract_ref, key.document_group), set()).discard(key.issue_date)
    found = []
    for key in documents:
        place = (key.contract_ref, key.document_group)
        if any(_has_more(terms, issued.get(place, ())) for terms in groups[place]):
            found.append(key)
    return found


def _has_more(terms: ProductTerms, issued: Collection[date]) -> bool:
    """Tell whether a contract product has a document still to come, after those of these days."""
    ends = [] if terms.billing_end_date is None else [terms.billing_end_date + _DAY]
    if terms.until_date is not None:  # an edit has replaced it from that day on
        ends.append(terms.until_date)
    if not ends:
        return True
    last = period_at(terms.billing, first_instant(min(ends), terms.timezone) - _MOMENT)
    return last is not None and last.rest_date not in issued


async def add_waiting(
    connection: Connection, tenant_id: int, documents: Sequence[DocumentKey]
) -> list[DocumentKey]:
    """Let documents wait; return the drafts that there are to take what waits along."""
    if not documents:
        return []
    rows = [(k.shard_key, k.document_ref, k.contract_ref, k.document_group) for k in documents]
    await connection.execute(queries.add_waiting, tenant_id, *columns(rows, 4))
    groups = columns(sorted({(row[0], *row[2:]) for row in rows}), 3)
    return [read_key(row) for row in await connection.fetch(queries.find_drafts, *groups)]


async def assign_waiting(
    connection: Connection, carriers: Iterable[DocumentKey]
) -> dict[UUID, list[DocumentKey]]:
    """Give what waits to the documents that are drawn up, each to one; return it by these.

    A draft keeps what it has; what nobody has goes to the first one.
    """
    first: dict[tuple[UUID, int], DocumentKey] = {}
    by_ref: dict[UUID, list[DocumentKey]] = {}
    for key in sorted(carriers, key=lambda key: (key.issue_date, key.document_ref)):
        first.setdefault((key.contract_ref, key.document_group), key)
        by_ref[key.document_ref] = []
    places = [(key.shard_key, *place) for place, key in first.items()]
    taken = []
    for row in await connection.fetch(queries.load_waiting, *columns(places, 3)):
        root = read_key(row)
        carrier = row["carrier_ref"]
        if carrier is None:
            carrier = first[root.contract_ref, root.document_group].document_ref
            taken.append((root.shard_key, root.document_ref, carrier))
        if carrier in by_ref:
            by_ref[carrier].append(root)
    if taken:
        await connection.execute(queries.set_carriers, *columns(taken, 3))
    return by_ref


async def drop_waiting(connection: Connection, issued: Sequence[DocumentKey]) -> None:
    """Forget what waited for documents that are issued now."""
    await connection.execute(queries.drop_waiting, *document_columns(issued))


async def drop_stranded(connection: Connection, documents: Sequence[DocumentKey]) -> set[UUID]:
    """Let documents wait no more, those that no draft holds; return which these were."""
    rows = await connection.fetch(queries.drop_stranded, *document_columns(documents))
    return {row["document_ref"] for row in rows}


async def find_stranded(
    connection: Connection, since: datetime, after: tuple[int, UUID], count: int
) -> tuple[Mapping[Issuer, list[DocumentKey]], tuple[int, UUID] | None]:
    """Look through what waits for a document that is not to come any more.

    Returns what does of a page behind `after`, by issuer, and where the page ends; None at the end.
    """
    rows = await connection.fetch(queries.list_waiting, since, *after, count)
    keys = {read_key(row): row for row in rows}
    groups = await load_terms(connection, keys)
    waiting = set(await followed(connection, list(keys), groups)) if keys else set()
    found: dict[Issuer, list[DocumentKey]] = {}
    for key, row in keys.items():
        if key not in waiting:
            issuer = Issuer(row["tenant_id"], row["entity_id"], row["document_number_format"], 0)
            found.setdefault(issuer, []).append(key)
    last = (rows[-1]["shard_key"], rows[-1]["document_ref"]) if len(rows) == count else None
    return found, last
