"""Amendments in Postgres: what a poll's ask for, and the rows of what they come to."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import asyncpg

from rater.amend import Amended, EventNow, Known, Limits, Version, amend, concerned
from rater.arrivals import AmendmentArrival, Poll
from rater.fold import Folded, Moves
from rater.memory import Charge, Memory, micros
from rater.reference import load_formulas
from rater.repository import queries
from rater.waiting import Pending, Waiting, meanings
from runtime.postgres import Connection
from schemas.amendment import decode_amendment, kind_of
from schemas.event_ref import shard_key_of
from schemas.money import QUANTITY_DIGITS, Quantity, decimal_to_scaled, scaled_to_decimal
from schemas.retrying import Origin

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_VERSION_COLUMNS: Final = (
    *("shard_key", "event_ref", "rated_at", "origin_offset", "occurred_at", "recorded_at"),
    *("origin_partition", "tenant_id", "customer_id", "meter_id", "kind", "quantity"),
    *("additional_data", "note", "made_by"),
)
_PENDING_COLUMNS: Final = (
    *("shard_key", "event_ref", "record_offset", "partition", "tenant_id", "record_key", "value"),
    *("appended_at", "origin_partition", "origin_offset"),
)


async def load_waiting(source: asyncpg.Pool, partition: int) -> Waiting:
    """Learn which amendments of a partition wait for their events."""
    return Waiting(
        Pending(
            ref=row["event_ref"].int,
            offset=row["record_offset"],
            appended_at=_milliseconds(row["appended_at"]),
            tenant_id=row["tenant_id"],
            origin=_origin(row),
        )
        for row in await source.fetch(queries.load_waiting, partition)
    )


async def amend_poll(
    connection: Connection,
    *,
    partition: int,
    poll: Poll,
    folded: Folded,
    memory: Memory,
    waiting: Waiting,
    limits: Limits,
) -> Amended:
    """Apply a poll's amendments, and those that have waited for its events; write nothing yet."""
    if not poll.amendments and not len(waiting):
        return Amended.empty()
    met = concerned(poll.amendments, folded.accepted, waiting)
    over = poll.last_appended_at - limits.wait_ms
    ending = {one.offset: one for one in waiting.appended_by(over)}
    for row in met:
        ending.update((one.offset, one) for one in waiting.for_event(row.arrival.ref))
    if not poll.amendments and not ending:
        return Amended.empty()
    records = await _load_records(connection, ending.values())
    events = await _load_events(connection, poll.amendments)
    await load_formulas(connection, memory, [event.meter_id for event in events.values()])
    known = Known(
        partition=partition,
        last_appended_at=poll.last_appended_at,
        waiting=waiting,
        limits=limits,
        events=events,
        applied=await _find_applied(connection, [*poll.amendments, *records.values()]),
        records=records,
    )
    return amend(poll.amendments, met, folded.unrated, memory, known)


async def _load_records(
    connection: Connection, pending: Iterable[Pending]
) -> dict[int, AmendmentArrival]:
    """Read the records of waiting amendments, by their offsets."""
    wanted = list(pending)
    if not wanted:
        return {}
    rows = await connection.fetch(
        queries.load_pending_records,
        [shard_key_of(one.ref) for one in wanted],
        [UUID(int=one.ref) for one in wanted],
        [one.offset for one in wanted],
    )
    return {row["record_offset"]: _arrival(row) for row in rows}


def _arrival(row: asyncpg.Record) -> AmendmentArrival:
    value = row["value"]
    kind = kind_of(value)
    assert kind is not None, "only amendments wait"
    return AmendmentArrival(
        offset=row["record_offset"],
        appended_at=_milliseconds(row["appended_at"]),
        amendment=decode_amendment(value, kind),
        key=row["record_key"],
        value=value,
        origin=_origin(row),
    )


async def _load_events(
    connection: Connection, arrivals: Sequence[AmendmentArrival]
) -> dict[int, EventNow]:
    """Read the events that amendments may mean, as they count before this poll."""
    refs = sorted({ref for a in arrivals for ref in meanings(a.amendment.event_ref)})
    if not refs:
        return {}
    keys = [shard_key_of(ref) for ref in refs]
    rows = await connection.fetch(queries.load_amended, keys, [UUID(int=ref) for ref in refs])
    return {row["event_ref"].int: _event(row) for row in rows}


def _event(row: asyncpg.Record) -> EventNow:
    return EventNow(
        ref=row["event_ref"].int,
        shard_key=row["shard_key"],
        tenant_id=row["tenant_id"],
        customer_id=row["customer_id"],
        meter_id=row["meter_id"],
        occurred_at_micros=micros(row["occurred_at"]),
        quantity=Quantity(decimal_to_scaled(row["quantity"], QUANTITY_DIGITS)),
        additional_data=row["additional_data"],
        is_unrated=row["is_unrated"],
        is_deleted=row["kind"] == "DELETE",
    )


