"""Documents and events for tests, written as the invoicer and the rater write them."""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import msgspec

import invoicer
from runtime.postgres import Queries
from schemas.event_ref import derived_ref, month_of, shard_key_of
from tests.integration.manage.clients import Client
from tests.integration.manage.shop import Shop

parties_queries = Queries.beside(str(Path(invoicer.__file__)))

TIERS = [
    {"up_to": 100, "quantity": 100, "unit_price": 10, "flat_fee": 5, "amount": 1005},
    {"up_to": None, "quantity": 0, "unit_price": 9.5, "flat_fee": 0, "amount": 0},
]


@dataclass(frozen=True)
class Paper:
    """A document that was written."""

    ref: str
    contract_ref: str


async def write_event(client: Client, shop: Shop) -> str:
    """Send an event, and write it as the rater does; its ref."""
    event = {
        "timestamp": "2024-02-05T09:02:27.279Z",
        "customer_ref": shop.customer_ref,
        "usage_product_ref": shop.meter_ref,
        "quantity": 10,
    }
    sent = client.ok("POST", "/api/usage/event", event)
    ref, receipt = UUID(sent["event_ref"]), sent["receipt"]
    connection = await asyncpg.connect(client.postgres)
    try:
        await connection.execute("SELECT ensure_usage_month($1)", month_of(ref.int))
        await connection.execute(
            "INSERT INTO usage_event_row (event_ref, occurred_at, fingerprint, rated_at, "
            "shard_key, tenant_id, customer_id, meter_id, quantity, additional_data) "
            "SELECT $1, $2, 0, $3, c.shard_key, c.tenant_id, c.customer_id, m.meter_id, 10, '' "
            "FROM customer c JOIN meter m USING (tenant_id) "
            "WHERE c.customer_ref = $4 AND m.usage_product_ref = $5",
            *(ref, datetime(2024, 2, 5, 9, 2, 27, 279_000, UTC), receipt["offset"]),
            *(shop.customer_ref, shop.meter_ref),
        )
    finally:
        await connection.close()
    return str(ref)


async def write_document(
    client: Client,
    shop: Shop,
    contract_ref: str,
    *,
    number: int = 1,
    issue_date: date,
    is_held: bool = False,
) -> Paper:
    """Write a document of one product and two lines, and issue it, or hold it for review."""
    contract = UUID(contract_ref)
    place = shard_key_of(contract.int)
    ref = derived_ref("document", 300, place, 0, contract_ref, number)
    connection = await asyncpg.connect(client.postgres)
    try:
        async with connection.transaction():
            await _write_draft(connection, contract, ref, issue_date)
            await _write_lines(connection, shop, ref)
            if is_held:
                await _hold(connection, ref)
            else:
                await _issue(connection, ref, number, issue_date)
    finally:
        await connection.close()
    return Paper(str(ref), contract_ref)


async def _write_draft(
    connection: asyncpg.Connection, contract: UUID, ref: UUID, issue_date: date
) -> None:
    place = shard_key_of(ref.int)
    product_ref = await connection.fetchval(
        "SELECT contract_product_ref FROM contract_product WHERE contract_ref = $1", contract
    )
    parties = await connection.fetchrow(parties_queries.load_parties, [place], [product_ref])
    assert parties is not None
    await connection.execute(
        "INSERT INTO document (shard_key, document_ref, tenant_id, customer_id, contract_ref, "
        "entity_id, document_group, kind, accounting_event_type, state, currency, net_terms, "
        "issue_date, period_start, period_end, is_partial_period, sub_total, total_discount, "
        "total_tax, credits_amount, total, parties) "
        "SELECT k.shard_key, $1, k.tenant_id, k.customer_id, k.contract_ref, p.entity_id, 0, "
        "'PERIOD', 'INVOICE', 'DRAFT', p.currency, p.net_terms, $3, date '2023-01-01', "
        "date '2023-02-01', false, 1005.20, 50.26, 200.54, 0, 1155.48, $4 "
        "FROM contract k JOIN contract_product p USING (shard_key, contract_ref) "
        "WHERE k.contract_ref = $2",
        ref,
        contract,
        issue_date,
        parties["parties"],
    )
    await connection.execute(
        "INSERT INTO document_product (shard_key, document_ref, position, tenant_id, "
        "contract_product_ref, period_ref, cut_number, product_name, minimum_fee, sub_total, "
        "total, discount, discount_rate, tax_rate) "
        "SELECT shard_key, document_ref, 0, tenant_id, $2, $3, 1, 'Platform', 0, 1005.20, "
        "1005.20, 50.26, 5, 21 FROM document WHERE document_ref = $1",
        ref,
        product_ref,
        uuid4(),
    )


