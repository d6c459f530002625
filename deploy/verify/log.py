"""The log itself: rating stands inside it, on the record it says, and skipped nothing readable."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

import asyncpg
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from deploy.verify.check import CannotCheck, Check, Finding, Scope, plural
from deploy.verify.partitions import queries
from rater.decoding import record_digest

STALL_SECONDS_MAX: Final = 30.0
"""How long the broker may give nothing before a check is given up."""

_POLL_MS: Final = 250
# Reads are short and far apart: a fetch that waits at the log's end would hold up the next one.
_FETCH_WAIT_MS: Final = 10
_FETCH_BYTES_MAX: Final = 256 * 1024
_RECORDS_MAX: Final = 500


class Log:
    """The log as the broker has it, beside the partitions as the books have them."""

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        partitions: list[asyncpg.Record],
        begins: Mapping[TopicPartition, int],
        ends: Mapping[TopicPartition, int],
    ) -> None:
        self._consumer = consumer
        self._begins = begins
        self.partitions = partitions
        self.ends = ends

    async def records(
        self, place: TopicPartition, first: int, end: int
    ) -> AsyncIterator[ConsumerRecord]:
        """Yield the readable records in [first, end).

        Offsets without one are passed over by the position alone; those that the log does not have
        yield nothing. Raises CannotCheck when they are older than the log, or when it stalls.
        """
        if first < self._begins[place]:
            raise CannotCheck(
                f"{place.topic} partition {place.partition} begins at {self._begins[place]}, "
                f"so offset {first} can't be read again"
            )
        end = min(end, self.ends[place])
        if place not in self._consumer.assignment():
            self._consumer.assign([place])
        self._consumer.seek(place, first)
        clock = asyncio.get_running_loop().time
        position, deadline = first, clock() + STALL_SECONDS_MAX
        while position < end:
            batch = await self._consumer.getmany(
                place, timeout_ms=_POLL_MS, max_records=_RECORDS_MAX
            )
            for record in batch.get(place, ()):
                if record.offset >= end:
                    return
                yield record
            moved = await self._consumer.position(place)
            if moved != position:
                position, deadline = moved, clock() + STALL_SECONDS_MAX
            elif clock() > deadline:
                raise CannotCheck(f"{place.topic} partition {place.partition} stalls at {position}")


@asynccontextmanager
async def open_log(
    scope: Scope, isolation_level: str, fetch_bytes: int = _FETCH_BYTES_MAX
) -> AsyncIterator[Log]:
    """Open the log for reading. fetch_bytes: what may be read ahead, and in memory.

    Raises CannotCheck when the broker does not answer, or has no such log.
    """
    partitions = await scope.connection.fetch(queries.partitions)
    places = [place_of(row) for row in partitions]
    consumer = AIOKafkaConsumer(
        bootstrap_servers=scope.kafka,
        isolation_level=isolation_level,
        auto_offset_reset="none",
        enable_auto_commit=False,
        request_timeout_ms=int(STALL_SECONDS_MAX * 1_000),
        fetch_max_wait_ms=_FETCH_WAIT_MS,
        max_partition_fetch_bytes=fetch_bytes,
    )
    try:
        async with asyncio.timeout(STALL_SECONDS_MAX):
            await consumer.start()
            missing = {place.topic for place in places} - await consumer.topics()
            if missing:
                raise CannotCheck(f"the broker at {scope.kafka} has no topic {missing.pop()}")
            begins = await consumer.beginning_offsets(places)
            ends = await consumer.end_offsets(places)
        yield Log(consumer, partitions, begins, ends)
    except (KafkaError, TimeoutError, OSError) as error:
        reason = str(error) or type(error).__name__
        raise CannotCheck(f"the broker at {scope.kafka} does not answer: {reason}") from error
    finally:
        await consumer.stop()


async def check_end(scope: Scope, finding: Finding) -> None:
    """Compare where rating stands with where the log ends; being behind is no fault."""
    async with open_log(scope, "read_uncommitted") as log:
        behind = 0
        for row in log.partitions:
            finding.counted += 1
            end = log.ends[place_of(row)]
            behind += max(end - row["next_offset"], 0)
            if row["next_offset"] > end:
                finding.broken(
                    f"partition {row['partition']} was rated to {row['next_offset']}, "
                    f"the log ends at {end}"
                )
        if behind:
            finding.notes.append(f"{plural(behind, 'offsets')} in the log not rated yet")


async def check_digest(scope: Scope, finding: Finding) -> None:
    """Read the last rated record of each partition again: another log has another one there."""
    async with open_log(scope, "read_committed") as log:
        for row in log.partitions:
            offset = row["last_record_offset"]
            if offset is None:
                continue
            finding.counted += 1
            digest = None
            async for record in log.records(place_of(row), offset, offset + 1):
                digest = record_digest(record)
            if digest != row["last_record_digest"]:
                found = "no record" if digest is None else "another record"
                finding.broken(f"partition {row['partition']} offset {offset} holds {found}")


async def check_skipped(scope: Scope, finding: Finding) -> None:
    """Read every skipped range again, as a consumer that sees committed records alone."""
    async with open_log(scope, "read_committed") as log:
        for row in log.partitions:
            async for skipped in scope.rows(queries.skipped, row["partition"]):
                first, end = skipped["first_offset"], skipped["end_offset"]
                finding.counted += end - first
                async for record in log.records(place_of(row), first, end):
                    finding.broken(
                        f"partition {row['partition']} offset {record.offset} was skipped, "
                        "yet it holds a record"
                    )


def place_of(row: asyncpg.Record) -> TopicPartition:
    """Return the partition of the log that a row of `partitions` is about."""
    return TopicPartition(row["topic"], row["partition"])


CHECKS: Final = (
    Check(
        name="log-end",
        sentence="no partition was rated beyond the end of the log",
        unit="partitions",
        run=check_end,
    ),
    Check(
        name="log-digest",
        sentence="the last rated record of every partition is still the same",
        unit="partitions",
        run=check_digest,
    ),
    Check(
        name="skipped",
        sentence="no skipped offset holds a record that can be read",
        unit="offsets",
        run=check_skipped,
    ),
)
