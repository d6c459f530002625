"""Group commit: the events of a partition share a batch, a flush and one future.

While a batch of a partition is under way the next one fills; an idle partition sends at once, with
all that came in the same turn of the loop. Nobody waits on a timer, and nobody pays for a future
of their own.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from time import monotonic
from typing import Any, Final, Protocol

import msgspec
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from gateway import metrics
from gateway.turns import Call, call_all
from runtime.crashpoints import crashpoint

NO_OFFSET: Final = -1
"""What Kafka answers for a batch that it has already, when it forgot where."""


class Settlement(msgspec.Struct, frozen=True):
    """How a batch ended.

    base_offset: the place of its first record in the log, NO_OFFSET when it is there but nobody
    knows where, None when Kafka has not said that it is.
    may_be_recorded: it was handed to Kafka, so it is, or may be.
    """

    base_offset: int | None
    may_be_recorded: bool


NOT_SENT: Final = Settlement(None, may_be_recorded=False)
UNKNOWN: Final = Settlement(None, may_be_recorded=True)


class SharedFuture(asyncio.Future[Settlement]):
    """A future that many wait on: cancelling one of them leaves it to the others.

    The cancelled one wakes when the batch settles, which its deadline bounds.
    """

    def cancel(self, msg: Any | None = None) -> bool:  # noqa: ANN401 - the base's signature
        """Refuse: the records are on their way, whoever still listens."""
        return False


class Builder(Protocol):
    """What aiokafka's batch builder does for us."""

    def append(self, *, timestamp: int, key: bytes, value: bytes) -> object | None:
        """Add a record; None when the batch is full."""


class Producer(Protocol):
    """What aiokafka's producer does for us."""

    def create_batch(self) -> Any:  # noqa: ANN401 - aiokafka ships no types
        """Make an empty batch."""

    async def send_batch(self, batch: Any, topic: str, *, partition: int) -> Any:  # noqa: ANN401
        """Hand a batch over; returns a future of its place in the log."""


class ProducerBroken(Exception):
    """The producer must be thrown away: an error left a gap in its sequence, or it is stuck."""


class BatchRefused(ProducerBroken):
    """The broker takes no batch as large as this one."""


class Batch:
    """Records of one partition that will be sent together.

    settled: how it ended; every event in it waits on this one future.
    base_offset: the settlement's, None before.
    """

    __slots__ = (
        "_told", "append", "base_offset", "builder", "count", "deadline", "is_handed_over",
        "opened_at", "settled",
    )  # fmt: skip

    def __init__(self, builder: Builder, deadline_seconds: float) -> None:
        self.builder = builder
        self.append = builder.append
        self.base_offset: int | None = None
        self.count = 0
        self.is_handed_over = False
        self.opened_at = monotonic()
        loop = asyncio.get_running_loop()
        self.settled = SharedFuture(loop=loop)
        self._told: list[Call] = []
        self.deadline = loop.call_later(deadline_seconds, self.expire)

    def when_settled(self, call: Call) -> None:
        """Have a call made once it is settled, in one go with those of its other events."""
        if not self._told:
            self.settled.add_done_callback(self._tell)
        self._told.append(call)

    def _tell(self, _settled: object) -> None:
        told, self._told = self._told, []
        call_all(told)

    def expire(self) -> None:
        """Tell the waiting that the time is up; what Kafka does with it is its own affair."""
        self.settle(UNKNOWN if self.is_handed_over else NOT_SENT)

    def settle(self, settlement: Settlement) -> None:
        """Say how it ended, unless that was said before."""
        self.deadline.cancel()
        if self.settled.done():
            return
        self.base_offset = settlement.base_offset
        self.settled.set_result(settlement)
        if settlement.base_offset is None:
            metrics.PUBLISH_FAILURES.inc()
            metrics.EVENTS_UNKNOWN.inc(self.count)
        else:
            metrics.EVENTS_ACCEPTED.inc(self.count)
            metrics.PUBLISH_SECONDS.observe(monotonic() - self.opened_at)


