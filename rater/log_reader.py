"""Reads one partition of the log: from a given offset, committed records alone, proving gaps.

Each partition has a client of its own: what happens to one of them, a seek, an error, a frozen
connection, touches no other. Offsets come from Postgres; no group is joined. One answer of the
broker is under way while the one before it is read.
"""

import asyncio
import time
from typing import Self

from aiokafka import TopicPartition
from aiokafka.errors import OffsetOutOfRangeError

from rater.arrivals import Record
from rater.decoding import record_digest
from rater.fetching import EARLIEST, LATEST, REQUEST_SECONDS_MAX, Answer, Committed, PartitionClient

#: How long a poll that holds something waits for more.
MORE_SECONDS = 0.02


class LogMismatch(Exception):
    """The log is not the one that was rated: made anew or cut off. Only people can help."""


class ReaderStuck(Exception):
    """The log has records and the client gives none: a new client finds its way."""


class LogReader:
    """The committed records of one partition, in order, each once."""

    def __init__(self, client: PartitionClient, quiet_seconds: float) -> None:
        self._client = client
        #: What the broker was asked for, and from where on.
        self._answer: asyncio.Task[Answer] | None = None
        self._asked = 0
        #: What of its last answer was not read, what was read and not given, and where that ends.
        self._batches: Committed | None = None
        self._rest: list[Record] = []
        self._behind = 0
        self._end: int | None = None
        self._quiet_seconds = quiet_seconds
        #: When the silence began, or was last asked about.
        self._quiet_since: float | None = None
        #: The end of the log when the silence was last asked about.
        self._quiet_end = 0

    @classmethod
    async def open(
        cls, *, kafka: str, topic: str, partition: int, fetch_bytes_max: int, quiet_seconds: float
    ) -> Self:
        """Connect; `seek` says where to start.

        quiet_seconds: after so long without a record the broker is asked whether there are any.
        """
        place = TopicPartition(topic, partition)
        client = await PartitionClient.open(kafka=kafka, place=place, bytes_max=fetch_bytes_max)
        return cls(client, quiet_seconds)

    async def close(self) -> None:
        """Disconnect."""
        await self._drop()
        await self._client.close()

    async def end_offset(self) -> int:
        """Return the offset behind the last record that may be read now."""
        return await self._client.offset(LATEST)

    @property
    def known_end(self) -> int | None:
        """The end of the log as the last answer of the broker told it."""
        return self._end

    @property
    def is_behind(self) -> bool:
        """Tell whether the broker has spoken of records that were not read."""
        return self._end is not None and self._end > self._position

    async def seek(self, next_offset: int, last: tuple[int, bytes] | None) -> None:
        """Go to `next_offset`, once the log proves to be the one that was read before.

        last: offset and digest of the last record rated. Raises LogMismatch.
        """
        start, end = await self._client.offset(EARLIEST), await self.end_offset()
        if not start <= next_offset <= end:
            raise LogMismatch(f"the log holds {start} to {end}, rating stands at {next_offset}")
        if last is not None and last[0] >= start:
            await self._prove(*last)
        await self._go_to(next_offset)

    async def _prove(self, offset: int, digest: bytes) -> None:
        await self._go_to(offset)
        deadline = time.monotonic() + REQUEST_SECONDS_MAX
        while time.monotonic() < deadline:
            records = self._take(1)
            if records:
                if records[0].offset == offset and record_digest(records[0]) == digest:
                    return
                raise LogMismatch(f"the record at offset {offset} is not the one that was rated")
            await self._wait(0.5)
        raise TimeoutError(f"no record at offset {offset} within {REQUEST_SECONDS_MAX} s")

    async def read(self, count_max: int, wait_seconds: float) -> tuple[list[Record], int]:
        """Read what there is, waiting so long for a first record.

        Returns the records and the offset up to which the log was read: behind the last record
        there is nothing readable before it. Raises LogMismatch when the log has lost its place,
        ReaderStuck when the client has.
        """
        first, deadline = self._position, time.monotonic() + wait_seconds
        records = self._take(count_max)
        while len(records) < count_max and (self.is_behind if records else self._position == first):
            left = deadline - time.monotonic()
            if not await self._wait(MORE_SECONDS if records else left):
                break
            records += self._take(count_max - len(records))
        if records:
            self._quiet_since = None
        else:
            await self._ask_about_silence(self._position)
        return records, self._position

    @property
    def _position(self) -> int:
        """The offset up to which everything readable was given."""
        return self._rest[0].offset if self._rest else self._behind

    def _take(self, count_max: int) -> list[Record]:
        """Give records of what the broker has answered, up to so many."""
        records, self._rest = self._rest, []
        while len(records) < count_max and self._batches is not None:
            batch = self._batches.next_batch()
            if batch is None:
                self._batches = None
                break
            more, behind = batch
            if more and more[0].offset < self._behind:
                more = [record for record in more if record.offset >= self._behind]
            records += more
            self._behind = max(self._behind, behind)
        self._rest = records[count_max:]
        return records[:count_max] if self._rest else records

    async def _wait(self, seconds: float) -> bool:
        """Wait so long for the broker's answer, and ask for what follows it; tell whether it came.

        Only when the last answer was read to its end.
        """
        if self._answer is None:
            self._ask()
        assert self._answer is not None
        done, _ = await asyncio.wait({self._answer}, timeout=max(0, seconds))
        if not done:
            return False
        try:
            answer = self._answer.result()
        except OffsetOutOfRangeError as error:
            raise LogMismatch(f"the log does not hold the offset to read next: {error}") from error
        self._end = answer.end
        self._batches = Committed(answer)
        if answer.batches:
            self._asked = answer.batches[-1].next_offset
        self._ask()
        return True

    def _ask(self) -> None:
        self._answer = asyncio.create_task(self._client.fetch(self._asked))

    async def _go_to(self, offset: int) -> None:
        """Forget what was read and asked for, and go on at an offset."""
        await self._drop()
        self._batches, self._rest = None, []
        self._asked = self._behind = offset

    async def _drop(self) -> None:
        """Give up the answer that is under way."""
        if self._answer is not None:
            self._answer.cancel()
            await asyncio.gather(self._answer, return_exceptions=True)
            self._answer = None

    async def _ask_about_silence(self, position: int) -> None:
        """Ask the broker itself from time to time whether there is nothing to read.

        Raises ReaderStuck when records were there the last time already: the client has been seen
        to lose its way without an error.
        """
        now = time.monotonic()
        if self._quiet_since is None:
            self._quiet_since, self._quiet_end = now, position
        elif now - self._quiet_since >= self._quiet_seconds:
            if position < self._quiet_end:
                raise ReaderStuck(
                    f"at {position} of {self._quiet_end} for {now - self._quiet_since:.1f} s"
                )
            self._quiet_since, self._quiet_end = now, await self.end_offset()
