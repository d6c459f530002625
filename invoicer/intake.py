"""How inputs get into documents whatever goes wrong: retried, halved, and at last set aside.

A batch is one transaction an issuer and year; a few are under way at once, of different customers,
so that one is drawn up here while the database writes another. The database being away or busy is
waited out. A batch that fails by itself is halved until the input at fault stands alone; that one
is parked, where a person sees it, and the others go on. Where somebody keeps a series or a contract
locked for long, its entity is left to a later scan, and the others go on.
"""

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Final, TypeVar
from uuid import UUID

import asyncpg

from invoicer import metrics, repository
from invoicer.ahead_rows import find_overdue
from invoicer.assembly import DocumentKey
from invoicer.event_billing import bill_events
from invoicer.inputs import DueContract, InputKey
from invoicer.issuing import Outcome, draw_again, release, take_inputs
from invoicer.repository import Issuer, Routed
from invoicer.waiting import find_stranded
from runtime.clock import Clock
from runtime.lifecycle import wait_for
from runtime.logging import get_logger
from runtime.postgres import TRANSIENT_ERRORS, Connection
from schemas.event_ref import SHARD_KEY_MASK

_log = get_logger()
_Result = TypeVar("_Result")

BACKOFF_SECONDS_MIN: Final = 0.05
BACKOFF_SECONDS_MAX: Final = 15.0
ERROR_LENGTH_MAX: Final = 2_000
LOCK_WAIT: Final = "5s"
"""How long a batch waits for a lock: far longer than others of us hold one."""
HELD_SECONDS: Final = 30.0
"""How long an entity with a lock that did not come is left alone."""

_ROUTED_PER_QUERY: Final = 5_000
_FIRST: Final = (-1, UUID(int=0))


class Stopping(Exception):
    """The process is to stop while the database is away; nothing of the batch is done."""


