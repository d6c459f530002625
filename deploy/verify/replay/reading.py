"""From the log to the shadow: every record read once more, and set down under its event's ref."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg
from aiokafka import ConsumerRecord

from deploy.verify.check import Finding, Scope
from deploy.verify.log import Log, open_log, place_of
from deploy.verify.replay.sink import Sink, queries
from schemas.amendment import Amendment, decode_amendment, kind_of
from schemas.errors import InvalidUsageEvent
from schemas.event_ref import (
    key_digest,
    keyed_event_ref,
    months_around,
    partition_of,
    place_digest,
    shard_key,
    tenant_bits,
    with_month,
)
from schemas.fingerprint import fingerprint
from schemas.money import QUANTITY_DIGITS, scaled_to_text
from schemas.retrying import ORIGIN_HEADER, Origin, decode_origin
from schemas.usage_event import UsageEvent, check_time, decode_record

RECORDS_AT_ONCE: Final = 5_000
"""Records that are in memory at once, decoded."""

FETCH_BYTES: Final = 4 * 1024 * 1024

Tell = Callable[[str, int, int], None]
"""Told of progress: what is being done, how much of it is done, and how much there is."""

#: Verdicts that the record alone does not bear out: they are given.
GIVEN: Final = frozenset(
    {
        *("UNKNOWN_TENANT", "UNKNOWN_CUSTOMER", "UNKNOWN_METER", "FORMULA_FAILED"),
        *("TIMESTAMP_OUT_OF_RANGE", "MONTH_ARCHIVED", "EVENT_UNKNOWN", "EVENT_DELETED"),
        *("TOO_MANY_PENDING", "WRONG_CUSTOMER"),
    }
)

#: Verdicts of amendments that may have waited for their event before: meanwhile, a copy of one was
#: a duplicate.
DIED_WAITING: Final = frozenset(
    {"EVENT_UNKNOWN", "EVENT_DELETED", "WRONG_CUSTOMER", "MONTH_ARCHIVED", "FORMULA_FAILED"}
)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

ARRIVAL: Final = (
    *("stem", "partition", "record_offset", "appended_at", "kind", "ref", "alias", "shard_key"),
    *("customer_ref", "tenant_ref", "meter_ref", "fingerprint", "occurred_at", "quantity"),
    *("additional_data", "replaces_data", "note", "made_by", "origin_partition", "origin_offset"),
    *("is_dead", "record_key", "value"),
)


@dataclass(frozen=True)
class Place:
    """A partition of the log, and what identifies the log."""

    log_id: str
    partition: int
    partitions: int


class Read(NamedTuple):
    """A record with what it says; or why it says nothing."""

    record: ConsumerRecord
    body: UsageEvent | Amendment | None
    error: str = ""


@dataclass
class Passed:
    """What a replay finds in the log. dead, records: by partition."""

    dead: Counter[int] = field(default_factory=Counter)
    skipped: Counter[int] = field(default_factory=Counter)
    records: int = 0


async def read_log(scope: Scope, finding: Finding, tell: Tell) -> Passed:
    """Read what was rated, from the first offset on, into the shadow.

    Raises CannotCheck when the log does not go back so far, or can't be read.
    """
    async with open_log(scope, "read_committed", FETCH_BYTES) as log:
        reading = _Reading(scope, finding)
        await reading.learn_tenants()
        total = sum(row["next_offset"] - row["first_offset"] for row in log.partitions)
        done = 0
        for row in log.partitions:
            place = Place(str(row["log_id"]), row["partition"], row["partitions"])
            async for records, first, end in _chunks(log, row):
                await reading.take(place, records, first, end)
                done += end - first
                tell("reading the log", done, total)
        await reading.finish()
    return reading.passed


async def _chunks(
    log: Log, row: asyncpg.Record
) -> AsyncIterator[tuple[list[ConsumerRecord], int, int]]:
    """Yield the records of a partition with the stretches [first, end) that they are all of."""
    first, end = row["first_offset"], row["next_offset"]
    records: list[ConsumerRecord] = []
    if first < end:
        async for record in log.records(place_of(row), first, end):
            records.append(record)
            if len(records) == RECORDS_AT_ONCE:
                yield records, first, record.offset + 1
                records, first = [], record.offset + 1
        yield records, first, end


class _Reading:
    """One pass over the log."""

    def __init__(self, scope: Scope, finding: Finding) -> None:
        connection = scope.connection
        self._connection = connection
        self._finding = finding
        self._arrivals = Sink(connection, "replay_arrival", ARRIVAL)
        self._gaps = Sink(connection, "replay_skipped", ("partition", "first_offset", "end_offset"))
        self._tenants: list[str] = []
        self.passed = Passed()

    async def learn_tenants(self) -> None:
        """Learn whose records without a name may be."""
        rows = await self._connection.fetch(queries.tenants)
        self._tenants = [row["tenant_ref"] for row in rows]

    async def take(
        self, place: Place, records: Sequence[ConsumerRecord], first: int, end: int
    ) -> None:
        """Take all there is in a stretch of a partition."""
        partition = place.partition
        self.passed.records += len(records)
        for gap_first, gap_end in _gaps([record.offset for record in records], first, end):
            self.passed.skipped[partition] += gap_end - gap_first
            self._gaps.rows.append((partition, gap_first, gap_end))
        dead = await self._dead_letters(partition, first, end)
        read = [read_record(record, place) for record in records]
        named = await self._tenants_of(read)
        believed = await self._origins(records)
        for one in read:
            verdict = dead.pop(one.record.offset, None)
            if verdict is not None:
                self._check_verdict(partition, one, verdict)
                self.passed.dead[partition] += 1
            if verdict is None or may_have_waited(one, verdict["reason"]):
                origin = believed.get((partition, one.record.offset))
                self._add(place, one, named, origin, is_dead=verdict is not None)
        for offset in dead:
            self._broken(partition, offset, "is a dead letter without a record")
        await self._arrivals.flush_full()
        await self._gaps.flush_full()

    def _add(
        self,
        place: Place,
        one: Read,
        named: Mapping[str, str],
        origin: Origin | None,
        *,
        is_dead: bool,
    ) -> None:
        """Set down a record that is no dead letter, or one that died waiting."""
        tenant_ref = None
        if one.body is not None:
            tenant_ref = one.body.tenant_ref or named.get(one.body.customer_ref)
        if tenant_ref is not None:
            self._arrivals.rows.append(arrival_row(one, place, tenant_ref, origin, is_dead=is_dead))
        elif not is_dead:
            why = "is nobody's" if one.body else f"can't be rated: {one.error}"
            self._broken(place.partition, one.record.offset, f"{why}; and it is no dead letter")

    async def finish(self) -> None:
        """Write what is left."""
        await self._arrivals.flush()
        await self._gaps.flush()

    async def _dead_letters(
        self, partition: int, first: int, end: int
    ) -> dict[int, asyncpg.Record]:
        rows = await self._connection.fetch(queries.dead_letters, partition, first, end)
        return {row["record_offset"]: row for row in rows}

    async def _tenants_of(self, read: Sequence[Read]) -> Mapping[str, str]:
        """Return whose the customers are that records without a tenant name."""
        customers = {one.body.customer_ref for one in read if one.body and not one.body.tenant_ref}
        if len(self._tenants) == 1:
            return dict.fromkeys(customers, self._tenants[0])
        if not customers:
            return {}
        rows = await self._connection.fetch(queries.tenants_of, list(customers))
        return {row["customer_ref"]: row["tenant_ref"] for row in rows}

    async def _origins(self, records: Sequence[ConsumerRecord]) -> Mapping[tuple[int, int], Origin]:
        """Return the first places of those records that dead letters bear out."""
        claimed: dict[tuple[int, int], Origin] = {}
        values: dict[tuple[int, int], bytes | None] = {}
        for record in records:
            said = [value for name, value in record.headers if name == ORIGIN_HEADER]
            origin = decode_origin(said[0]) if len(said) == 1 else None
            if origin is not None:
                claimed[record.partition, record.offset] = origin
                values[record.partition, record.offset] = record.value
        if not claimed:
            return {}
        places = sorted(set(claimed.values()))
        columns = [place.partition for place in places], [place.offset for place in places]
        rows = await self._connection.fetch(queries.origins, *columns)
        known = {Origin(row["partition"], row["record_offset"]): row["value"] for row in rows}
        return {
            place: origin
            for place, origin in claimed.items()
            if origin in known and known[origin] == values[place]
        }

    def _check_verdict(self, partition: int, one: Read, verdict: asyncpg.Record) -> None:
        """Hold a dead letter against its record: the same bytes, and no reason made up."""
        record = one.record
        stored = (verdict["record_key"], verdict["value"], verdict["appended_at"])
        if stored != (record.key, record.value, _instant_of_millis(record.timestamp)):
            self._broken(partition, record.offset, "is a dead letter of other bytes")
        elif one.body is not None and verdict["reason"] not in GIVEN:
            self._broken(
                partition, record.offset, f"is dead as {verdict['reason']}, yet it is read"
            )

    def _broken(self, partition: int, offset: int, what: str) -> None:
        self._finding.broken(f"partition {partition} offset {offset} {what}")


def _gaps(offsets: Sequence[int], first: int, end: int) -> list[tuple[int, int]]:
    """Return the ranges of a stretch that hold no record."""
    gaps: list[tuple[int, int]] = []
    for offset in (*offsets, end):
        if first < offset:
            gaps.append((first, offset))
        first = offset + 1
    return gaps


def read_record(record: ConsumerRecord, place: Place) -> Read:
    """Read a record by the grammar: a use, or else an amendment."""
    value = record.value
    if value is None:
        return Read(record, None, "it has no value")
    kind = kind_of(value)
    try:
        body: UsageEvent | Amendment = (
            decode_record(value) if kind is None else decode_amendment(value, kind)
        )
        if body.occurred_at_micros is not None:
            check_time(body.occurred_at_micros, record.timestamp * 1_000)
    except InvalidUsageEvent as error:
        return Read(record, None, str(error))
    home = partition_of(shard_key(body.customer_ref), place.partitions)
    if record.key != body.customer_ref.encode() or home != place.partition:
        return Read(record, None, "it lies in another partition than its customer's")
    return Read(record, body)


def may_have_waited(one: Read, reason: str) -> bool:
    """Tell whether a dead letter is an amendment that may have waited before it died."""
    return isinstance(one.body, Amendment) and reason in DIED_WAITING


def arrival_row(
    one: Read, place: Place, tenant_ref: str, origin: Origin | None, *, is_dead: bool
) -> tuple[object, ...]:
    """Return the row of `replay_arrival`."""
    record, body = one.record, one.body
    assert body is not None
    own = origin or Origin(place.partition, record.offset)
    kind = body.kind if isinstance(body, Amendment) else "USAGE"
    if isinstance(body, Amendment):
        ref, alias = body.event_ref, None
        meter, digest, note = None, None, (body.replaces_data, body.note, body.made_by)
    else:
        ref, alias = _refs(body, place, tenant_ref, own)
        meter, digest, note = body.usage_product_ref, fingerprint(body), (False, None, None)
    return (
        *(UUID(int=with_month(ref, 0)), place.partition, record.offset),
        *(_instant_of_millis(record.timestamp), kind, UUID(int=ref)),
        *(None if alias is None else UUID(int=alias), shard_key(body.customer_ref)),
        *(body.customer_ref, tenant_ref, meter, digest, _instant(body.occurred_at_micros)),
        *(_decimal(body.quantity), body.additional_data, *note),
        *(origin or (None, None)),
        *(is_dead, record.key, record.value),
    )


def _refs(event: UsageEvent, place: Place, tenant_ref: str, own: Origin) -> tuple[int, int | None]:
    """Return an event's ref, and the one that it would have in a month close by."""
    key = event.idempotency_key
    digest = (
        place_digest(place.log_id, *own)
        if key is None
        else key_digest(tenant_ref, event.customer_ref, key)
    )
    month, neighbour = months_around(event.occurred_at_micros)
    ref = keyed_event_ref(month, shard_key(event.customer_ref), tenant_bits(tenant_ref), digest)
    return ref, None if neighbour is None or key is None else with_month(ref, neighbour)


def _instant(micros: int | None) -> datetime | None:
    return None if micros is None else _EPOCH + timedelta(microseconds=micros)


def _instant_of_millis(millis: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=millis)


def _decimal(quantity: int | None) -> Decimal | None:
    return None if quantity is None else Decimal(scaled_to_text(quantity, QUANTITY_DIGITS))
