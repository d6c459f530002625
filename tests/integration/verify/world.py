"""A small world whose books are right: made by the real rater and invoicer, then left alone.

Two tenants, currencies of two and three digits, four customers. Usage of all kinds, of meters that
add up in several ways, in order and out of order, before a contract and after a closing, twice and
in conflict, unreadable, and from a producer with transactions, one of them aborted; changed and
deleted, at times before it came. One contract is signed after its usage came.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from deploy.local.servers import Servers
from schemas.topics import USAGE_EVENTS
from tests.factories import (
    MadeContract,
    MadeCustomer,
    MadeMeter,
    MadePricing,
    MadeTenant,
    ask_to_close,
    make_contract,
    make_customer,
    make_meter,
    make_pricing,
    make_tenant,
)
from tests.integration.verify.money import settle
from tests.integration.verify.prices import (
    BY_THE_TOTAL,
    CALLS,
    MACHINES,
    MESSAGES,
    PLACES,
    SEATS,
    SET_UP,
    STORAGE,
    TRIPS,
)
from tests.processes import Service, running
from tests.rating import Change, Use

WAIT_SECONDS_MAX = 60.0
CLOSE_THROUGH = date(2026, 9, 30)
CONTRACT_START = date(2026, 8, 10)
FIRST_ISSUE = date(2026, 9, 1)
USAGE_START = datetime(2026, 8, 5, tzinfo=UTC)
USAGE_DAYS = 70
EVENTS_PER_METER = 30
METERS = {
    "calls": "SUM",
    "messages": "COUNT",
    "storage": "SUM",
    "idle": "SUM",
    "machines": "TIME_WEIGHTED",
    "load": "RUNNING_AVERAGE",
    "users": "UNIQUE",
    "minutes": "SUM",
    "peak": "MAX",
    "level": "LAST",
    "speed": "AVERAGE",
    "trips": "COUNT",
    "archives": "SUM",
    "refunds": "COUNT",
    "bursts": "MAX",
}
#: Of the last ones, which nothing prices: the meter that each counts toward, and times what.
TOWARD = {
    "archives": ("storage", "0.333333333333333333"),
    "refunds": ("archives", "-1"),
    "bursts": ("load", "2.5"),
}
COMPUTED = ("minutes", "bursts")
FORMULA = "if(quantity < 5, quantity / 3, quantity * coalesce(additional_report_data.weight, 2))"

Record = tuple[str, bytes]
"""The customer_ref that is a record's key, and its value."""


@dataclass(frozen=True, kw_only=True)
class Shop:
    """A tenant, what it measures, and its two price lists."""

    tenant: MadeTenant
    currency: str
    timezone: str
    meters: dict[str, MadeMeter]
    pricings: tuple[MadePricing, MadePricing]


@dataclass(frozen=True, kw_only=True)
class Buyer:
    """A customer, and how many of the shop's price lists its contract is about."""

    customer: MadeCustomer
    shop: Shop
    pricings: int


