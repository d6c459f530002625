"""Asks Kafka's brokers for one partition of a log: its bounds, and its records by whole batches.

A consumer makes an object, a tuple and a few calls for every record, which costs several times what
its batch costs to read. Here nothing is done record by record. What a consumer sees to besides is
seen to here: the partition's leader, errors that pass, records of transactions that were aborted.
"""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple, Protocol, Self

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import (
    CorruptRecordException,
    KafkaError,
    KafkaTimeoutError,
    LeaderNotAvailableError,
    RecordTooLargeError,
    for_code,
)
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.record.control_record import ABORT_MARKER, ControlRecord
from aiokafka.record.memory_records import MemoryRecords

from rater.arrivals import Record

#: How long a request for offsets may take, with all its repetitions, and any other one.
REQUEST_SECONDS_MAX: Final = 10.0
RETRY_SECONDS: Final = 0.1
#: How long a broker that has nothing waits for records.
WAIT_SECONDS: Final = 0.5

EARLIEST: Final = -2
LATEST: Final = -1
"""What `offset` can be asked for, in the protocol's own numbers."""

_READ_COMMITTED: Final = 1
_PREFERS_REPLICAS: Final = 11
"""From this version on an answer names a replica behind its list of aborted transactions."""


class Batch(Protocol):
    """A batch of records as it lies in the log. Reading them decompresses it."""

    base_offset: int
    next_offset: int
    producer_id: int | None
    is_control_batch: bool
    is_transactional: bool

    def validate_crc(self) -> bool:
        """Tell whether it is as it was written."""

    def __iter__(self) -> Iterator[Record]: ...


class Answer(NamedTuple):
    """What a broker has given.

    batches: as they lie in the log, unread. aborted: producers of aborted transactions, each with
    the offset at which one begins. end: behind the last record that may be read.
    """

    batches: Sequence[Batch]
    aborted: Sequence[tuple[int, int]]
    end: int


class Committed:
    """The batches of an answer, one after the other, without records that were never committed."""

    def __init__(self, answer: Answer) -> None:
        self._batches = iter(answer.batches)
        self._aborted = sorted(answer.aborted, key=lambda each: each[1], reverse=True)
        self._aborting: set[int] = set()

    def next_batch(self) -> tuple[list[Record], int] | None:
        """Read a batch; return its records and the offset behind it, None behind the last one."""
        batch = next(self._batches, None)
        if batch is None:
            return None
        if not batch.validate_crc():
            raise CorruptRecordException(f"the batch at {batch.base_offset} is damaged")
        return (list(batch) if self._is_committed(batch) else []), batch.next_offset

    def _is_committed(self, batch: Batch) -> bool:
        """Tell whether a batch's records are for reading, knowing all the batches before it."""
        producer = batch.producer_id
        while self._aborted and self._aborted[-1][1] <= batch.base_offset:
            self._aborting.add(self._aborted.pop()[0])
        if batch.is_control_batch:
            if ControlRecord.parse(next(iter(batch)).key) == ABORT_MARKER:
                self._aborting.discard(producer)
            return False
        return not (producer in self._aborting and batch.is_transactional)


class PartitionClient:
    """A connection of its own to the leader of one partition, wherever that is."""

    def __init__(self, client: AIOKafkaClient, place: TopicPartition, bytes_max: int) -> None:
        self._client = client
        self._place = place
        self._bytes_max = bytes_max

    @classmethod
    async def open(cls, *, kafka: str, place: TopicPartition, bytes_max: int) -> Self:
        """Connect. bytes_max: how much is fetched at once, but for a larger batch. KafkaError."""
        client = AIOKafkaClient(
            bootstrap_servers=kafka,
            client_id="meterline-rater",
            request_timeout_ms=int(REQUEST_SECONDS_MAX * 1_000),
        )
        try:
            await client.bootstrap()
            await client.set_topics([place.topic])
        except BaseException:
            await client.close()
            raise
        return cls(client, place, bytes_max)

    async def close(self) -> None:
        """Disconnect."""
        await self._client.close()

    async def offset(self, which: int) -> int:
        """Return an end of the log: EARLIEST, or LATEST for the one of what may be read.

        Raises KafkaError, KafkaTimeoutError when no broker tells it in time.
        """
        topics = [(self._place.topic, [(self._place.partition, which)])]
        try:
            async with asyncio.timeout(REQUEST_SECONDS_MAX):
                _, fields = await self._ask(OffsetRequest(-1, _READ_COMMITTED, topics))
        except TimeoutError as error:
            raise KafkaTimeoutError(f"no offset of {self._place} in time") from error
        return int(fields[1])

    async def fetch(self, offset: int) -> Answer:
        """Ask for the batches from an offset on, as long as it takes to get an answer.

        There may be none after WAIT_SECONDS. The first may begin before the offset.
        Raises KafkaError for what does not pass, as OffsetOutOfRangeError.
        """
        place = (self._place.partition, offset, self._bytes_max)
        wait = int(WAIT_SECONDS * 1_000)
        topics = [(self._place.topic, [place])]
        request = FetchRequest(wait, 1, self._bytes_max, _READ_COMMITTED, topics, rack_id="")
        version, fields = await self._ask(request)
        aborted = fields[-3] if version >= _PREFERS_REPLICAS else fields[-2]
        return Answer(list(_split(fields[-1])), aborted or (), fields[1])

    async def _ask(self, request: FetchRequest | OffsetRequest) -> tuple[int, list[Any]]:
        """Ask the partition's leader, again after errors that pass.

        Returns the version of its answer, and what it says of the partition behind its error.
        Raises KafkaError.
        """
        while True:
            try:
                leader = self._client.cluster.leader_for_partition(self._place)
                if leader is None or leader == -1:
                    raise LeaderNotAvailableError(str(self._place))
                response = await self._client.send(leader, request)
                ((_, ((_, code, *fields),)),) = response.topics
                if code:
                    raise for_code(code)(str(self._place))
            except KafkaError as error:
                if not error.retriable:
                    raise
                await asyncio.sleep(RETRY_SECONDS)
                await self._client.force_metadata_update()
            else:
                return response.API_VERSION, fields


def _split(data: bytes) -> Iterable[Batch]:
    """Split what a broker has sent into batches; the last one may have been cut off."""
    records = MemoryRecords(data)
    if data and not records.has_next():
        raise RecordTooLargeError(f"no whole batch in {len(data)} bytes")
    while records.has_next():
        yield records.next_batch()
