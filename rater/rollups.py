"""Roll-ups: sums of usage by customer, meter and hour, for reports to read instead of events.

What a poll adds is written in its own transaction, packed: a few rows of arrays, the tail. Once it
has grown or grown old, a step of the owner folds it into sums, each touched once for many polls.
Sums and tail together are the events, at any moment.
"""

import sys
import time
from array import array
from collections.abc import Iterable, Sequence
from itertools import groupby
from struct import pack
from typing import Final

import msgspec

from rater.amend import EventNow, Version
from rater.fold import Accepted
from rater.owner import Owner
from rater.packing import PACKED_QUANTITIES, pack_quantity
from rater.repository import chunks, queries
from runtime.crashpoints import crashpoint
from runtime.postgres import Connection
from schemas.rollup import SLOT_MICROS, place_of

_COLUMNS: Final = (
    *("partition", "tenant_id", "place", "end_offset"),
    *("shard_keys", "customer_ids", "meter_ids", "slots", "event_counts", "quantities"),
)
_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER: Final = b"\xff\xff"
_ROW: Final = ">h ii ii ih iq"
_INTEGER_OID: Final = 23
_NUMERIC_OID: Final = 1700


Key = tuple[int, int, int]
"""What usage is summed up by: ids of a customer and a meter, and a slot."""


class Entries(msgspec.Struct):
    """What a poll adds.

    sums, counts: of quantities, scaled, and of events, by the same keys in the same order.
    owners: by the customer's id, their tenant's id and shard key.
    """

    sums: dict[Key, int]
    counts: dict[Key, int]
    owners: dict[int, tuple[int, int]]


def entries_of(accepted: Iterable[Accepted], versions: Iterable[Version]) -> Entries:
    """Sum up what new events add, and what amendments move. Pure."""
    sums: dict[Key, int] = {}
    counts: dict[Key, int] = {}
    owners: dict[int, tuple[int, int]] = {}
    known = sums.get
    for row in accepted:
        event, customer = row.arrival.event, row.customer
        key = (customer.customer_id, row.meter_id, event.occurred_at_micros // SLOT_MICROS)
        if (quantity := known(key)) is not None:
            sums[key] = quantity + event.quantity
            counts[key] += 1
        else:
            sums[key] = event.quantity
            counts[key] = 1
            owners[key[0]] = (customer.tenant.tenant_id, customer.shard_key)
    entries = Entries(sums, counts, owners)
    for version in versions:
        _move(entries, version.before, -1)
        _move(entries, version.event, 1)
    return entries


def _move(entries: Entries, event: EventNow, sign: int) -> None:
    """Add an event as it counts at a time, or take it away."""
    if event.is_deleted:
        return
    key = (event.customer_id, event.meter_id, event.occurred_at_micros // SLOT_MICROS)
    entries.sums[key] = entries.sums.get(key, 0) + sign * event.quantity
    entries.counts[key] = entries.counts.get(key, 0) + sign
    entries.owners[event.customer_id] = (event.tenant_id, event.shard_key)


def pack_tail(entries: Entries, partition: int, end_offset: int) -> bytes:
    """Return a whole COPY stream of rows of the tail."""
    count = len(entries.sums)
    places = {
        customer_id: (tenant_id, place_of(shard_key, count))
        for customer_id, (tenant_id, shard_key) in entries.owners.items()
    }
    ranks = {customer_id: n for n, customer_id in enumerate(sorted(places, key=places.__getitem__))}
    columns: tuple[Sequence[int], ...] = tuple(zip(*entries.sums, strict=True))
    order = sorted(range(count), key=list(map(ranks.__getitem__, columns[0])).__getitem__)
    customer_ids, meter_ids, slots, counts, sums = (
        list(map(column.__getitem__, order))
        for column in (*columns, list(entries.counts.values()), list(entries.sums.values()))
    )
    shard_keys = [entries.owners[customer_id][1] for customer_id in customer_ids]
    integers = [_spread(c) for c in (shard_keys, customer_ids, meter_ids, slots, counts)]
    quantities = [
        PACKED_QUANTITIES[quantity] if events == 1 else pack_quantity(quantity)
        for quantity, events in zip(sums, counts, strict=True)
    ]
    parts, start = [_HEADER], 0
    for (tenant_id, place), own in groupby(map(places.__getitem__, customer_ids)):
        length = sum(1 for _ in own)
        end = start + length
        head = (len(_COLUMNS), 4, partition, 4, tenant_id, 2, place, 8, end_offset)
        parts.append(pack(_ROW, *head))
        parts += [_array(_INTEGER_OID, length, spread[8 * start : 8 * end]) for spread in integers]
        parts.append(_array(_NUMERIC_OID, length, b"".join(quantities[start:end])))
        start = end
    parts.append(_TRAILER)
    return b"".join(parts)


def _spread(values: Sequence[int]) -> bytes:
    """Return values as items of an `integer[]` field; each is behind its length."""
    spread = array("i", (4, 0)) * len(values)
    spread[1::2] = array("i", values)
    if sys.byteorder == "little":
        spread.byteswap()
    return spread.tobytes()


def _array(oid: int, count: int, items: bytes) -> bytes:
    """Return items as a field: one dimension, no nulls, the type, how many, counted from 1."""
    return pack(">iiiiii", 20 + len(items), 1, 0, oid, count, 1) + items


async def add_to_tail(
    connection: Connection,
    partition: int,
    end_offset: int,
    accepted: Iterable[Accepted],
    versions: Iterable[Version],
) -> int:
    """Write what a poll adds; return how many entries, for `Tail.grow` after commit."""
    entries = entries_of(accepted, versions)
    count = len(entries.sums)
    if not count:
        return 0
    stream = pack_tail(entries, partition, end_offset)
    await connection.copy_to_table(
        "usage_tail", source=chunks(stream), columns=_COLUMNS, format="binary"
    )
    return count


async def step(owner: Owner) -> None:
    """Fold the tail of the owner's partition, if it is due."""
    settings, tail = owner.settings, owner.tail
    if not tail.is_due(settings.rollup_seconds, time.monotonic()):
        return
    partition = owner.state.partition
    async with owner.step() as connection:
        await connection.execute(queries.fold_tail, partition, settings.rollup_events_min)
        await connection.execute(queries.step_partition, partition, 0)
        crashpoint("rater.before_rollup_commit")
    owner.state.steps += 1
    tail.clear()
