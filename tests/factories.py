"""Rows for tests, written straight into Postgres, with defaults for whatever does not matter.

What announces itself to the rater (contracts, closings) does so as the gateway does: under the
lock of the customer's partition, with a new reference version.
"""

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import asyncpg

from schemas.event_ref import derived_ref, partition_of, shard_key, tenant_bits

PER_UNIT = {"model": "PER_UNIT", "price": "0.02"}
GRADUATED = {
    "model": "GRADUATED",
    "tiers": [
        {"up_to": "100", "unit_price": "1", "flat_fee": "5"},
        {"up_to": "1000", "unit_price": "0.5", "flat_fee": "0"},
        {"up_to": None, "unit_price": "0.1", "flat_fee": "0"},
    ],
}
FLAT = {"model": "FLAT", "price": "49", "quantity": "3"}


@dataclass(frozen=True)
class MadeTenant:
    tenant_id: int
    ref: str
    entity_id: int
    entity_ref: str


@dataclass(frozen=True)
class MadeCustomer:
    customer_id: int
    ref: str
    shard_key: int
    tenant: MadeTenant


@dataclass(frozen=True)
class MadeMeter:
    meter_id: int
    ref: str
    aggregation: str


@dataclass(frozen=True)
class MadePricing:
    pricing_id: int
    ref: str
    line_ids: tuple[int, ...]
    line_refs: tuple[str, ...]


@dataclass(frozen=True)
class MadeContract:
    ref: str
    customer: MadeCustomer
    product_refs: tuple[str, ...]
    #: For each product, its lines.
    line_refs: tuple[tuple[str, ...], ...]


async def make_tenant(connection: asyncpg.Connection, name: str = "Acme") -> MadeTenant:
    ref, entity_ref = str(uuid.uuid4()), str(uuid.uuid4())
    tenant_id = await connection.fetchval(
        "INSERT INTO tenant (tenant_ref, name) VALUES ($1, $2) RETURNING tenant_id", ref, name
    )
    entity_id = await connection.fetchval(
        "INSERT INTO entity (tenant_id, entity_ref, name, legal_name, timezone, currency) "
        "VALUES ($1, $2, $3, $3, 'UTC', 'USD') RETURNING entity_id",
        *(tenant_id, entity_ref, f"{name} Inc."),
    )
    await connection.execute(
        "UPDATE tenant SET default_entity_id = $2 WHERE tenant_id = $1", tenant_id, entity_id
    )
    return MadeTenant(tenant_id, ref, entity_id, entity_ref)


async def make_customer(
    connection: asyncpg.Connection, tenant: MadeTenant, **fields: object
) -> MadeCustomer:
    """Make a customer. fields: columns to set; customer_ref among them chooses the ref."""
    ref = str(fields.pop("customer_ref", uuid.uuid4()))
    row = {
        "name": f"Customer {ref[:8]}",
        "email": "billing@example.com",
        "currency": "USD",
        **fields,
        "shard_key": shard_key(ref),
        "customer_ref": ref,
        "tenant_id": tenant.tenant_id,
        "entity_id": fields.get("entity_id", tenant.entity_id),
    }
    customer_id = await _insert(connection, "customer", row, "customer_id")
    return MadeCustomer(customer_id, ref, shard_key(ref), tenant)


async def make_customer_in(
    connection: asyncpg.Connection, tenant: MadeTenant, partition: int, partitions: int
) -> MadeCustomer:
    """Make a customer whose events lie in one partition."""
    while True:
        ref = str(uuid.uuid4())
        if partition_of(shard_key(ref), partitions) == partition:
            return await make_customer(connection, tenant, customer_ref=ref)


