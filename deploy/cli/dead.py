"""`meterline dead`: records that could not be rated, of every tenant; listed and sent again."""

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import asyncpg
import msgspec
from aiokafka import AIOKafkaProducer
from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table

from deploy.local.find import StackAddress, find_stack
from runtime.postgres import Queries
from schemas.event_ref import SHARD_KEY_MASK, murmur2
from schemas.retrying import ORIGIN_HEADER, Origin, encode_origin, home_of

ROWS_DEFAULT: Final = 100
_EXIT_UNKNOWN: Final = 1
_PLAIN_WIDTH: Final = 200

dead = App(name="dead", help="Records that could not be rated: see them, send them again.")
queries: Final = Queries.beside(__file__, "dead.sql")

State = Annotated[
    Path | None,
    Parameter(name="--state", help="Directory of a running stack; else METERLINE_* decide."),
]


@dead.command(name="list")
def list_letters(
    *,
    state: State = None,
    limit: int = ROWS_DEFAULT,
    is_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """List dead letters, the newest first, with their reasons and how often they were sent again.

    For example:

        meterline dead list --json | jq -r 'select(.reason == "UNKNOWN_CUSTOMER") | .id'
    """
    rows = asyncio.run(_list(find_stack(state, os.environ), limit))
    if is_json:
        for row in rows:
            sys.stdout.buffer.write(msgspec.json.encode(row) + b"\n")
        return
    table = Table("id", "since", "reason", "retries", "detail", box=None, pad_edge=False)
    for row in rows:
        since = row["appended_at"].strftime("%Y-%m-%d %H:%M:%S")
        table.add_row(row["id"], since, row["reason"], str(row["retries"]), row["detail"][:120])
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, width=_PLAIN_WIDTH)
    console.print(table)


async def _list(address: StackAddress, limit: int) -> list[dict[str, Any]]:
    connection = await asyncpg.connect(address.postgres)
    try:
        return [dict(row) for row in await connection.fetch(queries.list_dead_letters, limit)]
    finally:
        await connection.close()


@dead.command
def retry(*ids: str, state: State = None) -> None:
    """Send dead letters again, as they are.

    Each goes into its customer's partition and names its first place in the log, so that an event
    that is sent again twice is billed once. The exit code is 1 when an id names none.

    For example:

        meterline dead retry 3-1201 3-1207

    Parameters
    ----------
    ids
        What `meterline dead list` shows first.
    """
    unknown = asyncio.run(_retry(find_stack(state, os.environ), ids))
    for name in unknown:
        sys.stderr.write(f"meterline: there is no dead letter {name}\n")
    sys.exit(_EXIT_UNKNOWN if unknown else 0)


async def _retry(address: StackAddress, ids: Sequence[str]) -> list[str]:
    """Send what ids name; return those that name nothing."""
    connection = await asyncpg.connect(address.postgres)
    try:
        rows = {row["id"]: row for row in await connection.fetch(queries.find_dead_letters, ids)}
        log = await connection.fetchrow(queries.find_log)
        assert log is not None
        async with AIOKafkaProducer(
            bootstrap_servers=address.kafka, enable_idempotence=True, acks="all"
        ) as producer:
            for row in rows.values():
                place = await _send(producer, log, row)
                await connection.execute(
                    queries.add_retry, _shard_key(row), *_place(row), *place, row["tenant_id"]
                )
                sys.stdout.write(f"{row['id']} sent again, now at {place[0]}-{place[1]}\n")
    finally:
        await connection.close()
    return [name for name in ids if name not in rows]


async def _send(
    producer: AIOKafkaProducer, log: asyncpg.Record, row: asyncpg.Record
) -> tuple[int, int]:
    """Append a record anew; return the place it got."""
    origin = _place(row)
    if row["origin_offset"] is not None:
        origin = Origin(row["origin_partition"], row["origin_offset"])
    key, partition = home_of(row["record_key"], row["value"], origin, log["partitions"])
    sent = await producer.send_and_wait(
        log["topic"],
        row["value"],
        key=key,
        partition=partition,
        headers=[(ORIGIN_HEADER, encode_origin(origin))],
    )
    return sent.partition, sent.offset


def _place(row: asyncpg.Record) -> Origin:
    return Origin(row["partition"], row["record_offset"])


def _shard_key(row: asyncpg.Record) -> int:
    key = row["record_key"]
    return 0 if key is None else murmur2(key) & SHARD_KEY_MASK
