"""How work that hangs off an issued document is worked off: batch after batch, then a rest."""

import asyncio
from abc import ABC, abstractmethod
from datetime import timedelta
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg

from invoicer.repository import queries
from runtime.logging import get_logger
from runtime.postgres import TRANSIENT_ERRORS, Connection

_log = get_logger()

BACKOFF_MIN: Final = timedelta(seconds=1)
BACKOFF_DOUBLINGS_MAX: Final = 12  # about an hour
ERROR_LENGTH_MAX: Final = 2_000


class Work(NamedTuple):
    """One claimed row of the outbox. attempts: those that failed so far. copy: as in its table."""

    shard_key: int
    outbox_id: int
    document_ref: UUID
    attempts: int
    copy: int = 0

    @property
    def place(self) -> tuple[int, UUID]:
        """The primary key of its document."""
        return self.shard_key, self.document_ref


def backoff(attempts: int) -> timedelta:
    """Return how long to wait after so many failures, the last one not counted."""
    doubled: timedelta = BACKOFF_MIN * 2 ** min(attempts, BACKOFF_DOUBLINGS_MAX)
    return doubled


async def postpone(
    connection: Connection, row: Work, error: BaseException, wait: timedelta | None
) -> str:
    """Put a row off, for ever if `wait` is None; its error is there to be seen, and returned."""
    said = f"{type(error).__name__}: {error}"[:ERROR_LENGTH_MAX]
    await connection.execute(queries.postpone_outbox, row.shard_key, row.outbox_id, said, wait)
    return said


class OutboxLoop(ABC):
    """Works off one kind of rows; any number of processes may do so at once."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        poll_seconds: float,
        stopping: asyncio.Event,
        arrived: asyncio.Event,
    ) -> None:
        """arrived: set whenever this process has made such rows, so that they don't wait."""
        self._pool = pool
        self._poll_seconds = poll_seconds
        self._stopping = stopping
        self._arrived = arrived

    async def run(self) -> None:
        """Work until told to stop; then finish the batch in hand."""
        while not self._stopping.is_set():
            self._arrived.clear()
            if not await self._work():
                await self._rest()

    @abstractmethod
    async def work_once(self) -> int:
        """Do what is due, at most one batch; return how many rows were worked on."""

    async def _work(self) -> bool:
        """Do one batch; say whether there may be more. Trouble with the database passes."""
        try:
            return await self.work_once() > 0
        except TRANSIENT_ERRORS as error:
            _log.warning("outbox_postponed", error=repr(error))
            return False

    async def _rest(self) -> None:
        """Rest until something arrives, the poll's time is over, or the process stops."""
        waits = [asyncio.ensure_future(event.wait()) for event in (self._arrived, self._stopping)]
        try:
            await asyncio.wait(
                waits, timeout=self._poll_seconds, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            for wait in waits:
                wait.cancel()