async def make_meter(
    connection: asyncpg.Connection,
    tenant: MadeTenant,
    *,
    aggregation: str = "SUM",
    name: str = "",
    **fields: object,
) -> MadeMeter:
    ref = str(uuid.uuid4())
    row = {
        "tenant_id": tenant.tenant_id,
        "usage_product_ref": ref,
        "name": name or f"Meter {ref[:8]}",
        "aggregation": aggregation,
        **fields,
    }
    return MadeMeter(await _insert(connection, "meter", row, "meter_id"), ref, aggregation)


async def make_pricing(
    connection: asyncpg.Connection,
    tenant: MadeTenant,
    lines: Iterable[tuple[MadeMeter | None, Mapping[str, Any]]],
    **fields: object,
) -> MadePricing:
    """Make a product with one pricing. lines: what is measured (None: nothing) and its price."""
    pricing_ref = str(uuid.uuid4())
    product = {
        "tenant_id": tenant.tenant_id,
        "product_ref": str(uuid.uuid4()),
        "name": f"Product {uuid.uuid4().hex[:8]}",
    }
    pricing = {
        "tenant_id": tenant.tenant_id,
        "pricing_ref": pricing_ref,
        "product_id": await _insert(connection, "product", product, "product_id"),
        "name": "Standard",
        **fields,
        "is_published": False,
    }
    pricing_id = await _insert(connection, "pricing", pricing, "pricing_id")
    ids, refs = [], []
    for position, (meter, price) in enumerate(lines):
        ref = str(uuid.uuid4())
        line = {
            "tenant_id": tenant.tenant_id,
            "line_item_ref": ref,
            "pricing_id": pricing_id,
            "position": position,
            "item": f"Item {position + 1}",
            "meter_id": None if meter is None else meter.meter_id,
            "price": json.dumps(price),
        }
        ids.append(await _insert(connection, "pricing_line", line, "pricing_line_id"))
        refs.append(ref)
    if fields.get("is_published", True):  # a published pricing takes no more lines
        publish = "UPDATE pricing SET is_published = true WHERE pricing_id = $1"
        await connection.execute(publish, pricing_id)
    return MadePricing(pricing_id, pricing_ref, tuple(ids), tuple(refs))


_TAKE_CONTRACT_NUMBER = (
    "UPDATE tenant SET next_contract_number = next_contract_number + 1 "
    "WHERE tenant_id = $1 RETURNING next_contract_number - 1"
)
_USUAL_CONTRACT: Mapping[str, object] = {
    "invoice_mode": "COLLECTIVE",
    "closing": "MANUAL",
    "state": "ACTIVE",
}
_USUAL_TERMS: Mapping[str, object] = {
    "document_group": 0,
    "currency": "USD",
    "timezone": "UTC",
    "cycle_unit": "MONTHLY",
    "cycle_length": 1,
    "payment_time": "AFTER_USE",
    "tax": 0,
    "discount": 0,
    "net_terms": "30",
}


async def make_contract(
    connection: asyncpg.Connection,
    customer: MadeCustomer,
    pricings: Sequence[MadePricing],
    *,
    start: date = date(2024, 1, 1),
    end: date | None = None,
    **terms: object,
) -> MadeContract:
    """Make a contract over pricings and announce it. terms: columns of it and its products."""
    tenant = customer.tenant
    place = (customer.shard_key, tenant_bits(tenant.ref))
    month = (start.year - 2000) * 12 + start.month - 1
    ref = derived_ref("contract", month, *place, uuid.uuid4().hex)
    products, lines = [], []
    async with connection.transaction():
        announced = await announce(connection, customer.shard_key)
        number = await connection.fetchval(_TAKE_CONTRACT_NUMBER, tenant.tenant_id)
        contract: dict[str, object] = {
            **_USUAL_CONTRACT,
            **{name: terms.pop(name) for name in ("closing", "closes_after") if name in terms},
            "shard_key": customer.shard_key,
            "contract_ref": ref,
            "tenant_id": tenant.tenant_id,
            "customer_id": customer.customer_id,
            "contract_number": number,
        }
        await add_row(connection, "contract", contract)
        for position, pricing in enumerate(pricings):
            product_ref = derived_ref("contract_product", month, *place, str(ref), position)
            product = {
                **_USUAL_TERMS,
                "shard_key": customer.shard_key,
                "contract_product_ref": product_ref,
                "tenant_id": tenant.tenant_id,
                "contract_ref": ref,
                "position": position,
                "pricing_id": pricing.pricing_id,
                "entity_id": tenant.entity_id,
                "billing_start_date": start,
                "billing_end_date": end,
                **terms,
            }
            await add_row(connection, "contract_product", product)
            products.append(str(product_ref))
            lines.append(await add_lines(connection, product, pricing, month, place))
        await announce_change(connection, announced, customer, ref, None)
    return MadeContract(str(ref), customer, tuple(products), tuple(lines))


