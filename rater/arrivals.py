"""What a stretch of the log holds, decoded: uses, amendments, dead letters and gaps."""

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from schemas.amendment import Amendment
from schemas.retrying import ORIGIN_HEADER, Origin, decode_origin
from schemas.usage_event import UsageEvent


class Record(Protocol):
    """A record of the log, as Kafka's client gives it. timestamp: append time, milliseconds."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


class Log(msgspec.Struct, frozen=True):
    """The log that is rated, and the partition of it that this is about."""

    log_id: str
    partition: int
    partitions: int


class Arrival(msgspec.Struct, gc=False):
    """One event as it arrived.

    ref: its own. alias: the ref it would have in a month close by, 0 when that can't be.
    origin: of a retried dead letter, the place that it first had; its ref is made of that one.
    """

    offset: int
    appended_at: int
    ref: int
    alias: int
    shard_key: int
    fingerprint: int
    event: UsageEvent
    value: bytes
    origin: Origin | None = None


class AmendmentArrival(msgspec.Struct):
    """One amendment as it arrived. origin: of a retried dead letter, the place it first had."""

    offset: int
    appended_at: int
    amendment: Amendment
    key: bytes
    value: bytes
    origin: Origin | None = None


DETAIL_LENGTH_MAX: Final = 1_000
"""Characters of what is said about a dead letter."""


class DeadLetter(msgspec.Struct, frozen=True):
    """A record that can't be rated, and why. appended_at: milliseconds since 1970.

    tenant_ref: whose it says it is. origin: the place it first had, when it is a retried one.
    """

    offset: int
    appended_at: int
    reason: str
    detail: str
    key: bytes | None
    value: bytes | None
    tenant_ref: str | None = None
    origin: Origin | None = None


class Poll(msgspec.Struct):
    """A stretch of the log, [first_offset, next_offset), every offset of it accounted for.

    skipped: half-open ranges that hold no readable record.
    retried: the arrivals that say that they were dead letters before.
    last_offset, last_digest: the last record in it, None when there is none.
    last_appended_at: when the log took that one; 0 when there is none.
    """

    first_offset: int
    next_offset: int
    arrivals: list[Arrival]
    dead: list[DeadLetter]
    skipped: list[tuple[int, int]]
    last_offset: int | None = None
    last_digest: bytes | None = None
    last_appended_at: int = 0
    retried: list[Arrival] = msgspec.field(default_factory=list)
    amendments: list[AmendmentArrival] = msgspec.field(default_factory=list)

    @classmethod
    def empty(cls, first_offset: int) -> "Poll":
        """Return a stretch of no offsets."""
        return cls(first_offset, first_offset, [], [], [])

    def extend(self, more: "Poll") -> None:
        """Take in the stretch that follows."""
        assert more.first_offset == self.next_offset
        self.next_offset = more.next_offset
        self.arrivals += more.arrivals
        self.dead += more.dead
        self.retried += more.retried
        self.amendments += more.amendments
        if self.skipped and more.skipped and self.skipped[-1][1] == more.skipped[0][0]:
            self.skipped[-1] = (self.skipped[-1][0], more.skipped.pop(0)[1])
        self.skipped += more.skipped
        if more.last_offset is not None:
            self.last_offset, self.last_digest = more.last_offset, more.last_digest
            self.last_appended_at = more.last_appended_at

    @property
    def is_empty(self) -> bool:
        """Tell whether nothing was read, not even a gap."""
        return self.next_offset == self.first_offset


def origin_of(record: Record) -> Origin | None:
    """Return the place that a record says it first had."""
    values = [value for name, value in record.headers if name == ORIGIN_HEADER]
    return decode_origin(values[0]) if len(values) == 1 else None