async def _write_lines(connection: asyncpg.Connection, shop: Shop, ref: UUID) -> None:
    place = shard_key_of(ref.int)
    tenant_id = await connection.fetchval(
        "SELECT tenant_id FROM document WHERE document_ref = $1", ref
    )
    tiers = msgspec.json.encode(TIERS).decode()
    lines = [
        (0, shop.line_refs["Units"], "Units", "GRADUATED", "100", None, tiers, "1005.00", 7),
        (1, shop.line_refs["Calls"], "Calls", "PER_UNIT", "50", "0.0040", None, "0.20", 3),
    ]
    for position, line_ref, item, model, quantity, price, walk, amount, count in lines:
        await connection.execute(
            "INSERT INTO document_line (shard_key, document_ref, product_position, position, "
            "tenant_id, line_item_ref, contract_line_ref, pricing_line_id, charge_ref, item, "
            "model, quantity, unit_price, tiers, amount, event_count) "
            "VALUES ($1, $2, 0, $3, $4, $5, $6, 1, $7, $8, $9, $10, $11, $12, $13, $14)",
            place,
            ref,
            position,
            tenant_id,
            UUID(line_ref),
            uuid4(),
            uuid4(),
            item,
            model,
            Decimal(quantity),
            None if price is None else Decimal(price),
            walk,
            Decimal(amount),
            count,
        )


async def _hold(connection: asyncpg.Connection, ref: UUID) -> None:
    await connection.execute(
        "UPDATE document SET state = 'UNDER_REVIEW' WHERE document_ref = $1", ref
    )
    await connection.execute(
        "INSERT INTO document_review (shard_key, document_ref, tenant_id, held_at) "
        "SELECT shard_key, document_ref, tenant_id, now() FROM document WHERE document_ref = $1",
        ref,
    )


async def _issue(connection: asyncpg.Connection, ref: UUID, number: int, issue_date: date) -> None:
    await connection.execute(
        "UPDATE document SET state = 'ISSUED', series = '2023', number = $2::integer, "
        "document_number = $3, number_in_contract = $2::integer, "
        "total_in_contract = total * $2::integer, "
        "due_date = $4::date + 30, issued_at = $5 WHERE document_ref = $1",
        ref,
        number,
        f"INV/2023-{number:03}",
        issue_date,
        datetime(2023, 2, 1, tzinfo=UTC),
    )
    await connection.execute(
        "INSERT INTO journal_entry (shard_key, document_ref, entry_number, tenant_id, entity_id, "
        "kind, currency, entry_date, booked_at, receivable, tax, revenue) "
        "SELECT shard_key, document_ref, 1, tenant_id, entity_id, 'ISSUE', currency, issue_date, "
        "issued_at, total, -total_tax, total_discount - sub_total "
        "FROM document WHERE document_ref = $1",
        ref,
    )


async def write_file(client: Client, paper: Paper, kind: str, content: bytes) -> None:
    """Write a file of a document."""
    await client.fetch(
        "INSERT INTO document_file (shard_key, document_ref, kind, tenant_id, content, sha256) "
        "VALUES ($1, $2, $3, $4, $5, sha256($5))",
        shard_key_of(UUID(paper.ref).int),
        UUID(paper.ref),
        kind,
        client.tenant_id,
        content,
    )
