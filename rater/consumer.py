"""The loop of one partition: poll, decode, fold, save; and between polls the tasks.

One worker has a partition in hand. Everything it changes is a fenced transaction, so that nothing
it believes needs to be true for the totals to be right: whoever loses the partition finds out at
its next transaction, throws its memory away and looks again.
"""

import asyncio
import random
import time
from contextlib import suppress
from typing import Final

import asyncpg
from aiokafka.errors import KafkaError

from rater import backfill, closing, reference
from rater.amendments import load_waiting
from rater.arrivals import Poll
from rater.chores import Chores
from rater.decoding import decode
from rater.log_reader import MORE_SECONDS, LogMismatch, LogReader, ReaderStuck
from rater.metrics import FENCED, LAG, READERS_STUCK, RETRIES
from rater.owner import Owner
from rater.rating import PartitionHalted, rate
from rater.repository import ChangesPending, Fenced, load_partition
from rater.settings import RaterSettings
from rater.tasks import Task, load_tasks, next_task
from runtime.clock import Clock, system_clock
from runtime.lifecycle import wait_for
from runtime.logging import get_logger
from runtime.postgres import TRANSIENT_ERRORS
from schemas.topics import USAGE_EVENTS

log = get_logger()

POLL_SECONDS: Final = 1.0
PIECE_RECORDS: Final = 5_000
"""Records read and decoded at a time."""
GATHER_SECONDS: Final = 0.01
"""How long a poll waits at a time for more records while the one before it is saved."""
RETRY_SECONDS: Final = (0.1, 5.0)
"""The first pause after a failure, and the longest; each is doubled, and shortened at random."""


