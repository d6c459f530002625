"""The heart of both clients: a bounded queue, and workers that send what is in it in batches.

All of it runs on one event loop. Batches form by themselves: whatever is handed in while the
requests under way are answered goes with the next one, so a lone event waits for nobody.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from itertools import chain
from typing import Final

from msgspec import Struct

from meterline_client.errors import ClientClosed, EventError, LoginFailed, QueueFull
from meterline_client.events import EncodedEvent
from meterline_client.limits import Limits
from meterline_client.outcomes import Accepted, Counts, Outcome, Rejected, Unknown
from meterline_client.packing import pack
from meterline_client.retry import wait_seconds
from meterline_client.transport import NoAnswer, Transport
from meterline_client.verdict import Again, Never, Placed, Refused, Settled, Split, Verdict, judge

PATH: Final = "/api/usage/events"

log = logging.getLogger("meterline_client")


class Entry(Struct, eq=False):
    """An event on its way.

    expires_at: monotonic seconds; not tried any more after it. future: for whoever waits on this
    event alone. may_be_recorded: whether a try so far may have reached the log unacknowledged.
    """

    key: str
    body: bytes
    expires_at: float
    future: Future[Outcome] | None = None
    outcome: Outcome | None = None
    may_be_recorded: bool = False


class _Tally(Struct):
    handed_in: int = 0
    accepted: int = 0
    rejected: int = 0
    unknown: int = 0
    retries: int = 0


class Sender:
    """Takes events in while there is room, and sees to it that each gets its one outcome."""

    def __init__(
        self,
        transport: Transport,
        limits: Limits,
        on_progress: Callable[[Counts], None] | None = None,
    ) -> None:
        self._transport = transport
        self._limits = limits
        self._on_progress = on_progress
        self._queue: deque[Entry] = deque()
        self._in_hand: list[list[Entry]] = [[] for _ in range(limits.requests_at_once)]
        self._held_events = 0
        self._held_bytes = 0
        self._tally = _Tally()
        self._is_closed = False
        self._workers: list[asyncio.Task[None]] = []
        self._arrived = asyncio.Event()
        self._settled = asyncio.Event()

    @property
    def counts(self) -> Counts:
        """The ledger as it stands."""
        tally = self._tally
        return Counts(
            handed_in=tally.handed_in,
            accepted=tally.accepted,
            rejected=tally.rejected,
            unknown=tally.unknown,
            retries=tally.retries,
        )

    # ------------------------------------------------------------------ in

    def put_nowait(self, event: EncodedEvent, future: Future[Outcome] | None = None) -> Entry:
        """Take an event in. Raises QueueFull, and ClientClosed."""
        if self._is_closed or not self._transport.is_open:
            raise ClientClosed("the client is closed" if self._is_closed else "open it first")
        if not self._has_room(event):
            raise QueueFull(f"{self._held_events} events are under way")
        expires_at = time.monotonic() + self._limits.deadline_seconds
        entry = Entry(event.key, event.body, expires_at, future)
        if not self._queue:
            _wake(self._arrived)
            self._start_workers()
        self._queue.append(entry)
        self._held_events += 1
        self._held_bytes += len(entry.body)
        self._tally.handed_in += 1
        return entry

    async def put(self, event: EncodedEvent, future: Future[Outcome] | None = None) -> Entry:
        """Take an event in as soon as there is room. Raises ClientClosed."""
        while not self._is_closed and not self._has_room(event):
            await self._settled.wait()
        return self.put_nowait(event, future)

    def _has_room(self, event: EncodedEvent) -> bool:
        """Tell whether the bounds allow another event; a lone one is always allowed."""
        limits = self._limits
        return self._held_events == 0 or (
            self._held_events < limits.queue_events
            and self._held_bytes + len(event.body) <= limits.queue_bytes
        )

    async def wait_settled(self) -> None:
        """Wait until some events get their outcomes."""
        await self._settled.wait()

    async def flush(self) -> None:
        """Wait until every event that is held now has its outcome."""
        waiting = [*chain.from_iterable(self._in_hand), *self._queue]
        while waiting:
            if waiting[-1].outcome is not None:
                waiting.pop()
            else:
                await self._settled.wait()

    async def close(self, seconds: float) -> None:
        """Take nothing more in, wait for what is held, then give up on what is left."""
        self._is_closed = True
        _wake(self._settled)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.flush()
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        self._give_up([*self._queue], "the client was closed")
        self._queue.clear()

    # ------------------------------------------------------------------ out

    def _start_workers(self) -> None:
        if not self._workers:
            numbers = range(self._limits.requests_at_once)
            self._workers = [asyncio.create_task(self._work(number)) for number in numbers]

    async def _work(self, number: int) -> None:
        """Deliver one batch after the other; whatever happens, a batch ends in outcomes."""
        while True:
            while not self._queue:
                await self._arrived.wait()
            batch = self._in_hand[number] = self._take()
            reason = "the client was closed"
            try:
                await self._deliver(batch)
            except Exception as error:
                log.exception("a batch could not be delivered")
                reason = f"an error of the client: {error!r}"
            finally:
                self._give_up([entry for entry in batch if entry.outcome is None], reason)
                self._in_hand[number] = []

    def _take(self) -> list[Entry]:
        """Take the next batch off the queue, within its bounds but never empty."""
        queue, limits = self._queue, self._limits
        batch = [queue.popleft()]
        size = len(batch[0].body) + 3
        while queue and len(batch) < limits.batch_events:
            size += len(queue[0].body) + 1
            if size > limits.batch_bytes:
                break
            batch.append(queue.popleft())
        return batch

    async def _deliver(self, batch: Sequence[Entry]) -> None:
        """Send a batch until every event of it is settled, or its time is over."""
        entries, tried = self._timely(batch, "its time was over before it could be sent"), 0
        while entries:
            verdict, retry_after = await self._try(entries)
            if isinstance(verdict, Split):
                half = len(entries) // 2
                await self._deliver(entries[:half])
                await self._deliver(entries[half:])
                return
            entries, reason = self._apply(verdict, entries)
            if not entries:
                return
            tried += 1
            self._tally.retries += 1
            log.info("events sent again: %d, %s", len(entries), reason)
            seconds = self._wait_seconds(tried, retry_after)
            entries = self._timely(entries, reason, after=seconds)
            await asyncio.sleep(seconds if entries else 0)

    def _wait_seconds(self, tried: int, retry_after: float) -> float:
        limits = self._limits
        first, longest = limits.backoff_seconds, limits.backoff_seconds_max
        return wait_seconds(tried, retry_after, first=first, longest=longest)

    def _timely(
        self, entries: Sequence[Entry], reason: str, *, after: float = 0.0
    ) -> Sequence[Entry]:
        """Give up on the entries whose time will be over, and return the others."""
        then = time.monotonic() + after
        self._give_up([entry for entry in entries if entry.expires_at <= then], reason)
        return [entry for entry in entries if entry.outcome is None]

    async def _try(self, entries: Sequence[Entry]) -> tuple[Verdict, float]:
        """Send entries once; the verdict, and the seconds that the server wants to be left alone.

        The bodies are the same bytes at every try.
        """
        events = b"[" + b",".join([entry.body for entry in entries]) + b"]"
        body, headers = await pack(events, self._limits.gzip_bytes_min)
        left = max(entry.expires_at for entry in entries) - time.monotonic()
        seconds = min(self._limits.request_seconds, max(left, 0.1))
        try:
            answer = await self._transport.fetch(
                "POST", PATH, body, seconds=seconds, headers=headers
            )
        except NoAnswer as error:
            return Again(error.reason, error.may_be_recorded), error.retry_after
        except LoginFailed as error:
            return Never(error), 0.0
        except asyncio.CancelledError:
            for entry in entries:
                entry.may_be_recorded = True
            raise
        return judge(answer.status, answer.body, len(entries)), answer.retry_after

    # ------------------------------------------------------------------ outcomes

    def _apply(
        self, verdict: Settled | Again | Never, entries: Sequence[Entry]
    ) -> tuple[Sequence[Entry], str]:
        """Settle what the verdict settles; return what is to be sent again, and why."""
        if isinstance(verdict, Never):
            reason = str(verdict.error)
            self._give_up(entries, reason)
            return (), reason
        if isinstance(verdict, Settled):
            reason = "the log did not acknowledge in time"
            entries = self._settle_each(verdict.results, entries)
        else:
            reason = verdict.reason
        for entry in entries:
            entry.may_be_recorded |= verdict.may_be_recorded
        return entries, reason

    def _settle_each(
        self, results: Sequence[Placed | Refused | None], entries: Sequence[Entry]
    ) -> Sequence[Entry]:
        """Settle every entry that the server spoke of, and return the others."""
        again, refused = [], []
        for result, entry in zip(results, entries, strict=True):
            match result:
                case Placed(event_ref, receipt):
                    self._settle(entry, Accepted(entry.key, event_ref, receipt))
                case Refused(errors):
                    self._settle(entry, _refusal(entry, errors))
                    refused.append(errors)
                case None:
                    again.append(entry)
        if refused:
            log.warning("rejected events: %d, the first because of %s", len(refused), refused[0][0])
        self._tell()
        return again

    def _give_up(self, entries: Sequence[Entry], reason: str) -> None:
        if entries:
            log.warning("events given up: %d, %s", len(entries), reason)
            for entry in entries:
                unknown = Unknown(entry.key, reason, entry.may_be_recorded, entry.body)
                self._settle(entry, unknown)
            self._tell()

    def _settle(self, entry: Entry, outcome: Outcome) -> None:
        """Give an entry its one outcome."""
        assert entry.outcome is None, "an event has one outcome"
        entry.outcome = outcome
        self._held_events -= 1
        self._held_bytes -= len(entry.body)
        match outcome:
            case Accepted():
                self._tally.accepted += 1
            case Rejected():
                self._tally.rejected += 1
            case Unknown():
                self._tally.unknown += 1
        if entry.future is not None:
            entry.future.set_result(outcome)

    def _tell(self) -> None:
        """Wake who waits for outcomes, and report progress."""
        _wake(self._settled)
        if self._on_progress is not None:
            try:
                self._on_progress(self.counts)
            except Exception:  # a caller's mistake must not cost events their outcomes
                log.exception("on_progress failed")


def _refusal(entry: Entry, errors: tuple[EventError, ...]) -> Rejected | Unknown:
    """Return the outcome of an event that the server refuses.

    One that an earlier try may have put into the log can't be called rejected.
    """
    if entry.may_be_recorded:
        reason = f"refused after a try of unknown outcome: {errors[0]}"
        return Unknown(entry.key, reason, may_be_recorded=True, body=entry.body)
    return Rejected(entry.key, errors, entry.body)


def _wake(event: asyncio.Event) -> None:
    """Let all who wait on an event go on, and make it wait anew."""
    event.set()
    event.clear()