class Intake:
    """Takes inputs, from messages and from scans alike."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        clock: Clock,
        *,
        batch_size_max: int,
        stopping: asyncio.Event,
        issued: asyncio.Event,
        batches_at_once: int = 1,
    ) -> None:
        """issued: set whenever documents were issued."""
        self._pool = pool
        self._clock = clock
        self._batch_size_max = batch_size_max
        self._stopping = stopping
        self._issued = issued
        self._batches_at_once = batches_at_once
        self._held_until: dict[tuple[int, int], float] = {}

    async def take(self, keys: Sequence[InputKey]) -> int:
        """Take all inputs; on return each is recorded with its document, or parked, or left.

        Returns how many are left for a scan, since a lock of their entity's did not come.

        Raises Stopping, and what is no input's fault and no passing trouble, such as a missing
        table: then the process should end.
        """
        distinct = sorted(set(keys))
        return sum(
            [
                await self._take_distinct(distinct[start : start + _ROUTED_PER_QUERY])
                for start in range(0, len(distinct), _ROUTED_PER_QUERY)
            ]
        )

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        """Lend a connection that waits for locks within a bound; the pool sets it back."""
        async with self._pool.acquire() as connection:
            await connection.execute(f"SET lock_timeout = '{LOCK_WAIT}'")
            yield connection

    async def take_events(self, contract: DueContract) -> None:
        """Bill what is due of a contract's events, each by a document; what fails is parked.

        Raises Stopping. What comes behind one that fails waits for it; a scan tries it again.
        """
        count, is_more = self._batch_size_max, True
        while is_more:
            try:
                is_more = await self._retried(partial(self._bill_events, contract, count))
            except (Stopping, asyncpg.SyntaxOrAccessError):
                raise
            except asyncpg.LockNotAvailableError:
                metrics.BATCHES_HELD.inc()
                _log.warning("events_left_for_later", contract_ref=str(contract.contract_ref))
                return
            except Exception as error:
                if count == 1:
                    key = InputKey(*contract, UUID(int=0), "EVENT_DUE", 0)
                    await self._park(key, f"{type(error).__name__}: {error}")
                    return
                metrics.BATCHES_HALVED.inc()
                count = 1

    async def _bill_events(self, contract: DueContract, count: int) -> bool:
        with metrics.BATCH_SECONDS.time():
            async with self._connection() as connection:
                outcome, is_more = await bill_events(connection, *contract, count, self._clock)
        metrics.INPUTS_TAKEN.labels("taken").inc(outcome.inputs)
        metrics.DOCUMENTS_DRAFTED.inc(outcome.drafted)
        metrics.DOCUMENTS_ISSUED.inc(outcome.issued)
        if outcome.issued:
            self._issued.set()
            _log.info("events_billed", contract_ref=str(contract.contract_ref), **outcome._asdict())
        return is_more

    async def release_stranded(self, before: datetime) -> int:
        """Correct what has waited since before then for a document that is not to come any more.

        Returns how many documents that made. Raises Stopping.
        """
        released = 0
        after: tuple[int, UUID] | None = _FIRST
        while after is not None:
            async with self._pool.acquire() as connection:
                arguments = (before, after, self._batch_size_max)
                stranded, after = await find_stranded(connection, *arguments)
            for issuer, documents in stranded.items():
                try:
                    outcome = await self._retried(partial(self._release, issuer, documents))
                except asyncpg.LockNotAvailableError:
                    self._hold(issuer)
                    continue
                self._report(issuer, outcome)
                released += outcome.issued
        return released

    async def settle_overdue(self, now: datetime) -> int:
        """Draw drafts up once more whose day has come and which no message will move.

        Returns how many were issued. Raises Stopping.
        """
        issued = 0
        async with self._pool.acquire() as connection:
            overdue = await find_overdue(connection, now, self._batch_size_max)
        for issuer, documents in sorted(overdue.items()):
            outcome = await self._retried(partial(self._draw_again, issuer, documents))
            self._report(issuer, outcome)
            issued += outcome.issued
        return issued

    async def _draw_again(self, issuer: Issuer, documents: Sequence[DocumentKey]) -> Outcome:
        async with self._pool.acquire() as connection:
            return await draw_again(connection, issuer, documents, self._clock)

    async def _release(self, issuer: Issuer, documents: Sequence[DocumentKey]) -> Outcome:
        async with self._connection() as connection:
            return await release(connection, issuer, documents, self._clock)

    async def _take_distinct(self, keys: Sequence[InputKey]) -> int:
        routed = await self._retried(partial(self._route, keys))
        for key in sorted(set(keys).difference(found.key for found in routed)):
            await self._park(key, "names no cut of a period of that contract product")
        metrics.INPUTS_TAKEN.labels("repeated").inc(sum(found.is_taken for found in routed))
        upon_usage = {
            DueContract(found.key.shard_key, found.document.contract_ref)
            for found in routed
            if found.bills_events and not found.is_taken
        }
        for contract in sorted(upon_usage):  # a period's document bills what these leave
            await self.take_events(contract)
        lanes: list[list[Routed]] = [[] for _ in range(self._batches_at_once)]
        for found in routed:
            if not found.is_taken:
                lanes[found.key.shard_key * len(lanes) // (SHARD_KEY_MASK + 1)].append(found)
        ended = await asyncio.gather(*map(self._take_lane, lanes), return_exceptions=True)
        for error in ended:
            if isinstance(error, BaseException):
                raise error
        return sum(left for left in ended if isinstance(left, int))

    async def _take_lane(self, inputs: Sequence[Routed]) -> int:
        """Take inputs batch by batch; return how many are left.

        A customer's are in one lane, so that years follow years.
        """
        left = 0
        by_issuer: dict[Issuer, list[Routed]] = defaultdict(list)
        for found in inputs:
            by_issuer[found.issuer].append(found)
        for issuer, own in sorted(by_issuer.items()):
            for start in range(0, len(own), self._batch_size_max):
                batch = own[start : start + self._batch_size_max]
                if self._is_held(issuer):
                    left += len(batch)
                    continue
                try:
                    await self._take_halving(issuer, batch)
                except asyncpg.LockNotAvailableError:
                    self._hold(issuer)
                    left += len(batch)
        return left

    def _is_held(self, issuer: Issuer) -> bool:
        return time.monotonic() < self._held_until.get(issuer[:2], 0.0)

    def _hold(self, issuer: Issuer) -> None:
        """Leave an entity alone for a while: somebody keeps what its documents need locked."""
        self._held_until[issuer[:2]] = time.monotonic() + HELD_SECONDS
        metrics.BATCHES_HELD.inc()
        _log.warning("entity_left_for_later", entity_id=issuer.entity_id)

    async def _route(self, keys: Sequence[InputKey]) -> list[Routed]:
        async with self._pool.acquire() as connection:
            return await repository.route_inputs(connection, keys)

    async def _take_halving(self, issuer: Issuer, inputs: Sequence[Routed]) -> None:
        """Take a batch; where it fails, its halves, down to the single input that is at fault."""
        pending = [inputs]
        while pending:
            batch = pending.pop()
            try:
                await self._retried(partial(self._take_batch, issuer, batch))
            except (Stopping, asyncpg.SyntaxOrAccessError, asyncpg.LockNotAvailableError):
                raise  # no input is at fault, so none may be parked for it
            except Exception as error:
                if len(batch) == 1:
                    await self._park(batch[0].key, f"{type(error).__name__}: {error}")
                    continue
                metrics.BATCHES_HALVED.inc()
                middle = len(batch) // 2
                pending += [batch[middle:], batch[:middle]]

    async def _take_batch(self, issuer: Issuer, inputs: Sequence[Routed]) -> None:
        with metrics.BATCH_SECONDS.time():
            async with self._connection() as connection:
                outcome = await take_inputs(connection, issuer, inputs, self._clock)
        self._report(issuer, outcome)

    def _report(self, issuer: Issuer, outcome: Outcome) -> None:
        metrics.INPUTS_TAKEN.labels("taken").inc(outcome.inputs)
        metrics.DOCUMENTS_DRAFTED.inc(outcome.drafted)
        metrics.DOCUMENTS_ISSUED.inc(outcome.issued)
        if outcome.issued:
            self._issued.set()
        if outcome.inputs:
            _log.info("inputs_taken", entity_id=issuer.entity_id, **outcome._asdict())

    async def _park(self, key: InputKey, error: str) -> None:
        async def park() -> None:
            async with self._pool.acquire() as connection:
                await repository.park_input(connection, key, error[:ERROR_LENGTH_MAX])

        await self._retried(park)
        metrics.INPUTS_TAKEN.labels("parked").inc()
        _log.warning(
            "input_parked",
            contract_product_ref=str(key.contract_product_ref),
            period_ref=str(key.period_ref),
            cut_number=key.cut_number,
            error=error,
        )

    async def _retried(self, step: Callable[[], Awaitable[_Result]]) -> _Result:
        """Run a step until the database takes it; the step must be safe to run again."""
        backoff = BACKOFF_SECONDS_MIN
        while True:
            try:
                return await step()
            except TRANSIENT_ERRORS as error:
                if isinstance(error, ValueError):
                    raise  # the driver's word for an argument that no column can hold
                metrics.BATCHES_RETRIED.inc()
                _log.warning("database_waited_for", error=repr(error), seconds=backoff)
                pause = backoff * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, no secret
                if await wait_for(self._stopping, pause):
                    raise Stopping from error
                backoff = min(2 * backoff, BACKOFF_SECONDS_MAX)
