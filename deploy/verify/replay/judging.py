"""What becomes of each record: event by event, each one's records in the order of the log."""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from hashlib import blake2b
from typing import Final
from uuid import UUID

from deploy.verify.check import Finding, Scope
from deploy.verify.replay.reading import Passed, Tell
from deploy.verify.replay.sink import Sink, queries
from schemas.periods import Row

ALWAYS: Final = (1 << 63) - 1
"""Until when something counts that nothing has ended."""

Place = tuple[int, int]
"""A partition and an offset."""

_MONTH_SHIFT: Final = 116
_EVERY: Final = 10_000
_ROWS_BETWEEN: Final = 1_000

TABLES: Final[Mapping[str, tuple[str, ...]]] = {
    "replay_event": (
        *("event_ref", "occurred_at", "fingerprint", "rated_at", "origin_offset", "shard_key"),
        *("tenant_id", "customer_id", "meter_id", "origin_partition", "quantity"),
        "additional_data",
    ),
    "replay_version": (
        *("shard_key", "event_ref", "rated_at", "origin_offset", "occurred_at", "recorded_at"),
        *("origin_partition", "tenant_id", "customer_id", "meter_id", "kind", "quantity"),
        *("additional_data", "note", "made_by"),
    ),
    "replay_pending": (
        *("shard_key", "event_ref", "record_offset", "partition", "tenant_id", "record_key"),
        *("value", "appended_at", "origin_partition", "origin_offset"),
    ),
    "replay_conflict": (
        *("shard_key", "event_ref", "partition", "record_offset", "tenant_id", "customer_id"),
        "value",
    ),
    "replay_counted": (
        *("shard_key", "customer_id", "meter_id", "tenant_id", "event_ref", "occurred_at"),
        *("quantity", "additional_data", "value_digest", "since", "until"),
        *("own_meter_id", "factor", "formula", "places"),
    ),
}


@dataclass(kw_only=True)
class Event:
    """An event as it counts at a place in the log. since: from which offset it has been so."""

    row: Row
    occurred_at: datetime
    quantity: Decimal
    additional_data: str | None
    since: int
    is_deleted: bool = False


@dataclass
class Outcomes:
    """What the records of some events come to. rows: by table of the shadow."""

    rows: dict[str, list[tuple[object, ...]]] = field(
        default_factory=lambda: {table: [] for table in TABLES}
    )
    duplicates: Counter[int] = field(default_factory=Counter)
    conflicts: Counter[int] = field(default_factory=Counter)
    amendments: Counter[int] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)


Feeds = dict[int, list[Row]]
"""By meter, in whose lines its events count, and as what."""


