"""How far rating has come in each partition of the log, and waiting until it is past a place.

One connection a process listens to what the rater says at each commit; whoever waits costs a
future and no more. A notice may be missed, with the connection or with the server: while somebody
waits, the rows themselves are read at a slow beat. Who waits, and for how long, is bounded.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

from gateway import metrics
from runtime.lifecycle import wait_for
from runtime.logging import get_logger
from runtime.postgres import TRANSIENT_ERRORS, Queries

CHANNEL: Final = "meterline_rated"
BEAT_SECONDS: Final = 1.0
"""How often the rows are read while somebody waits, for notices that were missed."""
RECONNECT_SECONDS: Final = 1.0
QUERY_SECONDS: Final = 2.0

log = get_logger()
queries = Queries.beside(__file__)


class Progress:
    """Where rating stands, as this process knows it, and who waits for it to go on."""

    def __init__(self, partitions: int, *, waiters_max: int, tenant_share: float) -> None:
        """tenant_share: the part of the waiters that one tenant's may be."""
        self._next_offsets = [0] * partitions
        self._waiting: list[dict[asyncio.Future[bool], int]] = [{} for _ in range(partitions)]
        self._waiters_max = waiters_max
        self._tenant_max = max(1, int(waiters_max * tenant_share))
        self._waiters: dict[int, int] = {}
        self._has_waiters = asyncio.Event()
        self._has_ended = False

    def next_offset(self, partition: int) -> int:
        """Return the first offset of a partition that is not rated yet, as far as is known."""
        return self._next_offsets[partition]

    async def wait_past(self, tenant_id: int, partition: int, offset: int, seconds: float) -> bool:
        """Wait until the record at an offset is rated; tell whether it was, in that time.

        Where too many wait already, or the process is about to stop, the answer is no at once.
        """
        if self._next_offsets[partition] > offset:
            metrics.WAITS.labels("in_time").inc()
            return True
        async with self._place(tenant_id) as has_place:
            if not has_place:
                metrics.WAITS.labels("refused").inc()
                return False
            is_past = await self._wait(partition, offset, seconds)
        metrics.WAITS.labels("in_time" if is_past else "late").inc()
        return is_past

    @asynccontextmanager
    async def _place(self, tenant_id: int) -> AsyncIterator[bool]:
        """Take one of the places of waiters; tell whether there was one."""
        waiters, own = self._waiters, self._waiters.get(tenant_id, 0)
        is_full = own >= self._tenant_max or sum(waiters.values()) >= self._waiters_max
        if self._has_ended or is_full:
            yield False
            return
        waiters[tenant_id] = own + 1
        self._has_waiters.set()
        try:
            yield True
        finally:
            waiters[tenant_id] -= 1
            if not waiters[tenant_id]:
                del waiters[tenant_id]
            if not waiters:
                self._has_waiters.clear()

    async def _wait(self, partition: int, offset: int, seconds: float) -> bool:
        loop = asyncio.get_running_loop()
        waiting = self._waiting[partition]
        future: asyncio.Future[bool] = loop.create_future()
        waiting[future] = offset
        timer = loop.call_later(seconds, _resolve, future, False)
        try:
            return await future
        finally:
            timer.cancel()
            waiting.pop(future, None)

    def end(self) -> None:
        """Send everybody who waits on their way: the process is about to stop."""
        self._has_ended = True
        for waiting in self._waiting:
            for future in waiting:
                _resolve(future, False)

    async def follow(self, dsn: str) -> None:
        """Follow the rater for ever, over a connection that is made anew when it is lost."""
        while True:
            try:
                await self._follow(dsn)
            except TRANSIENT_ERRORS as error:
                log.warning("progress_connection_lost", error=repr(error))
                await asyncio.sleep(RECONNECT_SECONDS)

    async def _follow(self, dsn: str) -> None:
        connection = await asyncpg.connect(
            dsn, timeout=QUERY_SECONDS, command_timeout=QUERY_SECONDS
        )
        lost = asyncio.Event()
        try:
            connection.add_termination_listener(lambda _: lost.set())
            await connection.add_listener(CHANNEL, self._notice)
            while not lost.is_set():
                for row in await connection.fetch(queries.list_progress):
                    self._note(row["partition"], row["next_offset"])
                await self._until_needed(lost)
                await wait_for(lost, BEAT_SECONDS)
            raise ConnectionError("the server has ended the connection")
        finally:
            connection.terminate()

    async def _until_needed(self, lost: asyncio.Event) -> None:
        """Wait until somebody waits, or the connection is lost."""
        tasks = [asyncio.ensure_future(event.wait()) for event in (lost, self._has_waiters)]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()

    def _notice(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        partition, _, next_offset = str(payload).partition(",")
        self._note(int(partition), int(next_offset))

    def _note(self, partition: int, next_offset: int) -> None:
        """Note how far a partition is rated; who waited for that goes on.

        It is what Postgres says, also when that is less than before: the database was restored.
        """
        self._next_offsets[partition] = next_offset
        for future, offset in self._waiting[partition].items():
            if offset < next_offset:
                _resolve(future, True)


def _resolve(future: "asyncio.Future[bool]", is_past: bool) -> None:
    if not future.done():
        future.set_result(is_past)
