"""One rater process: takes its share of the partitions, and keeps a worker on each."""

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

import asyncpg

from rater.consumer import PartitionWorker
from rater.metrics import PARTITIONS_OWNED, PARTITIONS_STOPPED
from rater.outbox import OutboxRelay
from rater.ownership import Ownership
from rater.settings import RaterSettings
from runtime.clock import Clock, system_clock
from runtime.health import Check
from runtime.lifecycle import wait_for
from runtime.logging import get_logger
from runtime.postgres import TRANSIENT_ERRORS

log = get_logger()

CHANNEL: Final = "meterline_partition"
STOP_SECONDS_MAX: Final = 20.0
"""How long workers may take to finish their transactions."""
CANCEL_SECONDS_MAX: Final = 2.0
"""How long those may take that are cut off then: Postgres rolls back what they had."""
RENEW_SECONDS_MAX: Final = 10.0
"""How long a beat may wait for a frozen rater that holds the members' lock; the next tries anew."""


class RaterService:
    """Starts and stops workers as the shares of the partitions move."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        settings: RaterSettings,
        member: str,
        clock: Clock = system_clock,
    ) -> None:
        self._clock = clock
        self._pool = pool
        self._settings = settings
        self._ownership = Ownership(
            pool,
            member=member,
            lease_seconds=settings.lease_seconds,
            transaction_seconds_max=settings.transaction_seconds_max,
        )
        self._workers: dict[int, tuple[PartitionWorker, asyncio.Task[None]]] = {}
        self._renewed_at = 0.0

    def checks(self) -> Mapping[str, Check]:
        """Return what /readyz asks."""
        return {"database": self._check_database, "partitions": self._check_partitions}

    async def run(self, stopping: asyncio.Event) -> None:
        """Rate until told to stop; then finish the transactions in hand and leave."""
        relay = OutboxRelay(
            self._pool,
            kafka=self._settings.kafka,
            topic_prefix=self._settings.topic_prefix,
            records_max=self._settings.outbox_records_max,
        )
        ending = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(relay.run(ending))
            tasks.create_task(self._listen(ending))
            try:
                await self._keep_share(stopping)
            finally:
                ending.set()
                await self._leave()

    async def _keep_share(self, stopping: asyncio.Event) -> None:
        """Renew the lease, and follow what it says."""
        while not stopping.is_set():
            try:
                async with asyncio.timeout(RENEW_SECONDS_MAX):
                    own, changed = await self._ownership.renew()
                    await self._ownership.end_stalled()
            except TRANSIENT_ERRORS as error:
                log.warning("lease_not_renewed", error=repr(error))
            else:
                self._renewed_at = time.monotonic()
                await self._follow(own)
                for partition in changed & self._workers.keys():
                    self._workers[partition][0].wake()
            await wait_for(stopping, self._settings.heartbeat_seconds)

    async def _follow(self, own: set[int]) -> None:
        """Start and stop workers until they are those of these partitions."""
        await self._stop_workers(self._workers.keys() - own)
        for partition in sorted(own - self._workers.keys()):
            worker = PartitionWorker(self._pool, self._settings, partition, self._clock)
            self._workers[partition] = worker, asyncio.create_task(worker.run())
        PARTITIONS_OWNED.set(len(self._workers))
        PARTITIONS_STOPPED.set(sum(w.halted is not None for w, _ in self._workers.values()))

    async def _stop_workers(self, partitions: set[int]) -> None:
        ended = [self._workers.pop(partition) for partition in partitions]
        for worker, _ in ended:
            worker.stop()
        if ended:
            _, late = await asyncio.wait([task for _, task in ended], timeout=STOP_SECONDS_MAX)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=CANCEL_SECONDS_MAX)

    async def _leave(self) -> None:
        await self._stop_workers(set(self._workers))
        with suppress(*TRANSIENT_ERRORS):
            await self._ownership.release()

    async def _listen(self, ending: asyncio.Event) -> None:
        """Wake the workers of partitions that a notice names; the lease's beat covers the lost."""
        while not ending.is_set():
            try:
                connection = await asyncpg.connect(self._settings.postgres, timeout=10)
            except TRANSIENT_ERRORS:
                await wait_for(ending, self._settings.heartbeat_seconds)
                continue
            try:
                await connection.add_listener(CHANNEL, self._noticed)
                while not (ending.is_set() or connection.is_closed()):
                    await wait_for(ending, self._settings.heartbeat_seconds)
            finally:
                with suppress(*TRANSIENT_ERRORS):
                    await connection.close(timeout=5)

    def _noticed(self, _connection: object, _pid: int, _channel: str, partition: object) -> None:
        if str(partition).isdecimal() and (known := self._workers.get(int(str(partition)))):
            known[0].wake()

    async def _check_database(self) -> str | None:
        await self._pool.fetchval("SELECT 1", timeout=2)
        return None

    async def _check_partitions(self) -> str | None:
        halted = {w.partition: w.halted for w, _ in self._workers.values() if w.halted}
        if halted:
            return "; ".join(
                f"partition {p} waits for a person: {why}" for p, why in halted.items()
            )
        if time.monotonic() - self._renewed_at > self._settings.lease_seconds:
            return "the lease is not renewed"
        closed = [w.partition for w, _ in self._workers.values() if not w.is_open]
        return f"not opened yet: {closed}" if closed else None
