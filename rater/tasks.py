"""What a partition's owner was asked to do besides rating: back-fills and closings."""

from collections.abc import Sequence
from datetime import date
from typing import Literal, Self
from uuid import UUID

import asyncpg
import msgspec

from rater.repository import queries


class Task(msgspec.Struct):
    """One request, and how far it is done.

    end_offset: of a CONTRACT, the first offset that the live loop rates by it; of a CLOSE, the end
    of the log at the request, None until it was read.
    cursor: the last event that a back-fill has seen. version: of the contract, whose products are
    rated; is_swapped: their charges count already, in place of those before.
    """

    reference_version: int
    kind: Literal["CONTRACT", "CLOSE"]
    shard_key: int
    customer_id: int
    customer_ref: str
    contract_ref: UUID
    end_offset: int | None
    cursor: UUID | None
    close_through: date | None
    version: int = 1
    is_swapped: bool = False
    is_done: bool = False

    @classmethod
    def from_row(cls, row: asyncpg.Record) -> Self:
        """Build a task from a row of `pending_tasks`."""
        return cls(
            reference_version=row["reference_version"],
            kind=row["kind"],
            shard_key=row["shard_key"],
            customer_id=row["customer_id"],
            customer_ref=row["customer_ref"],
            contract_ref=row["contract_ref"],
            end_offset=row["end_offset"],
            cursor=row["cursor_ref"],
            close_through=row["close_through"],
            version=row["contract_version"],
            is_swapped=row["is_swapped"],
        )


async def load_tasks(pool: asyncpg.Pool, partition: int) -> list[Task]:
    """Return what is left to do, in the order in which it was asked for."""
    return [Task.from_row(row) for row in await pool.fetch(queries.pending_tasks, partition)]


def next_task(tasks: Sequence[Task], next_offset: int) -> Task | None:
    """Return the first task that can be moved on now.

    A closing waits until the log is rated up to its end offset, and the customer has no back-fill
    under way.
    """
    backfilled = {task.customer_id for task in tasks if task.kind == "CONTRACT"}
    for task in tasks:
        if task.kind == "CONTRACT" or task.end_offset is None:
            return task
        if next_offset >= task.end_offset and task.customer_id not in backfilled:
            return task
    return None
