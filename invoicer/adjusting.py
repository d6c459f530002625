"""Adjusting: draws up what has changed of issued documents, as the inputs come in."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from fractions import Fraction
from uuid import UUID
from zoneinfo import ZoneInfo

import asyncpg
from msgspec.structs import replace

from invoicer import repository
from invoicer.adjustments import Billed, BilledLine, BilledProduct, LineKey, ProductKey, difference
from invoicer.assembly import Assembly, DocumentKey, ProductTerms, assemble
from invoicer.draft_rows import write_drafts
from invoicer.repository import Issuer, document_columns, queries
from runtime.clock import Clock
from runtime.postgres import Connection
from schemas.document import DocumentKind
from schemas.document_ref import adjustment_ref
from schemas.money import AMOUNT_DIGITS, PRICE_DIGITS, Price, currency_digits, decimal_to_scaled


async def adjust(
    connection: Connection, issuer: Issuer, documents: Sequence[DocumentKey], clock: Clock
) -> list[Assembly]:
    """Draw up adjustments of issued documents that their inputs have changed, as drafts.

    The documents' contracts are locked, so their adjustments are counted without a gap.
    """
    if not documents:
        return []
    terms = await repository.load_terms(connection, documents)
    cuts = await repository.load_cuts(connection, documents)
    lines = await repository.load_cut_lines(connection, [c for own in cuts.values() for c in own])
    billed = await load_billed(connection, documents)
    products = {(k.shard_key, one) for k in documents for one in _group(terms, k)}
    spent = await repository.load_spent(connection, list(products))
    adjustments = []
    for key in documents:
        own = billed[key.document_ref]
        rates = {k: (p.discount_percent, p.tax_percent) for k, p in own.products.items()}
        group = _group(terms, key)
        redrawn = assemble(key, group, cuts[key.document_ref], lines, spent, rates)
        draft = difference(redrawn.draft, own)
        if draft is not None:
            assembly = replace(redrawn, draft=draft, is_complete=True)
            adjustments.append(_adjustment(assembly, own.adjustments + 1, clock()))
    if adjustments:
        parties = await repository.load_parties(connection, adjustments)
        await write_drafts(connection, issuer.tenant_id, issuer.entity_id, adjustments, parties)
    return adjustments


def _group(
    terms: Mapping[tuple[UUID, int], Sequence[ProductTerms]], key: DocumentKey
) -> Sequence[ProductTerms]:
    return terms[key.contract_ref, key.document_group]


def _adjustment(assembly: Assembly, number: int, now: datetime) -> Assembly:
    """Make the adjustment of a document, issued on the day that it is where the document is of."""
    parent = assembly.key
    today = now.astimezone(ZoneInfo(assembly.timezone)).date()
    key = replace(
        parent,
        document_ref=adjustment_ref(parent.document_ref, number),
        issue_date=max(today, parent.issue_date),
    )
    return replace(
        assembly,
        key=key,
        kind=DocumentKind.ADJUSTMENT,
        parent_document_ref=parent.document_ref,
    )


async def load_billed(
    connection: Connection, documents: Sequence[DocumentKey]
) -> dict[UUID, Billed]:
    """Add up each document and its adjustments."""
    keys = document_columns(documents)
    totals = await connection.fetch(queries.load_billed, *keys)
    digits = {row["root"]: currency_digits(row["currency"]) for row in totals}
    lines: dict[tuple[UUID, ProductKey], dict[LineKey, BilledLine]] = defaultdict(dict)
    for row in await connection.fetch(queries.load_billed_lines, *keys):
        place = (row["root"], (row["contract_product_ref"], row["period_ref"]))
        lines[place][row["contract_line_ref"], row["cell"]] = BilledLine(
            quantity=sum(map(Fraction, row["quantities"]), Fraction(0)),
            amount=decimal_to_scaled(row["amount"], digits[row["root"]]),
            event_count=int(row["event_count"]),
            fees=decimal_to_scaled(row["fees"], AMOUNT_DIGITS),
        )
    products: dict[UUID, dict[ProductKey, BilledProduct]] = defaultdict(dict)
    for row in await connection.fetch(queries.load_billed_products, *keys):
        root, product = row["root"], (row["contract_product_ref"], row["period_ref"])
        products[root][product] = _product(row, lines[root, product], digits[root])
    return {
        row["root"]: Billed(
            products=products[row["root"]],
            total_tax=decimal_to_scaled(row["total_tax"], digits[row["root"]]),
            adjustments=row["adjustments"],
        )
        for row in totals
    }


def _product(
    row: asyncpg.Record, lines: Mapping[LineKey, BilledLine], digits: int
) -> BilledProduct:
    return BilledProduct(
        minimum_fee=decimal_to_scaled(row["minimum_fee"], digits),
        sub_total=decimal_to_scaled(row["sub_total"], digits),
        total=decimal_to_scaled(row["total"], digits),
        discount=decimal_to_scaled(row["discount"], digits),
        discount_percent=Price(decimal_to_scaled(row["discount_rate"], PRICE_DIGITS)),
        tax_percent=Price(decimal_to_scaled(row["tax_rate"], PRICE_DIGITS)),
        lines=lines,
    )
