"""Fills a partition's memory from Postgres: what a poll names and memory lacks, once a poll."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final
from uuid import UUID

import asyncpg
import msgspec

from rater.arrivals import Poll
from rater.memory import Customer, Line, Memory, Meter, Product, micros
from rater.repository import queries
from rater.tenants import Tenant
from runtime.postgres import Connection
from schemas.event_ref import shard_key, tenant_bits
from schemas.meter_feed import Feed
from schemas.meter_formula import Formula, parse_formula
from schemas.periods import BillingTerms
from schemas.price import LinePrice, from_json

Source = asyncpg.Pool | Connection

DAY_MICROS: Final = 86_400_000_000


async def load_tenants(source: Source, memory: Memory) -> None:
    """Learn all tenants: there are few, and one without a name in records must be the only one."""
    for row in await source.fetch(queries.load_tenants):
        ref, days = row["tenant_ref"], row["age_days_max"]
        tenant = Tenant(row["tenant_id"], ref, tenant_bits(ref))
        if days is not None:
            tenant = msgspec.structs.replace(
                tenant,
                age_micros_max=days * DAY_MICROS,
                age_since_micros=micros(row["updated_at"]),
            )
        memory.tenants[ref] = tenant


async def load_missing(source: Source, memory: Memory, poll: Poll) -> None:
    """Look up what a poll names and memory lacks; what isn't found then does not exist."""
    # Without a tenant's name a record counts as the sole tenant's, if it still is the only one.
    tenants = {a.event.tenant_ref for a in poll.arrivals}
    meters = {a.event.usage_product_ref for a in poll.arrivals} - memory.meters.keys()
    customers = {a.event.customer_ref for a in poll.arrivals}
    tenants |= {a.amendment.tenant_ref for a in poll.amendments}
    customers |= {a.amendment.customer_ref for a in poll.amendments}
    customers -= memory.customers.keys()
    if tenants - memory.tenants.keys():
        await load_tenants(source, memory)
    if meters:
        await load_meters(source, memory, meters)
    if customers:
        await load_customers(source, memory, customers)


async def load_meters(source: Source, memory: Memory, refs: Iterable[str]) -> None:
    """Learn meters by their refs."""
    for row in await source.fetch(queries.load_meters, list(refs)):
        meter = Meter(row["meter_id"], row["tenant_id"], formula_of(row["formula"]))
        memory.meters[row["usage_product_ref"]] = meter
        memory.formulas[meter.meter_id] = meter.formula
        # A new meter counts toward meters that are priced already; those that were there when the
        # lines were read don't move any more.
        for toward, factor in zip(row["toward"], row["factors"], strict=True):
            if (feeds := memory.feeds.get(toward)) is not None:
                feeds[meter.meter_id] = Feed.of(factor, row["formula"])


async def load_feeds(source: Source, memory: Memory, rows: Iterable[asyncpg.Record]) -> None:
    """Learn how events count in lines of `load_contracts` whose meters are new to memory."""
    wanted = {(row["tenant_id"], row["meter_id"]) for row in rows if row["meter_id"] is not None}
    lacking = [(tenant_id, meter) for tenant_id, meter in wanted if meter not in memory.feeds]
    if lacking:
        columns = [list(column) for column in zip(*lacking, strict=True)]
        for row in await source.fetch(queries.load_feeds, *columns):
            feed = Feed.of(row["factor"], row["formula"])
            memory.feeds.setdefault(row["toward_id"], {})[row["meter_id"]] = feed


async def load_formulas(source: Source, memory: Memory, meter_ids: Iterable[int]) -> None:
    """Learn the formulas of meters that memory lacks."""
    lacking = set(meter_ids) - memory.formulas.keys()
    if lacking:
        for row in await source.fetch(queries.load_formulas, list(lacking)):
            memory.formulas[row["meter_id"]] = formula_of(row["formula"])


def formula_of(text: str | None) -> Formula | None:
    """Read a stored formula."""
    return None if text is None else parse_formula(text)