class Family:
    """All that is said of one event, under its ref and those that are a month off. Pure."""

    def __init__(self, outcomes: Outcomes, feeds: Feeds) -> None:
        self._outcomes = outcomes
        self._feeds = feeds
        self._events: dict[UUID, Event] = {}
        self._fingerprints: dict[UUID, int] = {}
        self._waiting: list[Row] = []
        self._applied: set[Place] = set()

    def take(self, row: Row) -> None:
        """Take the next record."""
        if row["customer_id"] is None or row["own_tenant_ref"] != row["tenant_ref"]:
            self._say(row, "names a customer that is not there, and is no dead letter")
        elif row["kind"] != "USAGE":
            self._take_amendment(row)
        elif row["meter_id"] is None or row["meter_tenant_id"] != row["tenant_id"]:
            self._say(row, "names a usage product that is not there, and is no dead letter")
        else:
            self._take_use(row)

    def end(self) -> None:
        """Write down what is left to be said."""
        for ref, event in self._events.items():
            self._count(ref, event, ALWAYS)
        for row in self._waiting:
            if not row["is_dead"]:
                self._outcomes.amendments[row["partition"]] += 1
                self._add("replay_pending", self._pending(row))

    def _take_use(self, row: Row) -> None:
        known = self._fingerprints
        ref = next((ref for ref in (row["ref"], row["alias"]) if ref in known), None)
        if ref is not None and known[ref] == row["fingerprint"]:
            self._outcomes.duplicates[row["partition"]] += 1
            return
        if ref is not None:
            self._outcomes.conflicts[row["partition"]] += 1
            place = (row["partition"], row["record_offset"])
            owner = (row["tenant_id"], row["customer_id"], row["value"])
            self._add("replay_conflict", (row["shard_key"], ref, *place, *owner))
            return
        ref = row["ref"]
        known[ref] = row["fingerprint"]
        event = Event(
            row=row,
            occurred_at=row["occurred_at"],
            quantity=row["quantity"],
            additional_data=row["additional_data"],
            since=row["record_offset"],
        )
        self._events[ref] = event
        first_partition, first_offset = origin(row)
        ids = (row["shard_key"], row["tenant_id"], row["customer_id"], row["meter_id"])
        places = (row["fingerprint"], row["record_offset"], first_offset)
        content = (first_partition, row["quantity"], row["additional_data"])
        self._add("replay_event", (ref, row["occurred_at"], *places, *ids, *content))
        for waiting in [one for one in self._waiting if may_mean(one["ref"], ref)]:
            if not waiting["is_dead"]:
                self._waiting.remove(waiting)
                self._apply(ref, event, waiting, row["record_offset"])

    def _take_amendment(self, row: Row) -> None:
        named = row["ref"].int
        near = (named, named - (1 << _MONTH_SHIFT), named + (1 << _MONTH_SHIFT))
        meant = next((UUID(int=ref) for ref in near if self._is_known(ref)), None)
        if meant is not None and not row["is_dead"]:
            self._apply(meant, self._events[meant], row, row["record_offset"])
        elif meant is None:
            self._wait(row)

    def _is_known(self, ref: int) -> bool:
        return 0 <= ref < 1 << 128 and UUID(int=ref) in self._events

    def _wait(self, row: Row) -> None:
        """Let an amendment wait, unless it does already."""
        first = (row["origin_partition"], row["origin_offset"])
        # One that was sent again after it had died is a new one.
        retried = (row["retried_partition"], row["retried_offset"])
        for other in self._waiting:
            is_same = first != (None, None) and first == (
                other["origin_partition"],
                other["origin_offset"],
            )
            is_over = other["is_dead"] and retried == (other["partition"], other["record_offset"])
            if is_same and not is_over and not row["is_dead"]:
                self._outcomes.duplicates[row["partition"]] += 1
                return
        self._waiting.append(row)

    def _apply(self, ref: UUID, event: Event, row: Row, at: int) -> None:
        """Make the next version of an event, which counts from an offset on."""
        if origin(row) in self._applied:
            self._outcomes.duplicates[row["partition"]] += 1
            return
        self._applied.add(origin(row))
        if row["customer_id"] != event.row["customer_id"]:
            self._say(row, "amends another customer's event, and is no dead letter")
        if event.is_deleted and row["kind"] == "UPDATE":
            self._say(row, "changes a deleted event, and is no dead letter")
        self._count(ref, event, at)
        event.is_deleted = event.is_deleted or row["kind"] == "DELETE"
        event.since = at
        if row["occurred_at"] is not None:
            event.occurred_at = row["occurred_at"]
        if row["quantity"] is not None:
            event.quantity = row["quantity"]
        if row["replaces_data"]:
            event.additional_data = row["additional_data"]
        self._outcomes.amendments[row["partition"]] += 1
        first_partition, first_offset = origin(row)
        own = event.row
        places = (row["record_offset"], first_offset, event.occurred_at, row["appended_at"])
        ids = (first_partition, own["tenant_id"], own["customer_id"], own["meter_id"], row["kind"])
        content = (event.quantity, event.additional_data, row["note"], row["made_by"])
        self._add("replay_version", (own["shard_key"], ref, *places, *ids, *content))

    def _count(self, ref: UUID, event: Event, until: int) -> None:
        """Note from where to where an event has counted as it does now."""
        if event.is_deleted:
            return
        row = event.row
        feeds = self._feeds[row["meter_id"]]
        for feed in feeds:
            value = None
            if feed["aggregation"] == "UNIQUE":
                value = value_digest(event.additional_data, feed["unique_key"])
            ids = (row["shard_key"], row["customer_id"], feed["toward_id"], row["tenant_id"])
            content = (event.occurred_at, event.quantity, event.additional_data, value)
            as_what = (row["meter_id"], feed["factor"], feed["formula"], len(feeds))
            self._add("replay_counted", (*ids, ref, *content, event.since, until, *as_what))

    def _pending(self, row: Row) -> tuple[object, ...]:
        place = (row["record_offset"], row["partition"], row["tenant_id"])
        record = (row["record_key"], row["value"], row["appended_at"])
        first = (row["origin_partition"], row["origin_offset"])
        return (row["shard_key"], row["ref"], *place, *record, *first)

    def _add(self, table: str, row: tuple[object, ...]) -> None:
        self._outcomes.rows[table].append(row)

    def _say(self, row: Row, what: str) -> None:
        self._outcomes.broken.append(
            f"partition {row['partition']} offset {row['record_offset']} {what}"
        )


def origin(row: Row) -> Place:
    """Return the place in the log that first held a record."""
    if row["origin_offset"] is None:
        return row["partition"], row["record_offset"]
    return row["origin_partition"], row["origin_offset"]


def may_mean(named: UUID, ref: UUID) -> bool:
    """Tell whether two refs of one family are at most a month apart."""
    return abs((named.int >> _MONTH_SHIFT) - (ref.int >> _MONTH_SHIFT)) <= 1


def value_digest(data: str | None, key: str) -> UUID | None:
    """Return what stands for a value of additional data; None where there is none to count."""
    value = json.loads(data or "{}", parse_int=str, parse_float=str).get(key)
    if isinstance(value, bool):
        value = str(value).lower()
    if not isinstance(value, str):
        return None
    digest = blake2b(value.encode(), digest_size=16, person=b"unique_value")
    return UUID(bytes=digest.digest())


async def judge(scope: Scope, finding: Finding, passed: Passed, tell: Tell) -> Outcomes:
    """Walk all families; what they come to is in the shadow, their counts are returned."""
    outcomes = Outcomes()
    sinks = {table: Sink(scope.connection, table, columns) for table, columns in TABLES.items()}
    for table, sink in sinks.items():
        sink.rows = outcomes.rows[table]
    feeds: Feeds = defaultdict(list)
    for row in await scope.connection.fetch(queries.feeds):
        feeds[row["meter_id"]].append(row)
    family, stem = Family(outcomes, feeds), None
    done = flushed = 0
    async for row in scope.rows(queries.arrivals):
        if row["stem"] != stem:
            family.end()
            if done >= flushed + _ROWS_BETWEEN:
                await _flush(outcomes, sinks, finding)
                flushed = done
            family, stem = Family(outcomes, feeds), row["stem"]
        family.take(row)
        done += 1
        if done % _EVERY == 0:
            tell("judging records", done, passed.records)
    family.end()
    await _flush(outcomes, sinks, finding, is_last=True)
    return outcomes


async def _flush(
    outcomes: Outcomes, sinks: Mapping[str, Sink], finding: Finding, *, is_last: bool = False
) -> None:
    """Write what has gathered."""
    for what in outcomes.broken:
        finding.broken(what)
    outcomes.broken.clear()
    for table, sink in sinks.items():
        if is_last:
            await sink.flush()
        else:
            await sink.flush_full()
        outcomes.rows[table] = sink.rows
