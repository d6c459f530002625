"""What the invoicer reads and writes, set-wise: a function is one statement, or one COPY."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from fractions import Fraction
from functools import lru_cache
from typing import Any, Final, NamedTuple
from uuid import UUID

import asyncpg

from invoicer.assembly import Assembly, CutPeriod, DocumentKey, ProductTerms, with_lineages
from invoicer.crediting import Drawn
from invoicer.inputs import DueContract, InputKey, input_key
from invoicer.numbering import ContractStanding, Issue
from runtime.postgres import Connection, Queries
from schemas.document import DocumentProduct, DocumentState
from schemas.document_ref import document_ref
from schemas.drafting import CutLine
from schemas.money import (
    AMOUNT_DIGITS,
    QUANTITY_DIGITS,
    Amount,
    Quantity,
    currency_digits,
    decimal_to_scaled,
)
from schemas.price import LinePrice, from_json

queries: Final = Queries.beside(__file__)

Groups = Mapping[tuple[UUID, int], Sequence[ProductTerms]]
"""The products of contracts, by contract and group, by position."""


class Issuer(NamedTuple):
    """Whose numbers are taken: the inputs of one issuer and year share a transaction."""

    tenant_id: int
    entity_id: int
    number_format: str
    year: int


class Routed(NamedTuple):
    """An input, whose it is, and the document that it belongs to."""

    key: InputKey
    issuer: Issuer
    document: DocumentKey
    is_taken: bool
    bills_events: bool = False


class Standing(NamedTuple):
    """A document that exists: its state, and the last cut of each of its periods."""

    state: DocumentState
    cuts: Mapping[UUID, int]


class Running(NamedTuple):
    """What documents of a contract look back at, and change for those drawn up behind them.

    spent: what products with commitments have come to, as `assembly.Spent`. drawn: from credits.
    lineages: of the products.
    """

    spent: dict[UUID, dict[UUID, int]]
    drawn: Drawn
    lineages: Mapping[UUID, UUID]

    def set_spent(self, product: DocumentProduct) -> None:
        """Note what a product comes to in a period."""
        if (own := self._spent(product)) is not None:
            own[product.period_ref] = product.total

    def add_spent(self, difference: DocumentProduct) -> None:
        """Note by how much a product has come to something else."""
        if (own := self._spent(difference)) is not None:
            own[difference.period_ref] = own.get(difference.period_ref, 0) + difference.total

    def _spent(self, product: DocumentProduct) -> dict[UUID, int] | None:
        return self.spent.get(self.lineages[product.contract_product_ref])


def read_key(row: asyncpg.Record) -> DocumentKey:
    """Read the columns that name a document."""
    names = ("shard_key", "document_ref", "contract_ref", "document_group", "issue_date")
    return DocumentKey(*(row[name] for name in names))


def columns(rows: Iterable[Sequence[Any]], width: int) -> list[list[Any]]:
    """Turn rows into columns, as unnest takes them; no rows give empty columns."""
    return [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(width)]


def document_columns(documents: Iterable[DocumentKey]) -> list[list[Any]]:
    """Return the primary keys of documents as columns."""
    return columns([(key.shard_key, key.document_ref) for key in documents], 2)


def contract_columns(documents: Iterable[DocumentKey]) -> list[list[Any]]:
    """Return the primary keys of the documents' contracts as columns, each once, in order."""
    return columns(sorted({(key.shard_key, key.contract_ref) for key in documents}), 2)


async def route_inputs(connection: Connection, keys: Sequence[InputKey]) -> list[Routed]:
    """Find whose the inputs are; those that name no cut are left out."""
    rows = await connection.fetch(queries.route_inputs, *columns(keys, 5))
    return [_routed(keys[row["index"]], row) for row in rows]


def _routed(key: InputKey, row: asyncpg.Record) -> Routed:
    issue_date, contract_ref = row["issue_date"], row["contract_ref"]
    number_format, group = row["document_number_format"], row["document_group"]
    ref = document_ref(str(row["tenant_ref"]), contract_ref, group, issue_date)
    return Routed(
        key=key,
        issuer=Issuer(row["tenant_id"], row["entity_id"], number_format, issue_date.year),
        document=DocumentKey(key.shard_key, ref, contract_ref, group, issue_date),
        is_taken=row["is_taken"],
        bills_events=row["bills_events"],
    )


async def lock_contracts(connection: Connection, documents: Iterable[DocumentKey]) -> None:
    """Lock the documents' contracts until the transaction ends."""
    await connection.execute(queries.lock_contracts, *contract_columns(documents))


