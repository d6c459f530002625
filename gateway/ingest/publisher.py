"""The producer and its guard: it is opened, watched, thrown away and opened anew.

aiokafka's idempotent producer never gives a batch up, and one batch that the broker refuses leaves
a gap in its sequence that makes every later one of that partition fail. So a producer that has
failed or stalled once is never used again. The partition that failed answers its batch as unknown,
the others finish theirs, and what waits goes through the successor; when there is none in a moment,
requests are refused at once.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from time import monotonic
from typing import Final, Protocol

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

from gateway import metrics
from gateway.ingest.batch_compression import use_own_compressor
from gateway.ingest.batching import BatchRefused, Lane, ProducerBroken
from gateway.problems import OutcomeUnknown
from runtime.logging import get_logger
from schemas.errors import TransientError
from schemas.topics import TOPIC_SETTINGS, USAGE_EVENTS

OPEN_SECONDS: Final = (2.0, 4.0, 8.0, 15.0)
"""How long each attempt to open a producer may take: the first may have met a broker that stalls,
and the next one asks another."""

ASK_SECONDS: Final = 15.0
TOPIC_SECONDS: Final = 10.0
"""How long a topic may be unknown to the broker that is asked."""
CLOSE_SECONDS: Final = 3.0
FINISH_SECONDS: Final = 2.0
"""How long the other partitions may finish what they have under way when one has failed."""

RENEWAL_SECONDS: Final = 1.0
"""How long requests are taken in while a producer is replaced."""

BATCH_BYTES_MIN: Final = 4 * 1024
BACKOFF_SECONDS: Final = (0.1, 0.2, 0.5, 1.0, 2.0)

REQUIRED_SETTINGS: Final = {
    name: TOPIC_SETTINGS[USAGE_EVENTS][name] for name in ("retention.ms", "message.timestamp.type")
}
"""What the log of usage events must be set to, whoever made the topic."""

log = get_logger()

Header = tuple[str, bytes]


class MakeProducer(Protocol):
    """How to make a producer."""

    def __call__(self, batch_bytes_max: int | None = None) -> AIOKafkaProducer:
        """Make one that sends batches of its size, or of at most so many bytes."""


def producer_maker(bootstrap_servers: str, *, batch_bytes: int) -> MakeProducer:
    """Return how to make a producer: idempotent, every replica asked, zstd."""
    use_own_compressor()

    def make(batch_bytes_max: int | None = None) -> AIOKafkaProducer:
        return AIOKafkaProducer(
            bootstrap_servers=bootstrap_servers,
            client_id="meterline-gateway",
            enable_idempotence=True,
            acks="all",
            compression_type="zstd",
            max_batch_size=min(batch_bytes, batch_bytes_max or batch_bytes),
            request_timeout_ms=10_000,
            retry_backoff_ms=100,
            metadata_max_age_ms=60_000,
        )

    return make


class TopicUnfit(Exception):
    """The topic is not as it must be; the message says what is wrong with it."""


async def check_topic(
    bootstrap_servers: str, topic: str, *, partitions: int, batch_bytes: int
) -> None:
    """Make sure that the topic keeps everything and takes our batches with room to spare.

    Raises TopicUnfit.
    """
    found, settings = await _describe(bootstrap_servers, topic)
    if found != partitions:
        raise TopicUnfit(f"{topic} has {found} partitions, the database says {partitions}")
    if int(settings["max.message.bytes"]) < 2 * batch_bytes:
        raise TopicUnfit(f"{topic}: max.message.bytes must be at least {2 * batch_bytes}")
    for name, value in REQUIRED_SETTINGS.items():
        if settings[name] != value:
            raise TopicUnfit(f"{topic}: {name} must be {value}, not {settings[name]}")


async def read_batch_limit(bootstrap_servers: str, topic: str) -> int:
    """Return how large batches of the topic may be now, with room to spare."""
    _, settings = await _describe(bootstrap_servers, topic)
    return max(BATCH_BYTES_MIN, int(settings["max.message.bytes"]) // 2)


async def _describe(bootstrap_servers: str, topic: str) -> tuple[int, dict[str, str]]:
    """Return how many partitions the topic has, and what it is set to.

    One that was made a moment ago is waited for: a broker hears of it after Kafka has said so.
    """
    resource = ConfigResource(ConfigResourceType.TOPIC, topic)
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    try:
        deadline = monotonic() + TOPIC_SECONDS
        while True:
            (description,) = await admin.describe_topics([topic])
            (answer,) = await admin.describe_configs([resource])
            partitions = len(description["partitions"])
            settings = {name: value for name, value, *_ in answer.resources[0][4]}
            if (partitions and settings) or monotonic() >= deadline:
                return partitions, settings
            await asyncio.sleep(BACKOFF_SECONDS[0])
    finally:
        await admin.close()


class Publisher:
    """Sends records to the partitions of one topic, in batches, through one producer at a time."""

    def __init__(
        self,
        make_producer: MakeProducer,
        lanes: Sequence[Lane],
        batch_limit: Callable[[], Awaitable[int]],
    ) -> None:
        """lanes: one a partition, in order.

        batch_limit: how many bytes a batch may have now; asked when one was refused.
        add_to: for each partition, how a record is added to its batch (`Lane.add`).
        """
        self._make_producer = make_producer
        self._lanes = lanes
        self._batch_limit = batch_limit
        self._batch_bytes_max: int | None = None
        self._opened = asyncio.Event()
        self._closing: asyncio.TimerHandle | None = None
        self._discards: set[asyncio.Task[None]] = set()
        self.add_to = [lane.add for lane in lanes]

    @property
    def lanes(self) -> Sequence[Lane]:
        """One a partition, in order."""
        return self._lanes

    @property
    def is_open(self) -> bool:
        """Whether a producer is at work, or will be in a moment."""
        return self._opened.is_set()

    def check_open(self) -> None:
        """Raise TransientError while there is no producer: nothing can be recorded now."""
        if not self._opened.is_set():
            raise TransientError("log_unavailable", "the log of events can't be reached now")

    async def send_alone(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, header: Header
    ) -> int:
        """Append one record with a header, by a producer of its own; return its offset.

        Raises OutcomeUnknown when Kafka has not acknowledged it in time.
        """
        producer = self._make_producer()
        try:
            async with asyncio.timeout(ASK_SECONDS):
                await producer.start()
                receipt = await producer.send_and_wait(
                    topic, value, key=key, partition=partition, headers=[header]
                )
        except (KafkaError, OSError, TimeoutError) as error:
            detail = "Kafka did not acknowledge in time: the record may be there"
            raise OutcomeUnknown("outcome_unknown", detail) from error
        finally:
            await discard(producer)
        offset: int = receipt.offset
        return offset

    async def wait_open(self) -> None:
        """Wait until a producer is at work."""
        await self._opened.wait()

    async def run(self) -> None:
        """Keep a producer at work until cancelled."""
        try:
            while True:
                producer = await self._open()
                try:
                    errors = await self._use(producer)
                finally:
                    self._discard_soon(producer)
                metrics.PRODUCERS_REBUILT.inc()
                log.warning("producer_discarded", reasons=[str(error) for error in errors])
                if any(isinstance(error, BatchRefused) for error in errors):
                    await self._fit_batches()
        finally:
            self._keep_as_it_is()
            self._opened.clear()
            await asyncio.gather(*self._discards)

    def _discard_soon(self, producer: AIOKafkaProducer) -> None:
        """Close a producer while its successor is opened: that may take its whole bound."""
        discard_it = asyncio.get_running_loop().create_task(discard(producer))
        self._discards.add(discard_it)
        discard_it.add_done_callback(self._discards.discard)

    def _keep_as_it_is(self) -> None:
        """Don't refuse requests after a while, if that was meant."""
        if self._closing is not None:
            self._closing.cancel()
            self._closing = None

    async def _use(self, producer: AIOKafkaProducer) -> list[ProducerBroken]:
        """Send through a producer until a partition fails, and let the others finish theirs."""
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(lane.run(producer)) for lane in self._lanes]
        try:
            await asyncio.sleep(0)  # every lane begins
            self._keep_as_it_is()
            self._opened.set()
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            self._closing = loop.call_later(RENEWAL_SECONDS, self._opened.clear)
            for lane in self._lanes:
                lane.retire()
            await asyncio.wait(tasks, timeout=FINISH_SECONDS)
        finally:
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
        for end in ends:
            if isinstance(end, Exception) and not isinstance(end, ProducerBroken):
                raise end
        return [end for end in ends if isinstance(end, ProducerBroken)]

    async def _fit_batches(self) -> None:
        """Learn how large a batch may be, now that one was refused."""
        try:
            async with asyncio.timeout(ASK_SECONDS):
                self._batch_bytes_max = await self._batch_limit()
        except (KafkaError, OSError, TimeoutError) as error:
            log.warning("batch_limit_unknown", error=repr(error))
        else:
            log.error("batches_are_bounded_by_the_topic", batch_bytes_max=self._batch_bytes_max)

    async def _open(self) -> AIOKafkaProducer:
        """Open a producer, however long that takes."""
        attempt = 0
        while True:
            producer = self._make_producer(self._batch_bytes_max)
            try:
                async with asyncio.timeout(OPEN_SECONDS[min(attempt, len(OPEN_SECONDS) - 1)]):
                    await producer.start()
            except (KafkaError, OSError, TimeoutError) as error:
                log.warning("producer_not_opened", error=repr(error))
                await discard(producer)
            except BaseException:
                await discard(producer)
                raise
            else:
                return producer
            await asyncio.sleep(BACKOFF_SECONDS[min(attempt, len(BACKOFF_SECONDS) - 1)])
            attempt += 1

    async def drain(self, seconds: float) -> bool:
        """Wait until all that was added is settled; tell whether it was in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not all(lane.is_idle() for lane in self._lanes):
                    for lane in self._lanes:
                        await lane.drained()
                    await asyncio.sleep(0)
                return True
        return False


async def discard(producer: AIOKafkaProducer) -> None:
    """Close a producer within a bounded time, whatever it was doing.

    Its own `stop` waits for batches that it would retry for ever. Closing the connections first
    fails the requests under way, and then its sender can be cancelled.
    """
    producer._closed = True
    sender = producer._sender.sender_task
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await producer.client.close()
            if sender is not None:
                sender.cancel()
                await asyncio.wait([sender])
    except (KafkaError, OSError, TimeoutError) as error:
        log.warning("producer_not_closed", error=repr(error))