async def _find_applied(
    connection: Connection, arrivals: Sequence[AmendmentArrival]
) -> set[Origin]:
    """Return which retried amendments were applied before."""
    claimed = [(shard_key_of(a.amendment.event_ref), a.origin) for a in arrivals if a.origin]
    if not claimed:
        return set()
    rows = await connection.fetch(
        queries.find_applied,
        [key for key, _ in claimed],
        [origin.partition for _, origin in claimed],
        [origin.offset for _, origin in claimed],
    )
    return {Origin(row["origin_partition"], row["origin_offset"]) for row in rows}


async def save_amended(connection: Connection, partition: int, amended: Amended) -> None:
    """Write what amendments come to, but for totals, dead letters and the counters."""
    await _copy(
        connection,
        "usage_event_version",
        _VERSION_COLUMNS,
        [_version_row(version, partition) for version in amended.versions],
    )
    await _copy(
        connection,
        "pending_amendment",
        _PENDING_COLUMNS,
        [_pending_row(one, arrival, partition) for one, arrival in amended.waiting],
    )
    if amended.waited:
        await connection.executemany(
            queries.drop_pending,
            [(shard_key_of(one.ref), UUID(int=one.ref), one.offset) for one in amended.waited],
        )
    await _copy(
        connection,
        "unrated_usage",
        ("shard_key", "event_ref", "tenant_id", "customer_id", "meter_id"),
        [
            (e.shard_key, UUID(int=e.ref), e.tenant_id, e.customer_id, e.meter_id)
            for e in amended.unrated
        ],
    )
    if amended.rated:
        await connection.executemany(
            queries.drop_unrated, [(e.shard_key, UUID(int=e.ref)) for e in amended.rated]
        )


async def _copy(
    connection: Connection, table: str, columns: Sequence[str], rows: list[tuple[object, ...]]
) -> None:
    if rows:
        await connection.copy_records_to_table(table, columns=columns, records=rows)


def _version_row(version: Version, partition: int) -> tuple[object, ...]:
    event, arrival = version.event, version.arrival
    origin = arrival.origin or Origin(partition, arrival.offset)
    return (
        event.shard_key,
        UUID(int=event.ref),
        arrival.offset,
        origin.offset,
        _EPOCH + timedelta(microseconds=event.occurred_at_micros),
        _EPOCH + timedelta(milliseconds=arrival.appended_at),
        origin.partition,
        event.tenant_id,
        event.customer_id,
        event.meter_id,
        arrival.amendment.kind,
        scaled_to_decimal(event.quantity, QUANTITY_DIGITS),
        event.additional_data,
        arrival.amendment.note,
        arrival.amendment.made_by,
    )


def _pending_row(one: Pending, arrival: AmendmentArrival, partition: int) -> tuple[object, ...]:
    return (
        shard_key_of(one.ref),
        UUID(int=one.ref),
        one.offset,
        partition,
        one.tenant_id,
        arrival.key,
        arrival.value,
        _EPOCH + timedelta(milliseconds=one.appended_at),
        *(one.origin or (None, None)),
    )


def keep_waiting(waiting: Waiting, amended: Amended) -> int:
    """Remember what waits once a poll is committed; return how many versions came late.

    Late is a version that moves a charge whose period was closed: its cut has other events.
    """
    for one in amended.waited:
        waiting.remove(one)
    for one, _ in amended.waiting:
        waiting.add(one)
    return sum(any(c.period.last_cut_number for c in v.charges) for v in amended.versions)


def add_up(
    totals: dict[Charge, list[int]], changes: dict[Charge, list[int]]
) -> dict[Charge, list[int]]:
    """Return what uses and amendments add to charges together."""
    if not changes:
        return totals
    both = {charge: list(total) for charge, total in totals.items()}
    for charge, (quantity, count) in changes.items():
        total = both.setdefault(charge, [0, 0])
        total[0] += quantity
        total[1] += count
    return both


def join_moves(moves: Moves, changes: Moves) -> Moves:
    """Return the events that uses and amendments count in or out of charges together."""
    if not changes:
        return moves
    return {c: moves.get(c, []) + changes.get(c, []) for c in moves.keys() | changes.keys()}


def _milliseconds(instant: datetime) -> int:
    return micros(instant) // 1_000


def _origin(row: asyncpg.Record) -> Origin | None:
    if row["origin_offset"] is None:
        return None
    return Origin(row["origin_partition"], row["origin_offset"])