async def add_inputs(
    connection: Connection, tenant_id: int, inputs: Sequence[Routed]
) -> list[tuple[InputKey, UUID]]:
    """Record inputs; return those that were not recorded before, each with its document."""
    *keys, refs = columns([(*i.key, i.document.document_ref) for i in inputs], 6)
    rows = await connection.fetch(queries.add_inputs, *keys, tenant_id, refs)
    return [(InputKey(*row[:5]), row[5]) for row in map(tuple, rows)]


async def drop_parked(connection: Connection, keys: Sequence[InputKey]) -> None:
    """Forget that inputs were set aside."""
    await connection.execute(queries.drop_parked, *columns(keys, 5))


async def park_input(connection: Connection, key: InputKey, error: str) -> None:
    """Set an input aside, with what was wrong."""
    await connection.execute(queries.park_input, *key, error)


async def load_standing(
    connection: Connection, documents: Iterable[DocumentKey]
) -> dict[UUID, Standing]:
    """Return those of the documents that exist."""
    rows = await connection.fetch(queries.load_standing, *document_columns(documents))
    standing: dict[UUID, Standing] = {}
    for row in rows:
        state = DocumentState(row["state"])
        known = standing.setdefault(row["document_ref"], Standing(state, {}))
        if row["period_ref"] is not None:
            known.cuts[row["period_ref"]] = row["cut_number"]  # type: ignore[index]
    return standing


async def load_terms(
    connection: Connection, documents: Iterable[DocumentKey]
) -> dict[tuple[UUID, int], list[ProductTerms]]:
    """Return the products of the documents' contracts, by contract and group, by position."""
    rows = await connection.fetch(queries.load_terms, *contract_columns(documents))
    groups: dict[tuple[UUID, int], list[ProductTerms]] = defaultdict(list)
    for terms in with_lineages([ProductTerms(**row) for row in rows]):
        groups[terms.contract_ref, terms.document_group].append(terms)
    return groups


async def load_cuts(
    connection: Connection, documents: Iterable[DocumentKey]
) -> dict[UUID, list[CutPeriod]]:
    """Return the periods that are in for each document, at their last cut."""
    rows = await connection.fetch(queries.load_cuts, *document_columns(documents))
    cuts: dict[UUID, list[CutPeriod]] = defaultdict(list)
    for row in rows:
        cuts[row["document_ref"]].append(read_cut(row))
    return cuts


def read_cut(row: asyncpg.Record) -> CutPeriod:
    """Read a row of `load_cuts`."""
    return CutPeriod(**row)


async def load_cut_lines(
    connection: Connection, cuts: Iterable[CutPeriod]
) -> dict[UUID, list[CutLine]]:
    """Return the lines of the cuts by period, each period's in the contract's order."""
    keys = columns([(cut.shard_key, cut.period_ref, cut.cut_number) for cut in cuts], 3)
    lines: dict[UUID, list[CutLine]] = defaultdict(list)
    for row in await connection.fetch(queries.load_cut_lines, *keys):
        lines[row["period_ref"]].append(_cut_line(row))
    return lines


def _cut_line(row: asyncpg.Record) -> CutLine:
    has_usage = row["event_count"] > 0
    price = line_price(row["price"])
    has_fees = price.event_fees is not None
    return CutLine(
        line_item_ref=row["line_item_ref"],
        contract_line_ref=row["contract_line_ref"],
        pricing_line_id=row["pricing_line_id"],
        item=row["item"],
        price=price,
        quantity=Quantity(decimal_to_scaled(row["quantity"], QUANTITY_DIGITS)),
        charge_ref=row["charge_ref"] if has_usage else None,
        event_count=row["event_count"],
        events_digest=row["events_digest"],
        exact_quantity=exact_quantity(row["exact_quantity"]),
        fees=Amount(decimal_to_scaled(row["amount"], AMOUNT_DIGITS) if has_fees else 0),
        cell=row["cell"],
    )


def exact_quantity(text: str | None) -> Fraction | None:
    """Read a quantity whose digits never end, None where there is none such."""
    return None if text is None else Fraction(text)


@lru_cache(maxsize=16_384)
def line_price(text: str) -> LinePrice:
    """Read a stored price; it comes with every line that has it, so it is kept."""
    return from_json(text)


async def load_running(
    connection: Connection, documents: Iterable[DocumentKey], groups: Groups
) -> Running:
    """Return what the documents' products have spent and drawn so far."""
    places = {(key.shard_key, key.contract_ref, key.document_group) for key in documents}
    products = [(place[0], terms) for place in sorted(places) for terms in groups[place[1:]]]
    return Running(
        await load_spent(connection, products),
        await load_draws(connection, products),
        {terms.contract_product_ref: terms.lineage_ref for _, terms in products},
    )


