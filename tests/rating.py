"""A log and what it must come to: producing usage, awaiting its rating, and a plain oracle.

The oracle knows nothing of refs, polls or caches: it walks the events in order and adds fractions.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from fractions import Fraction
from typing import Any

import asyncpg
from aiokafka import AIOKafkaProducer

from deploy.verify.report import see_counted
from deploy.verify.rollups import queries as rollups
from schemas.event_ref import (
    key_digest,
    keyed_event_ref,
    month_index,
    ref_text,
    tenant_bits,
)
from schemas.topics import USAGE_EVENTS
from tests.factories import MadeContract, MadeCustomer, MadeMeter

DEADLINE_SECONDS = 60.0
#: What another run writes differently.
CLOCK_COLUMNS = {
    ("usage_conflict", "recorded_at"),
    ("period_cut", "cut_at"),
    ("period_cut", "cut_offset"),
    ("period_cut", "dead_letters"),
    ("period_cut", "waiting_amendments"),
}
TABLES = (
    "usage_event", "usage_event_version", "pending_amendment", "unrated_usage", "usage_conflict",
    "dead_letter", "skipped_range", "charge", "billing_period", "period_cut", "charge_cut",
)  # fmt: skip


@dataclass(frozen=True)
class Use:
    """One use, as a client states it."""

    customer: MadeCustomer
    meter: MadeMeter
    quantity: str = "1"
    at: str = "2024-01-15T12:00:00Z"
    key: str | None = None
    data: Mapping[str, Any] | None = None
    names_tenant: bool = True

    def record(self) -> tuple[bytes, bytes]:
        """Return the key and the value of its record."""
        value: dict[str, Any] = {
            "v": 1,
            "kind": "USAGE",
            "timestamp": self.at,
            "customer_ref": self.customer.ref,
            "usage_product_ref": self.meter.ref,
            "quantity": self.quantity,
        }
        if self.names_tenant:
            value["tenant_ref"] = self.customer.tenant.ref
        if self.data is not None:
            value["additional_report_data"] = self.data
        if self.key is not None:
            value["idempotency_key"] = self.key
        return self.customer.ref.encode(), json.dumps(value).encode()

    @property
    def event_ref(self) -> str:
        """The ref of a use that has a key."""
        assert self.key is not None
        customer = self.customer
        micros = int(datetime.fromisoformat(self.at).astimezone(UTC).timestamp()) * 1_000_000
        digest = key_digest(customer.tenant.ref, customer.ref, self.key)
        place = month_index(micros), customer.shard_key, tenant_bits(customer.tenant.ref)
        return ref_text(keyed_event_ref(*place, digest))


@dataclass(frozen=True)
class Change:
    """An amendment of a keyed use, as a client states it; what is None stays.

    event_ref: names the event otherwise than by the use's own ref.
    """

    use: Use
    quantity: str | None = None
    at: str | None = None
    data: Mapping[str, Any] | None = None
    is_delete: bool = False
    note: str | None = None
    by: str | None = None
    event_ref: str | None = None

    def record(self) -> tuple[bytes, bytes]:
        """Return the key and the value of its record."""
        customer = self.use.customer
        fields = {
            "v": 1,
            "kind": "DELETE" if self.is_delete else "UPDATE",
            "tenant_ref": customer.tenant.ref,
            "customer_ref": customer.ref,
            "event_ref": self.event_ref or self.use.event_ref,
            "timestamp": self.at,
            "quantity": self.quantity,
            "additional_report_data": self.data,
            "note": self.note,
            "by": self.by,
        }
        value = {name: field for name, field in fields.items() if field is not None}
        return customer.ref.encode(), json.dumps(value).encode()

    def applied(self, use: Use | None) -> Use | None:
        """Return what the use is after it; None, once it is deleted."""
        if use is None or self.is_delete:
            return None
        return replace(
            use,
            quantity=use.quantity if self.quantity is None else self.quantity,
            at=use.at if self.at is None else self.at,
            data=use.data if self.data is None else self.data,
        )


Story = Sequence[Use | Change]


def as_counted(story: Story) -> list[Use]:
    """Walk through a story in order; return the uses that count in the end, as they count.

    A key counts once. What comes before its use waits for it.
    """
    uses: dict[tuple[str, str], Use | None] = {}
    waiting: dict[tuple[str, str], list[Change]] = {}
    for number, step in enumerate(story):
        use = step.use if isinstance(step, Change) else step
        name = (use.customer.ref, f"#{number}" if use.key is None else use.key)
        if isinstance(step, Use):
            if name not in uses:
                uses[name] = step
                for change in waiting.pop(name, ()):
                    uses[name] = change.applied(uses[name])
        elif name in uses:
            uses[name] = step.applied(uses[name])
        else:
            waiting.setdefault(name, []).append(step)
    return [use for use in uses.values() if use is not None]


async def produce(kafka: str, topic_prefix: str, story: Iterable[Use | Change]) -> int:
    """Append records as any Kafka client would: keyed by the customer, no more known than that."""
    return await produce_raw(kafka, topic_prefix, [step.record() for step in story])


async def produce_raw(
    kafka: str,
    topic_prefix: str,
    records: Sequence[tuple[bytes | None, bytes | None]],
    partition: int | None = None,
) -> int:
    producer = AIOKafkaProducer(bootstrap_servers=kafka, enable_idempotence=True, linger_ms=5)
    await producer.start()
    try:
        sent = [
            await producer.send(topic_prefix + USAGE_EVENTS, value, key=key, partition=partition)
            for key, value in records
        ]
        await asyncio.gather(*sent)
    finally:
        await producer.stop()
    return len(sent)


async def eventually(
    condition: Callable[[], Awaitable[bool]], what: str, seconds: float = DEADLINE_SECONDS
) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.02)


async def await_offsets(connection: asyncpg.Connection, total: int) -> None:
    """Wait until so many offsets of the whole log are passed."""

    async def passed() -> bool:
        at = await connection.fetchval("SELECT sum(next_offset) FROM rater_partition")
        assert at <= total, f"{at} of {total} offsets"
        return bool(at == total)

    await eventually(passed, f"{total} offsets rated")


async def await_tasks(connection: asyncpg.Connection) -> None:
    """Wait until every change is taken, every task done, and every cut digested."""

    async def done() -> bool:
        return not await connection.fetchval(
            "SELECT (SELECT count(*) FROM partition_change c LEFT JOIN partition_task t "
            "USING (partition, reference_version) WHERE t.state IS DISTINCT FROM 'DONE') "
            "+ (SELECT count(*) FROM undigested_cut)"
        )

    await eventually(done, "all tasks done")


async def counters(connection: asyncpg.Connection) -> dict[str, int]:
    """Return what became of the records, over all partitions."""
    row = await connection.fetchrow(
        "SELECT sum(rated)::int AS rated, sum(unrated)::int AS unrated, "
        "sum(duplicates)::int AS duplicates, sum(conflicts)::int AS conflicts, "
        "sum(dead_letters)::int AS dead_letters, sum(skipped)::int AS skipped, "
        "sum(amendments)::int AS amendments "
        "FROM rater_partition"
    )
    assert row is not None
    return {name: count for name, count in row.items() if count}


Totals = dict[tuple[str, date], tuple[Fraction, int, Fraction]]


async def charges(connection: asyncpg.Connection) -> Totals:
    """Return every charge by line and first day: its quantity, count and amount."""
    rows = await connection.fetch(
        "SELECT c.contract_line_ref::text, p.start_date, c.quantity, c.event_count, c.amount "
        "FROM charge c JOIN billing_period p USING (shard_key, period_ref)"
    )
    return {(r[0], r[1]): (Fraction(r[2]), r[3], Fraction(r[4])) for r in rows}


def expected_charges(
    uses: Iterable[Use],
    contracts: Iterable[MadeContract],
    lines: Mapping[str, tuple[MadeMeter, Mapping[str, Any]]],
) -> Totals:
    """Return the charges that uses come to, under monthly contracts in UTC without an end.

    lines: for each contract line what it measures and its price. Copies of a key count once.
    """
    totals: dict[tuple[str, date], list[Fraction]] = {}
    seen: set[tuple[str, str]] = set()
    for use in uses:
        if use.key is not None:
            if (use.customer.ref, use.key) in seen:
                continue
            seen.add((use.customer.ref, use.key))
        month = datetime.fromisoformat(use.at).date().replace(day=1)
        for contract in contracts:
            for ref in [ref for refs in contract.line_refs for ref in refs]:
                meter, _ = lines.get(ref, (None, {}))
                if contract.customer.ref == use.customer.ref and meter == use.meter:
                    total = totals.setdefault((ref, month), [Fraction(0), Fraction(0)])
                    total[0] += 1 if use.meter.aggregation == "COUNT" else Fraction(use.quantity)
                    total[1] += 1
    return {
        place: (quantity, int(count), price_of(lines[place[0]][1], quantity))
        for place, (quantity, count) in totals.items()
    }


def price_of(price: Mapping[str, Any], quantity: Fraction) -> Fraction:
    """Price a total the slow way."""
    if price["model"] == "PER_UNIT":
        return quantity * Fraction(price["price"])
    assert price["model"] == "GRADUATED"
    amount, below, magnitude = Fraction(0), Fraction(0), abs(quantity)
    for number, tier in enumerate(price["tiers"]):
        if number and magnitude <= below:
            break
        top = magnitude if tier["up_to"] is None else min(magnitude, Fraction(tier["up_to"]))
        amount += (top - below) * Fraction(tier["unit_price"]) + Fraction(tier["flat_fee"])
        below = top if tier["up_to"] is None else Fraction(tier["up_to"])
    return -amount if quantity < 0 else amount


async def broken_sums(connection: asyncpg.Connection, tenant: int | None = None) -> list[str]:
    """Return which sums of usage are not what their events come to, as `verify` finds them."""
    found: list[str] = []
    transaction = connection.transaction()
    await transaction.start()
    try:
        await see_counted(connection)
        for statement in (rollups.sums_broken, rollups.customers_broken, rollups.places_broken):
            found += [row["witness"] for row in await connection.fetch(statement, tenant)]
    finally:
        await transaction.rollback()
    return found


async def snapshot(connection: asyncpg.Connection) -> dict[str, list[tuple[Any, ...]]]:
    """Return every row that rating has written, without the clock's columns, in order."""
    found = {}
    for table in TABLES:
        rows = await connection.fetch(f"SELECT * FROM {table}")
        found[table] = sorted(
            tuple(str(value) for name, value in row.items() if (table, name) not in CLOCK_COLUMNS)
            for row in rows
        )
    return found