class Builder:
    """Fills an installation: reference rows in SQL, usage into Kafka, the rest by the services."""

    def __init__(self, connection: asyncpg.Connection, kafka: str, topic: str) -> None:
        self.connection = connection
        self.kafka = kafka
        self.topic = topic
        self.random = random.Random(20261122)

    async def open_shop(self, ref: str, currency: str, timezone: str, numbers: str) -> Shop:
        """Make a tenant with an entity, meters and prices. The ref is fixed: so are its bits."""
        made = await make_tenant(self.connection, currency)
        await self.connection.execute(
            "UPDATE tenant SET tenant_ref = $2 WHERE tenant_id = $1", made.tenant_id, ref
        )
        await self.connection.execute(
            "UPDATE entity SET currency = $2, timezone = $3, document_number_format = $4 "
            "WHERE entity_id = $1",
            *(made.entity_id, currency, timezone, numbers),
        )
        tenant = replace(made, ref=ref)
        meters: dict[str, MadeMeter] = {}
        for name, aggregation in METERS.items():
            parent, factor = TOWARD.get(name, (None, None))
            meters[name] = await make_meter(
                self.connection,
                tenant,
                aggregation=aggregation,
                name=name,
                unique_key="user" if aggregation == "UNIQUE" else None,
                formula=FORMULA if name in COMPUTED else None,
                relation="CREDIT" if factor == "-1" else "DEBIT",
                parent_meter_id=None if parent is None else meters[parent].meter_id,
                parent_factor=None if factor is None else Decimal(factor),
            )
        usage = [(meters["calls"], CALLS), (meters["messages"], MESSAGES)]
        platform = [(None, SEATS), (None, SET_UP), (meters["storage"], STORAGE)]
        platform += [(meters["storage"], price) for price in BY_THE_TOTAL]
        platform += [(meters["machines"], MACHINES), (meters["load"], BY_THE_TOTAL[-1])]
        platform += [(meters["users"], STORAGE), (meters["minutes"], STORAGE)]
        platform += [(meters[name], STORAGE) for name in ("peak", "level", "speed")]
        platform += [(meters["trips"], TRIPS), (meters["trips"], PLACES)]
        pricings = (
            await make_pricing(self.connection, tenant, usage, minimum_fee=30),
            await make_pricing(self.connection, tenant, platform),
        )
        return Shop(
            tenant=tenant, currency=currency, timezone=timezone, meters=meters, pricings=pricings
        )

    async def add_buyer(self, shop: Shop, number: int, pricings: int) -> Buyer:
        customer = await make_customer(
            self.connection,
            shop.tenant,
            customer_ref=f"c0000000-0000-4000-8000-{number:012}",
            currency=shop.currency,
        )
        return Buyer(customer=customer, shop=shop, pricings=pricings)

    async def sign(self, buyer: Buyer) -> MadeContract:
        """Make a contract whose first period is partial."""
        return await make_contract(
            self.connection,
            buyer.customer,
            buyer.shop.pricings[: buyer.pricings],
            start=CONTRACT_START,
            issue_day=FIRST_ISSUE,
            currency=buyer.shop.currency,
            timezone=buyer.shop.timezone,
            tax=19,
            discount=5,
        )

    def usage(self, buyers: Sequence[Buyer]) -> list[Record]:
        """Make everybody's events in any order; of ten one comes twice, of twenty one differs.

        Of fifteen, five are amended: one before it comes, two deleted.
        """
        groups: list[list[Record]] = []
        for buyer in buyers:
            ref = buyer.customer.ref
            for meter in METERS:
                for number in range(EVENTS_PER_METER):
                    days = self.random.random() * USAGE_DAYS
                    at = USAGE_START + timedelta(days=days, microseconds=number)
                    quantity = f"{self.random.randint(-2, 20)}.{self.random.getrandbits(29):09d}"
                    key = f"{meter}-{number}"
                    # A copy follows its event, or it would be the event.
                    copies = [event(buyer, meter, at, quantity, key)] * (1 + (number % 10 == 0))
                    if number % 20 == 5:
                        copies.append(event(buyer, meter, at, "1", key))
                    use = Use(buyer.customer, buyer.shop.meters[meter], at=f"{at}", key=key)
                    early, late = amendments(use, number)
                    groups.append([(ref, value) for value in early + copies + late])
            never = Use(buyer.customer, buyer.shop.meters["calls"], key="never")
            groups.append([(ref, Change(never, quantity="7").record()[1])])
            groups.append([(ref, b"{ this is no JSON")])
        self.random.shuffle(groups)
        return [record for group in groups for record in group]

    async def send(
        self, records: Sequence[Record], *, transaction: str = "", end: str = ""
    ) -> None:
        """Write records as a native producer does; end: how its transaction ends, if it has one."""
        producer = AIOKafkaProducer(
            bootstrap_servers=self.kafka, transactional_id=transaction or None
        )
        await producer.start()
        try:
            if transaction:
                await producer.begin_transaction()
            for key, value in records:
                await producer.send(self.topic, value, key=key.encode())
            await producer.flush()
            if end == "commit":
                await producer.commit_transaction()
            elif end == "abort":
                await producer.abort_transaction()
        finally:
            await producer.stop()

    async def send_transactions(self, buyers: Sequence[Buyer]) -> None:
        """Write three events of each customer that count, and three that are taken back."""
        for end in ("commit", "abort", "commit"):
            at = USAGE_START + timedelta(days=30)
            records = [
                (buyer.customer.ref, event(buyer, "calls", at, "2.5", None))
                for buyer in buyers
                for _ in range(3)
            ]
            await self.send(records, transaction=f"{self.topic}-{end}", end=end)

    async def wait_rated(self) -> None:
        """Wait until rating has passed the last readable record, and all tasks are done."""
        places = [TopicPartition(self.topic, partition) for partition in range(4)]
        consumer = AIOKafkaConsumer(bootstrap_servers=self.kafka)
        await consumer.start()
        try:
            ends = await consumer.end_offsets(places)
        finally:
            await consumer.stop()

        async def is_rated() -> bool:
            rows = await self.connection.fetch("SELECT partition, next_offset FROM rater_partition")
            return all(r["next_offset"] >= ends[places[r["partition"]]] for r in rows) and (
                not await self.value(
                    "SELECT count(*) FROM partition_change LEFT JOIN partition_task task "
                    "USING (partition, reference_version) WHERE task.state IS DISTINCT FROM 'DONE'"
                )
            )

        await wait_until(is_rated, "everything is rated")

    async def wait_invoiced(self) -> None:
        """Wait until every cut is on an issued document that has its files."""

        async def is_invoiced() -> bool:
            return bool(
                await self.value(
                    "SELECT (SELECT count(*) FROM period_cut) > 0 "
                    "AND (SELECT count(*) FROM period_cut) = (SELECT count(*) FROM document_input) "
                    "AND (SELECT 2 * count(*) FROM document) = (SELECT count(*) FROM document_file)"
                    "AND NOT EXISTS (SELECT FROM rater_outbox)"
                )
            )

        await wait_until(is_invoiced, "everything is invoiced")

    async def value(self, statement: str) -> Any:  # noqa: ANN401 - whatever was asked for
        return await self.connection.fetchval(statement)