async def find_looking_back(
    connection: Connection, products: Sequence[tuple[int, UUID]]
) -> list[DocumentKey]:
    """Return the issued documents with a commitment over the contract that these products add to.

    products: the shard key and ref of each.
    """
    if not products:
        return []
    rows = await connection.fetch(queries.find_looking_back, *columns(products, 2))
    return [read_key(row) for row in rows]


async def load_spent(
    connection: Connection, products: Sequence[tuple[int, ProductTerms]]
) -> dict[UUID, dict[UUID, int]]:
    """Return what products with commitments have come to, minor, by lineage and period.

    products: each with its shard key.
    """
    committed = [(key, terms) for key, terms in products if terms.commitments != "[]"]
    found: dict[UUID, dict[UUID, int]] = {terms.lineage_ref: {} for _, terms in committed}
    if found:
        digits = {terms.lineage_ref: currency_digits(terms.currency) for _, terms in committed}
        for row in await connection.fetch(queries.load_spent, *lineage_columns(committed)):
            ref = row["lineage_ref"]
            found[ref][row["period_ref"]] = decimal_to_scaled(row["total"], digits[ref])
    return found


def lineage_columns(products: Iterable[tuple[int, ProductTerms]]) -> list[list[Any]]:
    """Return shard keys, contracts and lineages of products as columns, each lineage once."""
    return columns(sorted({(key, t.contract_ref, t.lineage_ref) for key, t in products}), 3)


async def load_draws(connection: Connection, products: Sequence[tuple[int, ProductTerms]]) -> Drawn:
    """Return what was drawn from the credits of products. products: each with its shard key."""
    granted = [(key, terms) for key, terms in products if terms.credits != "[]"]
    if not granted:
        return {}
    digits = {terms.lineage_ref: currency_digits(terms.currency) for _, terms in granted}
    found: Drawn = {}
    for row in await connection.fetch(queries.load_draws, *lineage_columns(granted)):
        ref = row["lineage_ref"]
        amount = decimal_to_scaled(row["amount"], digits[ref])
        found.setdefault(ref, {})[row["place"], row["start_date"]] = amount
    return found


async def load_parties(
    connection: Connection, assemblies: Iterable[Assembly]
) -> dict[UUID, tuple[int, str]]:
    """Return customer and parties (JSON text) of each document, by its leading product."""
    keys = columns([(a.key.shard_key, a.lead_product_ref) for a in assemblies], 2)
    rows = await connection.fetch(queries.load_parties, *keys)
    return {row["contract_product_ref"]: (row["customer_id"], row["parties"]) for row in rows}


async def load_contract_standings(
    connection: Connection, documents: Iterable[DocumentKey]
) -> dict[tuple[UUID, str], ContractStanding]:
    """Return how far the documents' contracts have got, by contract and currency."""
    rows = await connection.fetch(queries.load_contract_totals, *contract_columns(documents))
    return {
        (row["contract_ref"], row["currency"]): ContractStanding(
            row["number_in_contract"], row["total_in_contract"]
        )
        for row in rows
    }


async def drop_content(connection: Connection, documents: Iterable[DocumentKey]) -> None:
    """Delete the lines and products of drafts that are drawn anew, and give back their draws."""
    keys = document_columns(documents)
    await connection.execute(queries.drop_draws, *keys)
    await connection.execute(queries.drop_adjustments, *keys)
    await connection.execute(queries.drop_lines, *keys)
    await connection.execute(queries.drop_products, *keys)


async def issue_documents(
    connection: Connection, tenant_id: int, series: str, issues: Sequence[Issue], now: datetime
) -> list[asyncpg.Record]:
    """Turn drafts into issued documents, and queue what hangs off them; return what to book."""
    issued = columns(issues, len(Issue._fields))
    rows = await connection.fetch(queries.issue_documents, series, now, *issued)
    await connection.execute(queries.queue_renders, tenant_id, issued[0], issued[1])
    return rows


async def find_due_contracts(pool: asyncpg.Pool, before: datetime) -> list[DueContract]:
    """Return contracts with events that were due by then and have no documents."""
    rows = await pool.fetch(queries.find_due_contracts, before)
    return [DueContract(row["shard_key"], row["contract_ref"]) for row in rows]


async def find_lost_cuts(
    connection: Connection, since: datetime, before: datetime, count: int
) -> list[tuple[InputKey, datetime]]:
    """Return cuts that no document took up, as the inputs that they are, each with its instant."""
    rows = await connection.fetch(queries.find_lost_cuts, since, before, count)
    return [(input_key(*row[:4]), row[4]) for row in map(tuple, rows)]
