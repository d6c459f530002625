"""A draft as rows: what drafting computed, in the columns of its three tables."""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

from invoicer.assembly import Assembly
from invoicer.crediting import Draw
from invoicer.repository import columns, queries
from runtime.postgres import Connection
from schemas.commitments import true_ups_json
from schemas.document import DocumentLine, tiers_json
from schemas.money import AMOUNT_DIGITS, PRICE_DIGITS, QUANTITY_DIGITS, scaled_to_decimal
from schemas.price import basis_of

_PRODUCT_COLUMNS: Final = (
    "shard_key",
    "document_ref",
    "position",
    "tenant_id",
    "contract_product_ref",
    "period_ref",
    "cut_number",
    "product_name",
    "minimum_fee",
    "sub_total",
    "total",
    "discount",
    "discount_rate",
    "tax_rate",
    "true_ups",
    "root_document_ref",
)
_LINE_COLUMNS: Final = (
    "shard_key",
    "document_ref",
    "product_position",
    "position",
    "tenant_id",
    "line_item_ref",
    "contract_line_ref",
    "pricing_line_id",
    "charge_ref",
    "item",
    "model",
    "quantity",
    "unit_price",
    "tiers",
    "amount",
    "event_count",
    "events_digest",
    "exact_quantity",
    "cell",
    "fees",
)
_DRAW_COLUMNS: Final = (
    *("shard_key", "contract_product_ref", "period_index", "place", "tenant_id"),
    *("document_ref", "amount"),
)
_ADJUSTMENT_COLUMNS: Final = (
    *("shard_key", "document_ref", "root_document_ref", "tenant_id"),
    *("sub_total", "total_discount", "total_tax", "credits_amount"),
    "is_ahead",
)
_DOCUMENT_WIDTH: Final = 22


# What price lists and terms say comes again with every document; what was used does not.
_known_decimal: Final = lru_cache(maxsize=16_384)(scaled_to_decimal)


async def write_draws(
    connection: Connection, tenant_id: int, draws: Sequence[tuple[Assembly, Draw]]
) -> None:
    """Write what documents have drawn from credits; the documents must be there."""
    rows = [
        (
            assembly.key.shard_key,
            draw.contract_product_ref,
            draw.period_index,
            draw.place,
            tenant_id,
            assembly.key.document_ref,
            scaled_to_decimal(draw.amount, assembly.draft.currency_digits),
        )
        for assembly, draw in draws
    ]
    if rows:
        await connection.copy_records_to_table("credit_draw", records=rows, columns=_DRAW_COLUMNS)


async def write_drafts(
    connection: Connection,
    tenant_id: int,
    entity_id: int,
    assemblies: Sequence[Assembly],
    parties: Mapping[UUID, tuple[int, str]],
) -> None:
    """Write documents with their products and lines, as drafts.

    parties: customer and parties by leading product. Older products and lines must be gone.
    """
    documents = [_document_row(a, *parties[a.lead_product_ref]) for a in assemblies]
    await connection.execute(
        queries.add_drafts, tenant_id, entity_id, *columns(documents, _DOCUMENT_WIDTH)
    )
    await connection.copy_records_to_table(
        "document_product",
        records=[row for a in assemblies for row in _product_rows(a, tenant_id)],
        columns=_PRODUCT_COLUMNS,
    )
    await connection.copy_records_to_table(
        "document_line",
        records=[row for a in assemblies for row in _line_rows(a, tenant_id)],
        columns=_LINE_COLUMNS,
    )
    adjustments = [row for a in assemblies for row in _adjustment_rows(a, tenant_id)]
    if adjustments:
        await connection.copy_records_to_table(
            "document_adjustment", records=adjustments, columns=_ADJUSTMENT_COLUMNS
        )


def _document_row(assembly: Assembly, customer_id: int, parties: str) -> tuple[Any, ...]:
    key, draft = assembly.key, assembly.draft
    money = (
        *(draft.sub_total, draft.total_discount, draft.total_tax),
        *(draft.credits_amount, draft.total),
    )
    return (
        key.shard_key,
        key.document_ref,
        customer_id,
        key.contract_ref,
        key.document_group,
        draft.accounting_event_type,
        draft.currency,
        assembly.net_terms,
        key.issue_date,
        assembly.period_start,
        assembly.period_end,
        draft.is_partial_period,
        *(scaled_to_decimal(minor, draft.currency_digits) for minor in money),
        parties,
        assembly.kind,
        assembly.parent_document_ref,
        assembly.event_ref,
        assembly.event_due_id,
    )


def _product_rows(assembly: Assembly, tenant_id: int) -> Iterator[tuple[Any, ...]]:
    key, digits = assembly.key, assembly.draft.currency_digits
    for position, product in enumerate(assembly.draft.products):
        money = (product.minimum_fee or 0, product.sub_total, product.total, product.discount)
        yield (
            key.shard_key,
            key.document_ref,
            position,
            tenant_id,
            product.contract_product_ref,
            product.period_ref,
            product.cut_number,
            product.product_name,
            *(scaled_to_decimal(minor, digits) for minor in money),
            _known_decimal(product.discount_percent, PRICE_DIGITS),
            _known_decimal(product.tax_percent, PRICE_DIGITS),
            true_ups_json(product.true_ups, digits),
            product.root,
        )


def _adjustment_rows(assembly: Assembly, tenant_id: int) -> Iterator[tuple[Any, ...]]:
    key, digits = assembly.key, assembly.draft.currency_digits
    for one in assembly.draft.adjustments:
        money = (one.sub_total, one.total_discount, one.total_tax, one.credits_amount)
        yield (
            *(key.shard_key, key.document_ref, one.root, tenant_id),
            *(scaled_to_decimal(minor, digits) for minor in money),
            one.is_ahead,
        )


def _line_rows(assembly: Assembly, tenant_id: int) -> Iterator[tuple[Any, ...]]:
    key, digits = assembly.key, assembly.draft.currency_digits
    for product_position, product in enumerate(assembly.draft.products):
        for position, line in enumerate(product.lines):
            place = (key.shard_key, key.document_ref, product_position, position, tenant_id)
            yield place + _line_row(line, digits)


def _line_row(line: DocumentLine, digits: int) -> tuple[Any, ...]:
    price = line.unit_price
    return (
        line.line_item_ref,
        line.contract_line_ref,
        line.pricing_line_id,
        line.charge_ref,
        line.item,
        line.price.model,
        scaled_to_decimal(line.quantity, QUANTITY_DIGITS),
        None if price is None else _known_decimal(price, PRICE_DIGITS),
        tiers_json(line.tiers) if line.tiers else None,
        scaled_to_decimal(line.amount, digits),
        line.event_count,
        line.events_digest,
        None if line.exact_quantity is None else str(line.exact_quantity),
        line.cell,
        scaled_to_decimal(line.usage_amount, AMOUNT_DIGITS)
        if basis_of(line.price) == "EVENTS"
        else None,
    )