async def load_customers(source: Source, memory: Memory, refs: Iterable[str]) -> None:
    """Learn customers by their refs, with the lines of all their contracts."""
    wanted = list(refs)
    rows = await source.fetch(queries.load_customers, [shard_key(ref) for ref in wanted], wanted)
    if not rows:
        return
    if not {row["tenant_id"] for row in rows} <= {t.tenant_id for t in memory.tenants.values()}:
        await load_tenants(source, memory)
    tenants = {tenant.tenant_id: tenant for tenant in memory.tenants.values()}
    contracts = await source.fetch(
        queries.load_contracts,
        [row["shard_key"] for row in rows],
        [row["customer_id"] for row in rows],
        None,
    )
    await load_feeds(source, memory, contracts)
    by_customer: dict[int, list[asyncpg.Record]] = {}
    for row in contracts:
        by_customer.setdefault(row["customer_id"], []).append(row)
    for row in rows:
        tenant = tenants[row["tenant_id"]]
        contracts_of = by_customer.get(row["customer_id"], ())
        products = read_products(contracts_of, tenant, memory.feeds)
        memory.add_customer(
            Customer(
                customer_id=row["customer_id"],
                customer_ref=row["customer_ref"],
                shard_key=row["shard_key"],
                tenant=tenant,
                lines=[line for _, lines in products for line in lines],
            )
        )


async def load_contract(
    source: Source,
    *,
    shard_key: int,
    customer_id: int,
    contract_ref: UUID,
    tenant: Tenant,
    memory: Memory,
) -> list[tuple[Product, list[Line]]]:
    """Read one contract: its products in order, each with all its lines, flat ones too.

    What is being back-filled to take the place of others is left out.
    """
    rows = await source.fetch(queries.load_contracts, [shard_key], [customer_id], contract_ref)
    await load_feeds(source, memory, rows)
    return read_products([row for row in rows if not row["is_pending"]], tenant, memory.feeds)


async def load_products_of(
    source: Source, memory: Memory, rows: Iterable[asyncpg.Record]
) -> dict[UUID, tuple[Product, list[Line]]]:
    """Read all contract products of the customers that rows are of: each with all its lines."""
    rows = list(rows)
    tenants = {tenant.tenant_id: tenant for tenant in memory.tenants.values()}
    if not {row["tenant_id"] for row in rows} <= tenants.keys():
        await load_tenants(source, memory)
        tenants = {tenant.tenant_id: tenant for tenant in memory.tenants.values()}
    customers = {(row["shard_key"], row["customer_id"]): tenants[row["tenant_id"]] for row in rows}
    keys, ids = [key for key, _ in customers], [customer for _, customer in customers]
    contracts = await source.fetch(queries.load_contracts, keys, ids, None)
    await load_feeds(source, memory, contracts)
    rows_of: dict[int, list[asyncpg.Record]] = {}
    for row in contracts:
        rows_of.setdefault(row["customer_id"], []).append(row)
    return {
        product.ref: (product, lines)
        for (_, customer_id), tenant in customers.items()
        for product, lines in read_products(rows_of.get(customer_id, ()), tenant, memory.feeds)
    }


def read_products(
    rows: Iterable[asyncpg.Record],
    tenant: Tenant,
    feeds: Mapping[int, Mapping[int, Feed]] | None = None,
) -> list[tuple[Product, list[Line]]]:
    """Build contract products and their lines from the rows of `load_contracts`.

    feeds: as `Memory.feeds`, None where no events are added: totals are known, and cut.
    """
    products: dict[UUID, tuple[Product, list[Line]]] = {}
    weighted: dict[tuple[UUID, int], list[Line]] = {}
    for row in rows:
        ref = row["contract_product_ref"]
        if ref not in products:
            products[ref] = (_product(row, tenant), [])
        if row["contract_line_ref"] is not None:
            product, lines = products[ref]
            lines.append(
                Line(
                    ref=row["contract_line_ref"],
                    product=product,
                    meter_id=row["meter_id"],
                    pricing_line_id=row["pricing_line_id"],
                    price=_price(row["price"]),
                    aggregation=row["aggregation"] or "SUM",
                    unique_key=row["unique_key"],
                    feeds=None if feeds is None else feeds.get(row["meter_id"]),
                )
            )
            if row["aggregation"] == "TIME_WEIGHTED":
                weighted.setdefault((row["lineage_ref"], row["meter_id"]), []).append(lines[-1])
    for kin in weighted.values():
        for line in kin:
            line.kin = tuple(sorted(kin, key=lambda one: one.product.version))
    return list(products.values())


def _product(row: asyncpg.Record, tenant: Tenant) -> Product:
    product = Product.of(
        ref=row["contract_product_ref"],
        shard_key=row["shard_key"],
        tenant=tenant,
        contract_ref=row["contract_ref"],
        terms=BillingTerms.of_row(row),
        waits_for_call=row["closing"] == "MANUAL",
        version=row["version"],
    )
    product.customer_id = row["customer_id"]
    product.is_pending = row["is_pending"]
    product.bills_events = row["net_terms"] == "DUE_UPON_USAGE"
    return product


@lru_cache(maxsize=1 << 14)
def _price(text: str) -> LinePrice:
    """Read a price; equal ones are one object."""
    return from_json(text)