class PartitionWorker:
    """Rates one partition until it is told to stop, or can't go on without a person."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        settings: RaterSettings,
        partition: int,
        clock: Clock = system_clock,
    ) -> None:
        self.partition = partition
        #: Why this partition waits for a person; None while it is rated.
        self.halted: str | None = None
        self.is_open = False
        self.owner: Owner | None = None
        self._pool = pool
        self._settings = settings
        self._clock = clock
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._is_saving = False
        self._tasks: list[Task] = []

    def wake(self) -> None:
        """Look for changes now."""
        self._wake.set()

    def stop(self) -> None:
        """Finish the transaction in hand, then return from `run`."""
        self._stopping.set()
        self._wake.set()

    async def run(self) -> None:
        """Rate until stopped. Never raises: what can't be retried halts this partition alone."""
        pause = RETRY_SECONDS[0]
        while not self._stopping.is_set() and self.halted is None:
            opened_at = time.monotonic()
            try:
                await self._run_once()
            except Fenced as error:
                FENCED.inc()
                log.warning("partition_fenced", partition=self.partition, reason=str(error))
            except ReaderStuck as error:
                READERS_STUCK.inc()
                log.warning("reader_stuck", partition=self.partition, reason=str(error))
            except (*TRANSIENT_ERRORS, KafkaError) as error:
                RETRIES.inc()
                log.warning("partition_retried", partition=self.partition, error=repr(error))
            except (LogMismatch, PartitionHalted) as error:
                self._halt(str(error))
            except Exception as error:
                log.exception("partition_failed", partition=self.partition)
                self._halt(repr(error))
            if not self._stopping.is_set() and self.halted is None:
                lasted = time.monotonic() - opened_at
                pause = RETRY_SECONDS[0] if lasted > RETRY_SECONDS[1] else pause * 2
                pause = min(pause, RETRY_SECONDS[1])
                jitter = random.uniform(0.5, 1)  # noqa: S311 - no secret
                await wait_for(self._stopping, pause * jitter)
        with suppress(KeyError):
            LAG.remove(str(self.partition))

    def _halt(self, reason: str) -> None:
        self.halted = reason
        log.error("partition_halted", partition=self.partition, reason=reason)

    async def _run_once(self) -> None:
        """Open the partition where the database says, and work until something goes wrong."""
        settings = self._settings
        reader = await LogReader.open(
            kafka=settings.kafka,
            topic=settings.topic_prefix + USAGE_EVENTS,
            partition=self.partition,
            fetch_bytes_max=settings.fetch_bytes_max,
            quiet_seconds=settings.stuck_seconds,
        )
        try:
            state = await load_partition(self._pool, self.partition)
            last = None
            if state.last_offset is not None and state.last_digest is not None:
                last = (state.last_offset, state.last_digest)
            await reader.seek(state.next_offset, last)
            owner = Owner(
                pool=self._pool,
                settings=settings,
                reader=reader,
                state=state,
                clock=self._clock,
            )
            self.owner = owner
            await reference.load_tenants(self._pool, owner.memory)
            owner.waiting = await load_waiting(self._pool, self.partition)
            await owner.alerts.load(self._pool, self.partition)
            await owner.take_changes()
            self._tasks = await load_tasks(self._pool, self.partition)
            log.info("partition_opened", partition=self.partition, next_offset=state.next_offset)
            self.is_open = True
            await self._work(owner)
        finally:
            self.is_open = False
            self.owner = None
            await reader.close()

    async def _work(self, owner: Owner) -> None:
        """Alternate polls, tasks and chores; a poll is read while the last one is saved."""
        chores = Chores(owner)
        reading = asyncio.create_task(self._read(owner, owner.state.next_offset))
        try:
            while not self._stopping.is_set():
                task = next_task(self._tasks, owner.state.next_offset)
                if task is None and not chores.is_ready:
                    await self._wait(reading)
                if self._wake.is_set():
                    self._wake.clear()
                    await self._look_for_changes(owner)
                if reading.done():
                    poll = reading.result()
                    reading = asyncio.create_task(self._read(owner, poll.next_offset))
                    await self._rate(owner, poll)
                task = next_task(self._tasks, owner.state.next_offset)
                if task is not None:
                    await self._move(owner, task)
                await self._do_chores(owner, chores)
        finally:
            reading.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await reading

    async def _do_chores(self, owner: Owner, chores: Chores) -> None:
        try:
            await chores.step(self._tasks)
        except ChangesPending:
            await self._look_for_changes(owner)

    async def _wait(self, reading: asyncio.Task[Poll]) -> None:
        """Wait for records or for a word that something has changed."""
        waking = asyncio.create_task(self._wake.wait())
        try:
            await asyncio.wait({reading, waking}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waking.cancel()

    async def _read(self, owner: Owner, first_offset: int) -> Poll:
        """Read and decode the next stretch of the log, piece by piece, so that others get on.

        What comes while the poll before it is saved comes along: it would wait for two saves else.
        """
        if not owner.memory.tenants:
            await reference.load_tenants(self._pool, owner.memory)
        sole = owner.memory.sole_tenant
        tenant_ref = None if sole is None else sole.tenant_ref
        poll, wait_seconds = Poll.empty(first_offset), POLL_SECONDS
        end = first_offset + self._settings.poll_records_max
        while True:
            count_max = min(PIECE_RECORDS, end - poll.next_offset)
            records, behind = await owner.reader.read(count_max, wait_seconds)
            poll.extend(decode(records, owner.state.log, poll.next_offset, behind, tenant_ref))
            has_all = not records or not owner.reader.is_behind
            if poll.next_offset >= end or (has_all and not self._is_saving):
                return poll
            wait_seconds = GATHER_SECONDS if has_all else MORE_SECONDS
            await asyncio.sleep(0)

    async def _rate(self, owner: Owner, poll: Poll) -> None:
        """Save a poll, taking changes first as often as there are new ones."""
        if not poll.is_empty:
            self._is_saving = True
            try:
                while not await self._rated(owner, poll):
                    if self._stopping.is_set():
                        return
                    await self._look_for_changes(owner)
            finally:
                self._is_saving = False
            log.debug("poll_rated", partition=self.partition, next_offset=owner.state.next_offset)
        end = owner.reader.known_end
        lag = 0 if end is None else max(0, end - owner.state.next_offset)
        LAG.labels(str(self.partition)).set(lag)

    async def _rated(self, owner: Owner, poll: Poll) -> bool:
        """Save a poll; tell whether it was possible yet."""
        if not await self._are_whole(owner, poll):
            return False
        try:
            await rate(owner, poll)
        except ChangesPending:
            return False
        return True

    async def _are_whole(self, owner: Owner, poll: Poll) -> bool:
        """End the back-fills of customers whose events a poll amends, unless told to stop.

        An amendment moves what its event adds to charges: all of it must have been added.
        """
        amended = {arrival.amendment.customer_ref for arrival in poll.amendments}
        while not self._stopping.is_set():
            pending = [t for t in self._tasks if t.kind == "CONTRACT"]
            task = next((t for t in pending if t.customer_ref in amended), None)
            if task is None:
                return True
            await self._move(owner, task)
        return False

    async def _look_for_changes(self, owner: Owner) -> None:
        if await owner.take_changes():
            self._tasks = await load_tasks(self._pool, self.partition)

    async def _move(self, owner: Owner, task: Task) -> None:
        """Take one step of a task."""
        try:
            await (backfill if task.kind == "CONTRACT" else closing).step(owner, task)
        except ChangesPending:
            await self._look_for_changes(owner)
            return
        if task.is_done:
            self._tasks = [other for other in self._tasks if not other.is_done]
            log.info(
                "task_finished",
                partition=self.partition,
                kind=task.kind,
                reference_version=task.reference_version,
                contract_ref=str(task.contract_ref),
            )
