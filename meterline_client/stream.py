"""Outcomes in the order of their events, over as many events as there are, in bounded memory."""

from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

from meterline_client.events import EncodedEvent, Event, encode_event
from meterline_client.limits import Limits
from meterline_client.outcomes import Outcome, Rejected
from meterline_client.sender import Entry, Sender

CHUNK_EVENTS: Final = 500
"""Events that are handed in at a time: the sync client crosses threads once for each."""

Item = Event | EncodedEvent | Rejected
"""What a stream is made of. A Rejected is an event that its caller has found bad already."""


class InOrder:
    """Events on their way in a row: outcomes come out at the front."""

    def __init__(self, sender: Sender, limits: Limits) -> None:
        self._sender = sender
        self._row: deque[Entry | Rejected] = deque()
        self._row_max = limits.queue_events + CHUNK_EVENTS

    async def push(self, items: Sequence[Item]) -> list[Outcome]:
        """Hand events in as there is room; return the outcomes that are due by now.

        Raises TypeError for an event that can't be sent; those before it are under way.
        """
        for item in items:
            if isinstance(item, Rejected):
                self._row.append(item)
            else:
                self._row.append(await self._sender.put(encode_event(item)))
        outcomes = self._settled()
        while len(self._row) > self._row_max:
            outcomes += await self.more()
        return outcomes

    async def more(self) -> list[Outcome]:
        """Wait for the next outcomes and return them; none when there are no more."""
        while not (outcomes := self._settled()) and self._row:
            await self._sender.wait_settled()
        return outcomes

    def _settled(self) -> list[Outcome]:
        """Take what is settled off the front."""
        outcomes: list[Outcome] = []
        while self._row:
            first = self._row[0]
            outcome = first if isinstance(first, Rejected) else first.outcome
            if outcome is None:
                break
            outcomes.append(outcome)
            self._row.popleft()
        return outcomes


def chunks(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Cut a stream into pieces."""
    iterator = iter(items)
    while chunk := list(islice(iterator, CHUNK_EVENTS)):
        yield chunk


async def achunks(items: Iterable[Item] | AsyncIterable[Item]) -> AsyncIterator[list[Item]]:
    """Cut a stream of either kind into pieces."""
    if isinstance(items, Iterable):
        for chunk in chunks(items):
            yield chunk
        return
    chunk = []
    async for item in items:
        chunk.append(item)
        if len(chunk) == CHUNK_EVENTS:
            yield chunk
            chunk = []
    yield chunk
