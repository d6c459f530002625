"""Archiving: months that nothing can change any more leave the database, one after the other.

Each goes in steps, so that a process which dies in between has lost nothing and is run again: the
raters are told to refuse what would still come for the month; its rows are written to a file; the
file is read back and compared, row by row; and one transaction, which looks once more whether the
month may go, notes it and drops the table.
"""

import asyncio
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import asyncpg
import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from deploy.archive.files import ROW_COLUMNS, sha256_of, stream, write_month
from runtime.crashpoints import crashpoint
from runtime.postgres import Queries
from schemas.errors import BillingError
from schemas.event_ref import month_bounds

queries: Final = Queries.beside(__file__)

LOCK_SECONDS: Final = 2
"""How long dropping a month's table may wait for those who read it, and let others wait."""


class CannotArchive(BillingError):
    """A month can't leave now, for a reason that is no accident; `detail` says which."""


class Archived(msgspec.Struct, frozen=True):
    """A month that has left. events: how many. sha256: of the file, in hexadecimal digits."""

    month: str
    events: int
    file: str
    bytes: int
    sha256: str


def month_text(month: int) -> str:
    """Write a month as people do: 2024-02."""
    return f"{2000 + month // 12}-{month % 12 + 1:02}"


def read_month(text: str) -> int:
    """Read what `month_text` writes. Raises ValueError."""
    day = datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC)
    return (day.year - 2000) * 12 + day.month - 1


def end_of(month: int) -> datetime:
    """Return the first instant after a month."""
    return datetime(2000 + (month + 1) // 12, (month + 1) % 12 + 1, 1, tzinfo=UTC)


async def list_months(connection: asyncpg.Connection) -> list[int]:
    """Return the months that are in the database, the oldest first."""
    return [row["month"] for row in await connection.fetch(queries.list_months)]


async def reasons_to_stay(connection: asyncpg.Connection, month: int) -> list[str]:
    """Return why a month can't leave yet; nothing when it can."""
    rows = await connection.fetch(queries.holding, month, end_of(month))
    return [row["reason"] for row in rows]


async def archive_month(
    connection: asyncpg.Connection, kafka: str, month: int, directory: Path
) -> Archived:
    """Move the oldest month into a file. Raises CannotArchive when it has to stay."""
    if month != (await list_months(connection))[0]:
        raise CannotArchive("month_not_oldest", "months leave in their order")
    await _refuse_from_now_on(connection, kafka, month)
    crashpoint("archive.after_fence")
    path = directory / f"usage_event_{month_text(month).replace('-', '_')}.parquet"
    await _export(connection, month, path)
    crashpoint("archive.after_file")
    events = await _compare(connection, month, path)
    facts = (events, path.name, path.stat().st_size, sha256_of(path))
    await _drop(connection, month, facts)
    crashpoint("archive.after_drop")
    return Archived(month_text(month), *facts[:3], facts[3].hex())


async def _refuse_from_now_on(connection: asyncpg.Connection, kafka: str, month: int) -> None:
    """Have raters refuse what comes for a month, once it is sure that nothing has to.

    Gateways take nothing of it any more; what they took lies before the end of the log as it is
    now, and must be rated.
    """
    ends = await _log_ends(connection, kafka)
    async with connection.transaction():
        for row in await _hold(connection, month):
            if row["next_offset"] < ends[row["partition"]]:
                detail = f"partition {row['partition']} is not rated up to now: is a rater running?"
                raise CannotArchive("not_rated_yet", detail)
        await connection.execute(queries.refuse_below, month + 1, end_of(month))


async def _log_ends(connection: asyncpg.Connection, kafka: str) -> dict[int, int]:
    """Return the end of each partition of the log."""
    log = await connection.fetchrow(queries.find_topic)
    assert log is not None, "the database is migrated"
    places = [TopicPartition(log["topic"], number) for number in range(log["partitions"])]
    async with AIOKafkaConsumer(bootstrap_servers=kafka) as consumer:
        ends = await consumer.end_offsets(places)
    return {place.partition: end for place, end in ends.items()}


async def _hold(connection: asyncpg.Connection, month: int) -> list[asyncpg.Record]:
    """Keep a month as it is for the rest of the transaction, if nothing is to happen to it.

    Returns where each partition stands.
    """
    partitions: list[asyncpg.Record] = await connection.fetch(queries.hold_partitions)
    reasons = await reasons_to_stay(connection, month)
    if reasons:
        raise CannotArchive("month_held", "; ".join(reasons))
    return partitions


async def _export(connection: asyncpg.Connection, month: int, path: Path) -> None:
    """Write the rows of a month to a file, through a pipe: neither side holds them all."""
    source, sink = os.pipe()
    writing = asyncio.create_task(asyncio.to_thread(write_month, source, path))
    try:
        with os.fdopen(sink, "wb", buffering=0) as pipe:
            await connection.copy_from_query(
                queries.export_month.rstrip("; \n"),
                *month_bounds(month),
                output=pipe,
                format="csv",
                header=True,
            )
    except BrokenPipeError:
        await writing  # says why it has stopped reading
        raise
    except BaseException:
        await asyncio.gather(writing, return_exceptions=True)
        raise
    await writing


async def _compare(connection: asyncpg.Connection, month: int, path: Path) -> int:
    """Read a file back and hold it against the database; return its events."""
    async with connection.transaction():
        await load(connection, [path])
        differing = await connection.fetchval(queries.count_differing, *month_bounds(month))
        events: int = await connection.fetchval(queries.count_archived_rows)
        await connection.execute(queries.drop_archived_rows)
    if differing:
        detail = f"{path} differs from the database in {differing} rows: the month has stayed"
        raise CannotArchive("archive_differs", detail)
    return events


async def load(connection: asyncpg.Connection, paths: Sequence[Path]) -> None:
    """Load files into a table `archived_event` that this session alone sees."""
    await connection.execute(queries.make_archived_rows)
    for path in paths:
        await connection.copy_to_table(
            "archived_event", source=stream(path), columns=ROW_COLUMNS, format="csv"
        )


async def _drop(
    connection: asyncpg.Connection, month: int, facts: tuple[int, str, int, bytes]
) -> None:
    """Note an archived month and drop its table, both or neither."""
    name = f"usage_event_{month_text(month).replace('-', '_')}"
    try:
        async with connection.transaction():
            await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
            await _hold(connection, month)
            # Reports go on without the events.
            await connection.execute(queries.fold_tails)
            await connection.execute(queries.roll_up_month, *month_bounds(month))
            await connection.execute(queries.add_archived_month, month, *facts)
            await connection.execute(queries.add_archived_usage, month, *month_bounds(month))
            await connection.execute(queries.drop_origins, *month_bounds(month))
            await connection.execute(f"ALTER TABLE usage_event_row DETACH PARTITION {name}")
            await connection.execute(f"DROP TABLE {name}")
    except asyncpg.LockNotAvailableError as error:
        detail = f"{name} is being read and could not be dropped: run it again"
        raise CannotArchive("month_busy", detail) from error