def event(buyer: Buyer, meter: str, at: datetime, quantity: str, key: str | None) -> bytes:
    """Write the record of an event."""
    fields: dict[str, object] = {
        "v": 1,
        "kind": "USAGE",
        "tenant_ref": buyer.shop.tenant.ref,
        "timestamp": at.isoformat(),
        "customer_ref": buyer.customer.ref,
        "usage_product_ref": buyer.shop.meters[meter].ref,
        "quantity": quantity,
    }
    if key is not None:
        fields["idempotency_key"] = key
    if meter == "users":
        fields["additional_report_data"] = {"user": len(quantity) + at.day}
    if meter == "trips" and at.day % 3:
        fields["additional_report_data"] = {"place": "north" if at.day % 3 == 1 else 3}
    if meter in COMPUTED and at.day % 2:
        fields["additional_report_data"] = {"weight": at.day}
    return msgspec.json.encode(fields)


def amendments(use: Use, number: int) -> tuple[list[bytes], list[bytes]]:
    """Write the records that amend an event, those before it and those after it."""
    moved = datetime.fromisoformat(use.at) + timedelta(days=25 if number > 20 else -25)
    changes = {
        2: [Change(use, quantity="17.25")],
        3: [Change(use, at=moved.isoformat(), note="stamped wrongly")],
        4: [Change(use, is_delete=True)],
        6: [Change(use, quantity="3", data={"reason": "twice"}), Change(use, is_delete=True)],
        7: [Change(use, quantity="8.125")],
    }.get(number % 15, [])
    records = [change.record()[1] for change in changes]
    return (records, []) if number % 15 == 7 else ([], records)


async def wait_until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait for a condition, for a bounded time."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + WAIT_SECONDS_MAX
    while not await condition():
        assert loop.time() < deadline, f"waited {WAIT_SECONDS_MAX} s until {what}"
        await asyncio.sleep(0.05)


async def build_world(servers: Servers, database: str, topic_prefix: str, logs: Path) -> None:
    """Fill an empty database and its empty log; nothing runs and nothing is connected after."""
    env = {
        "METERLINE_KAFKA": servers.kafka,
        "METERLINE_POSTGRES": database,
        "METERLINE_TOPIC_PREFIX": topic_prefix,
    }
    rolls = {"METERLINE_RATER_ROLLUP_SECONDS": "0.2", "METERLINE_RATER_ROLLUP_EVENTS_MIN": "1"}
    rater, invoicer = Service("rater", env | rolls, logs), Service("invoicer", env, logs)
    async with _connected(database) as connection:
        builder = Builder(connection, servers.kafka, topic_prefix + USAGE_EVENTS)
        buyers = await _add_buyers(builder)
        contracts = [await builder.sign(buyer) for buyer in buyers[:-1]]
        records = builder.usage(buyers)
        # The last fifth comes after the closing: late usage, and that of the running period.
        before, after = records[: len(records) * 4 // 5], records[len(records) * 4 // 5 :]
        with running(rater, invoicer):
            await asyncio.to_thread(rater.start)
            await builder.send(before)
            await builder.send_transactions(buyers)
            await builder.wait_rated()
            contracts.append(await builder.sign(buyers[-1]))
            await builder.wait_rated()
            await asyncio.to_thread(invoicer.start)
            for contract in contracts:
                await ask_to_close(connection, contract, CLOSE_THROUGH)
            await builder.wait_rated()
            await builder.wait_invoiced()
            await settle(connection, buyers[1].customer.ref, wait_until)
            await builder.send(after)
            await builder.wait_rated()


async def _add_buyers(builder: Builder) -> list[Buyer]:
    """Make two shops and their customers."""
    dollars = await builder.open_shop(
        "0a6f1c52-2f8f-4a5e-9d0b-111111111111", "USD", "America/New_York", "INV-{year}-{number:03}"
    )
    dinars = await builder.open_shop(
        "7be2d1aa-93c4-4c3b-8f6e-222222222222", "KWD", "Asia/Kuwait", "K{number}"
    )
    return [
        await builder.add_buyer(dollars, 1, 2),
        await builder.add_buyer(dinars, 2, 2),
        await builder.add_buyer(dollars, 3, 1),
        await builder.add_buyer(dollars, 4, 1),
    ]


@asynccontextmanager
async def _connected(database: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database)
    try:
        yield connection
    finally:
        await connection.close()
