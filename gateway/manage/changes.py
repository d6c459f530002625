"""Tells the owner of a partition that there is something new to rate by, or to close."""

from datetime import date
from typing import Final, Literal
from uuid import UUID

import asyncpg

from gateway.manage.context import queries
from runtime.postgres import Connection
from schemas.errors import TransientError
from schemas.event_ref import partition_of

LOCK_SECONDS_MAX: Final = 10


async def announce(
    connection: Connection,
    tenant_id: int,
    *,
    kind: Literal["CONTRACT", "CLOSE"],
    shard_key: int,
    customer_id: int,
    contract_ref: UUID,
    close_through: date | None = None,
    version: int = 1,
) -> None:
    """Note a change for the owner of the customer's partition, with the offset it stands at.

    The partition's row is locked until the transaction ends: what else the change is made of has
    to be written in this transaction. It waits for a poll that is being rated; raises
    TransientError when that takes too long. version: of a CONTRACT, whose products are new.
    """
    partitions = await connection.fetchval(queries.count_partitions)
    partition = partition_of(shard_key, partitions)
    row = await _lock(connection, queries.lock_partition, partition)
    assert row is not None, "every partition of the log has a row"
    await connection.execute(
        queries.add_partition_change,
        partition,
        row["reference_version"],
        kind,
        shard_key,
        tenant_id,
        customer_id,
        contract_ref,
        row["next_offset"],
        close_through,
        version,
    )


async def announce_alert(connection: Connection, shard_key: int) -> tuple[int, int]:
    """Tell the owner of a customer's partition that alerts change; `announce` says the rest.

    Returns the partition and its version, which the alert's row takes.
    """
    partitions = await connection.fetchval(queries.count_partitions)
    partition = partition_of(shard_key, partitions)
    row = await _lock(connection, queries.lock_partition, partition)
    assert row is not None, "every partition of the log has a row"
    await connection.execute(queries.wake_owner, str(partition))
    return partition, row["reference_version"]


async def announce_to_all(connection: Connection) -> None:
    """Note a change for the owners of all partitions; `announce` says the rest."""
    await _lock(connection, queries.announce_to_all)


async def _lock(
    connection: Connection, statement: str, *arguments: object
) -> asyncpg.Record | None:
    """Run a statement that waits for what is being rated. Raises TransientError."""
    await connection.execute(queries.limit_lock_wait, f"{LOCK_SECONDS_MAX}s")
    try:
        return await connection.fetchrow(statement, *arguments)
    except asyncpg.LockNotAvailableError:
        detail = "usage is being rated; try again shortly"
        raise TransientError("partition_busy", detail) from None
