"""Roll-ups: sums of usage by customer, meter and hour, for reports to read instead of events.

What a poll adds is written in its own transaction, packed: a few rows of arrays, the tail. Once it
has grown or grown old, a step of the owner folds it into sums, each touched once for many polls.
Sums and tail together are the events, at any moment.
"""

import sys
import time
from array import array
from collections.abc import Iterable, Sequence
from struct import pack
from typing import Final

import msgspec

from rater.amend import EventNow, Version
from rater.fold import Accepted
from rater.owner import Owner
from rater.packing import pack_numeric, pack_quantity
from rater.repository import chunks, queries
from runtime.crashpoints import crashpoint
from runtime.postgres import Connection
from schemas.money import QUANTITY_DIGITS
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
    customer_ids, meter_ids, slots = zip(*entries.sums, strict=True)
    owners = [entries.owners[customer_id] for customer_id in customer_ids]
    shard_keys = [shard_key for _, shard_key in owners]
    integers = (shard_keys, customer_ids, meter_ids, slots, list(entries.counts.values()))
    quantities = [
        pack_quantity(quantity) if count == 1 else pack_numeric(quantity, QUANTITY_DIGITS)
        for quantity, count in zip(entries.sums.values(), entries.counts.values(), strict=True)
    ]
    rows: dict[tuple[int, int], list[int]] = {}
    count = len(owners)
    for index, (tenant_id, shard_key) in enumerate(owners):
        rows.setdefault((tenant_id, place_of(shard_key, count)), []).append(index)
    parts = [_HEADER]
    for (tenant_id, place), indexes in rows.items():
        head = (len(_COLUMNS), 4, partition, 4, tenant_id, 2, place, 8, end_offset)
        parts.append(pack(_ROW, *head))
        parts += [_integers([column[index] for index in indexes]) for column in integers]
        packed = b"".join([quantities[index] for index in indexes])
        parts.append(_array(_NUMERIC_OID, len(indexes), packed))
    parts.append(_TRAILER)
    return b"".join(parts)


def _integers(values: Sequence[int]) -> bytes:
    """Return values as an `integer[]` field with its length; each is behind its own."""
    spread = array("i", (4, 0)) * len(values)
    spread[1::2] = array("i", values)
    if sys.byteorder == "little":
        spread.byteswap()
    return _array(_INTEGER_OID, len(values), spread.tobytes())


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