class Patience:
    """Ends the wait of a task that lasts too long: one timer for all its waits behind each other.

    `asyncio.timeout` does the same for one wait, with a timer made and dropped for each: some 2 %
    of what an event costs on the fast lane.
    """

    def __init__(self, seconds: float) -> None:
        task = asyncio.current_task()
        assert task is not None, "it belongs to the task that makes it"
        self._task = task
        self._seconds = seconds
        self._waits_since: float | None = None
        self._has_run_out = False
        self._look_after(seconds)

    def begin(self) -> None:
        """Note that a wait begins."""
        self._waits_since = monotonic()

    def end(self) -> None:
        """Note that it is over."""
        self._waits_since = None

    def has_run_out(self) -> bool:
        """Tell whether this, and nobody else, has cancelled the task; that is undone then."""
        return self._has_run_out and not self._task.uncancel()

    def stop(self) -> None:
        """Look no more."""
        self._timer.cancel()

    def _look_after(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        waited = 0.0 if self._waits_since is None else monotonic() - self._waits_since
        if waited < self._seconds:
            self._look_after(self._seconds - waited)
        else:
            self._has_run_out = True
            self._task.cancel()


class Lane:
    """One partition's batches: one filling, full ones behind each other, one under way."""

    def __init__(
        self, topic: str, partition: int, *, deadline_seconds: float, patience_seconds: float
    ) -> None:
        self._topic = topic
        self._partition = partition
        self._deadline_seconds = deadline_seconds
        self._give_up_seconds = deadline_seconds + patience_seconds
        self._make_builder: Callable[[], Builder] | None = None
        self._filling: Batch | None = None
        self._full: deque[Batch] = deque()
        self._under_way: Batch | None = None
        self._is_retired = False
        self._wake = asyncio.Event()

    def add(self, key: bytes, value: bytes) -> tuple[Batch, int]:
        """Add a record; return its batch and its index there. Never waits.

        The caller bounds the bytes that wait, and knows that a producer is open.
        """
        batch = self._filling
        if batch is None:
            batch = self._open()
        if batch.append(timestamp=0, key=key, value=value) is None:
            self._full.append(batch)
            batch = self._open()
            appended = batch.append(timestamp=0, key=key, value=value)
            assert appended is not None, "an empty batch takes any record"
        index = batch.count
        batch.count = index + 1
        if not index:
            self._wake.set()
        return batch, index

    def add_all(self, records: Sequence[tuple[bytes, bytes]]) -> list[tuple[Batch, int, int]]:
        """Add keys and values in order, as `add` does.

        Returns the batches that took them: each with the index of the first in it, and how many.
        """
        runs: list[tuple[Batch, int, int]] = []
        taken = 0
        while taken < len(records):
            batch, first = self.add(*records[taken])
            append = batch.append
            count = 1
            for key, value in islice(records, taken + 1, None):
                if append(timestamp=0, key=key, value=value) is None:
                    break  # it is full, and the next `add` opens another
                count += 1
            batch.count = first + count
            runs.append((batch, first, count))
            taken += count
        return runs

    def _open(self) -> Batch:
        assert self._make_builder is not None, "no producer has been open yet"
        self._filling = Batch(self._make_builder(), self._deadline_seconds)
        return self._filling

    async def run(self, producer: Producer) -> None:
        """Send batch after batch through one producer until retired. Raises ProducerBroken."""
        self._make_builder = producer.create_batch
        self._is_retired = False
        patience = Patience(self._give_up_seconds)
        try:
            while not self._is_retired:
                batch = self._take()
                if batch is None:
                    self._wake.clear()
                    await self._wake.wait()
                elif not batch.settled.done():  # else its deadline passed while it waited
                    await self._send(producer, batch, patience)
        finally:
            patience.stop()

    def retire(self) -> None:
        """End `run` once what is under way is settled; what waits goes through the successor."""
        self._is_retired = True
        self._wake.set()

    def _take(self) -> Batch | None:
        """Take the batch that goes next, None when there is none."""
        if self._full:
            return self._full.popleft()
        batch, self._filling = self._filling, None
        return batch

    async def _send(self, producer: Producer, batch: Batch, patience: Patience) -> None:
        """Send a batch and settle it, one way or the other."""
        batch.is_handed_over = True
        self._under_way = batch
        patience.begin()
        try:
            sent = await producer.send_batch(batch.builder, self._topic, partition=self._partition)
            crashpoint("gateway.before_ack")
            metadata = await sent
        except asyncio.CancelledError:
            if not patience.has_run_out():
                raise
            raise ProducerBroken(f"partition {self._partition}: Kafka does not answer") from None
        except MessageSizeTooLargeError as error:
            metrics.BATCHES_REFUSED.inc()
            raise BatchRefused(f"partition {self._partition}: {error!r}") from error
        except (KafkaError, OSError) as error:
            raise ProducerBroken(f"partition {self._partition}: {error!r}") from error
        else:
            self._acknowledged(batch, metadata.offset)
        finally:
            patience.end()
            self._under_way = None
            batch.settle(UNKNOWN)  # unless it was acknowledged

    def _acknowledged(self, batch: Batch, base_offset: int) -> None:
        if base_offset < 0:
            base_offset = NO_OFFSET
            metrics.OFFSETS_MISSING.inc()
        batch.settle(Settlement(base_offset, may_be_recorded=True))

    def is_idle(self) -> bool:
        """Tell whether nothing waits and nothing is under way."""
        return self._under_way is None and self._filling is None and not self._full

    async def drained(self) -> None:
        """Wait until what has been added so far is settled."""
        batches = [*self._full, self._filling, self._under_way]
        for batch in batches:
            if batch is not None:
                await batch.settled