async def add_lines(
    connection: asyncpg.Connection,
    product: Mapping[str, Any],
    pricing: MadePricing,
    month: int,
    place: tuple[int, int],
) -> tuple[str, ...]:
    """Add all lines of a pricing to a contract product; their refs."""
    refs = []
    for position, pricing_line_id in enumerate(pricing.line_ids):
        fields = (str(product["contract_product_ref"]), position)
        line_ref = derived_ref("contract_line", month, *place, *fields)
        line = {
            "shard_key": product["shard_key"],
            "contract_line_ref": line_ref,
            "tenant_id": product["tenant_id"],
            "contract_product_ref": product["contract_product_ref"],
            "position": position,
            "pricing_line_id": pricing_line_id,
        }
        await add_row(connection, "contract_line", line)
        refs.append(str(line_ref))
    return tuple(refs)


async def ask_to_close(
    connection: asyncpg.Connection, contract: MadeContract, through: date
) -> tuple[int, int]:
    """Ask the rater to close periods; returns the partition and the version of the task."""
    async with connection.transaction():
        announced = await announce(connection, contract.customer.shard_key)
        await announce_change(connection, announced, contract.customer, contract.ref, through)
    return announced["partition"], announced["reference_version"]


async def announce(connection: asyncpg.Connection, key: int) -> asyncpg.Record:
    """Lock the customer's partition and raise its reference version."""
    row = await connection.fetchrow(
        "UPDATE rater_partition SET reference_version = reference_version + 1 "
        "WHERE partition = $1 % (SELECT partitions FROM event_log) "
        "RETURNING partition, reference_version, next_offset",
        key,
    )
    assert row is not None, "the database knows no log"
    return row


async def announce_change(
    connection: asyncpg.Connection,
    announced: asyncpg.Record,
    customer: MadeCustomer,
    contract_ref: object,
    through: date | None,
    **fields: object,
) -> None:
    """Note what is announced. through: of a closing."""
    change = {
        "partition": announced["partition"],
        "reference_version": announced["reference_version"],
        "kind": "CONTRACT" if through is None else "CLOSE",
        "shard_key": customer.shard_key,
        "tenant_id": customer.tenant.tenant_id,
        "customer_id": customer.customer_id,
        "contract_ref": contract_ref,
        "recorded_offset": announced["next_offset"],
        "close_through": through,
        **fields,
    }
    await add_row(connection, "partition_change", change)


async def _insert(
    connection: asyncpg.Connection, table: str, row: Mapping[str, object], key: str
) -> int:
    """Insert a row and return the key that the database gave it."""
    statement = f"{_statement(table, row)} RETURNING {key}"
    made: int = await connection.fetchval(statement, *row.values())
    return made


async def add_row(connection: asyncpg.Connection, table: str, row: Mapping[str, object]) -> None:
    """Insert a row."""
    await connection.execute(_statement(table, row), *row.values())


def _statement(table: str, row: Mapping[str, object]) -> str:
    places = ", ".join(f"${number}" for number in range(1, len(row) + 1))
    return f"INSERT INTO {table} ({', '.join(row)}) VALUES ({places})"
