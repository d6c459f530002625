"""What the owner of a partition reads and writes: the fence, and a poll's rows.

Every change of the owner is one `owner_step`: a transaction whose first statement locks the row of
the partition and finds it exactly as this process left it, and whose last one moves it on.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

import asyncpg
import msgspec

from rater.amend import Amended
from rater.archived import Archived
from rater.arrivals import Log, Poll
from rater.fold import Accepted, Conflict, Folded
from rater.packing import USAGE_EVENT_COLUMNS, pack_events
from runtime.postgres import Connection, Queries
from schemas.event_ref import shard_key_of

queries = Queries.beside(__file__)

#: Bytes of COPY given to the driver at once, so that the loop stays alive in between.
COPY_CHUNK_BYTES = 1 << 18


class Fenced(Exception):
    """The partition has moved without us: somebody else owns it, or our last word was lost."""


class ChangesPending(Exception):
    """What is rated by has changed: take the changes, then do the step again."""


class PartitionState(msgspec.Struct):
    """A partition as this process left it. archived: what has left the database."""

    log: Log
    next_offset: int
    steps: int
    changes_seen: int
    last_offset: int | None
    last_digest: bytes | None
    archived: Archived = Archived()

    @property
    def partition(self) -> int:
        """The number of the partition."""
        return self.log.partition


async def load_partition(pool: asyncpg.Pool, partition: int) -> PartitionState:
    """Read where rating stands in a partition."""
    row = await pool.fetchrow(queries.load_partition, partition)
    if row is None:
        raise LookupError(f"partition {partition} has no row in rater_partition")
    return PartitionState(
        log=Log(row["log_id"], partition, row["partitions"]),
        next_offset=row["next_offset"],
        steps=row["steps"],
        changes_seen=row["changes_seen"],
        last_offset=row["last_record_offset"],
        last_digest=row["last_record_digest"],
        archived=Archived.of(row["archived_below"], row["archived_until"]),
    )


@asynccontextmanager
async def owner_step(pool: asyncpg.Pool, state: PartitionState) -> AsyncIterator[Connection]:
    """Run one transaction of the owner.

    Raises Fenced or ChangesPending before anything is done. What the body writes must end with
    the statement that moves the partition on.
    """
    async with pool.acquire() as connection, connection.transaction():
        if await _lock(connection, state) != state.changes_seen:
            raise ChangesPending
        yield connection


async def _lock(connection: Connection, state: PartitionState) -> int:
    """Lock the partition's row; return the version of what it is rated by. Raises Fenced."""
    row = await connection.fetchrow(queries.lock_partition, state.partition)
    if row is None or (row["next_offset"], row["steps"]) != (state.next_offset, state.steps):
        raise Fenced(f"partition {state.partition} is not at {state.next_offset}/{state.steps}")
    version: int = row["reference_version"]
    return version


async def take_changes(pool: asyncpg.Pool, state: PartitionState) -> set[int]:
    """Make tasks of the changes since the last look; return the ids of their customers.

    On return the state is as committed.
    """
    async with pool.acquire() as connection, connection.transaction():
        version = await _lock(connection, state)
        if version == state.changes_seen:
            return set()
        span = (state.partition, state.changes_seen, version, state.next_offset)
        rows = await connection.fetch(queries.take_changes, *span)
        seen = await connection.fetchrow(queries.see_changes, state.partition, version)
    assert seen is not None, "the row is locked"
    state.archived = Archived.of(seen["archived_below"], seen["archived_until"])
    state.steps += 1
    state.changes_seen = version
    return {row["customer_id"] for row in rows}


async def probe_events(connection: Connection, refs: Sequence[int]) -> dict[int, int]:
    """Return the fingerprints of those of the events that are known."""
    if not refs:
        return {}
    wanted = sorted(refs)
    keys = ",".join([str(shard_key_of(ref)) for ref in wanted])
    texts = ",".join([f"{ref:032x}" for ref in wanted])
    rows = await connection.fetch(queries.probe_events, keys, texts)
    return {row["event_ref"].int: row["fingerprint"] for row in rows}


async def add_events(
    connection: Connection,
    accepted: Sequence[Accepted],
    unrated: list[Accepted],
    *,
    has_retried: bool,
) -> None:
    """Write new events. Raises UniqueViolationError when one is known.

    has_retried: there may be some among them that were first at another place in the log.
    """
    if accepted:
        await connection.copy_to_table(
            "usage_event_row",
            source=one_by_one(pack_events(accepted)),
            columns=USAGE_EVENT_COLUMNS,
            format="binary",
        )
    if has_retried:
        await _add_origins(connection, accepted)
    if unrated:
        await connection.copy_records_to_table(
            "unrated_usage",
            columns=("shard_key", "event_ref", "tenant_id", "customer_id", "meter_id"),
            records=[
                (
                    row.arrival.shard_key,
                    UUID(int=row.arrival.ref),
                    row.customer.tenant.tenant_id,
                    row.customer.customer_id,
                    row.meter_id,
                )
                for row in unrated
            ],
        )


async def _add_origins(connection: Connection, accepted: Sequence[Accepted]) -> None:
    """Write the first places of those events that were retried."""
    await connection.copy_records_to_table(
        "usage_event_origin",
        columns=("shard_key", "event_ref", "tenant_id", "origin_offset", "origin_partition"),
        records=[
            (
                row.arrival.shard_key,
                UUID(int=row.arrival.ref),
                row.customer.tenant.tenant_id,
                origin.offset,
                origin.partition,
            )
            for row in accepted
            if (origin := row.arrival.origin) is not None
        ],
    )


async def one_by_one(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    """Give the pieces of a COPY stream to the driver as they are made."""
    for piece in pieces:
        yield piece


async def chunks(data: bytes) -> AsyncIterator[bytes]:
    """Give a COPY stream to the driver piece by piece."""
    for start in range(0, len(data), COPY_CHUNK_BYTES):
        yield data[start : start + COPY_CHUNK_BYTES]


async def add_conflicts(
    connection: Connection, partition: int, conflicts: Iterable[Conflict]
) -> None:
    """Keep what came under a key that stands for something else."""
    columns = (
        *("shard_key", "event_ref", "partition", "record_offset"),
        *("tenant_id", "customer_id", "value"),
    )
    records = [
        (
            conflict.arrival.shard_key,
            UUID(int=conflict.ref),
            partition,
            conflict.arrival.offset,
            conflict.customer.tenant.tenant_id,
            conflict.customer.customer_id,
            conflict.arrival.value,
        )
        for conflict in conflicts
    ]
    if records:
        await connection.copy_records_to_table("usage_conflict", columns=columns, records=records)


async def add_skipped(
    connection: Connection, partition: int, skipped: Iterable[tuple[int, int]]
) -> None:
    """Note which offsets hold nothing to rate."""
    records = [(partition, *bounds) for bounds in skipped]
    if records:
        await connection.copy_records_to_table("skipped_range", records=records)


async def advance(
    connection: Connection, partition: int, poll: Poll, folded: Folded, amended: Amended
) -> None:
    """Move the partition behind a poll and count what became of every offset in it.

    An amendment may change what became of an offset of long ago.
    """
    unrated = len(folded.unrated) + len(amended.unrated) - len(amended.rated)
    await connection.execute(
        queries.advance_partition,
        partition,
        poll.next_offset,
        len(folded.accepted) - unrated,
        unrated,
        folded.duplicates + amended.duplicates,
        len(folded.conflicts),
        len(poll.dead) + len(folded.dead) + len(amended.dead),
        sum(end - start for start, end in poll.skipped),
        amended.count,
        poll.last_offset,
        poll.last_digest,
    )
