"""Where inputs come from: the messages of `billing.periods.v1`, and scans for those that were lost.

Offsets are committed to Kafka once the inputs are in the database: a message comes at least once,
and `document_input` makes that once.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Final

import asyncpg
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from invoicer import metrics, repository
from invoicer.inputs import DueContract, InputKey, decode_message
from invoicer.intake import Intake, Stopping
from invoicer.repository import queries
from invoicer.settings import InvoicerSettings
from runtime.clock import Clock
from runtime.lifecycle import wait_for
from runtime.logging import get_logger
from runtime.postgres import TRANSIENT_ERRORS
from schemas.errors import InvalidInput
from schemas.topics import BILLING_PERIODS

_log = get_logger()

GROUP: Final = "meterline-invoicer"
RETRY_SECONDS: Final = 2.0
LEAVE_SECONDS_MAX: Final = 5.0
"""How long it may take to leave the group; whoever doesn't is missed after its session's time."""
BATCHES_A_POLL: Final = 8
"""A poll brings the periods of many entities, and each entity's are a transaction of their own."""
SCAN_WINDOW: Final = timedelta(days=2)
"""How far back a scan looks; the first one of a process looks at everything."""

_BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Progress:
    """What the readiness check asks: whether the log is being read."""

    def __init__(self) -> None:
        self.problem: str | None = "not connected to Kafka yet"

    async def check(self) -> str | None:
        """Return None when the last poll went well, else what is wrong."""
        return self.problem


async def consume(
    settings: InvoicerSettings, intake: Intake, progress: Progress, stopping: asyncio.Event
) -> None:
    """Take what the topic brings until told to stop; a broker that is away is waited for."""
    while not stopping.is_set():
        try:
            async with _open_consumer(settings) as consumer:
                await _consume(consumer, settings, intake, progress, stopping)
        except Stopping:
            return
        except (KafkaError, OSError) as error:
            progress.problem = f"Kafka: {error!r}"
            _log.warning("broker_waited_for", error=repr(error))
            await wait_for(stopping, RETRY_SECONDS)


@asynccontextmanager
async def _open_consumer(settings: InvoicerSettings) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(
        settings.topic_prefix + BILLING_PERIODS,
        bootstrap_servers=settings.kafka,
        group_id=settings.topic_prefix + GROUP,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    try:
        await consumer.start()
        yield consumer
    finally:
        await _close(consumer)


async def _close(consumer: AIOKafkaConsumer) -> None:
    """Leave the group and disconnect, within a bound.

    A rebalance that is under way waits for members that died, and a broker may be stalled.
    """
    try:
        async with asyncio.timeout(LEAVE_SECONDS_MAX):
            await consumer.stop()
    except TimeoutError:
        _log.warning("group_not_left")
        with suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_SECONDS_MAX):
                if consumer._fetcher is not None:
                    await consumer._fetcher.close()
                await consumer._client.close()


async def _consume(
    consumer: AIOKafkaConsumer,
    settings: InvoicerSettings,
    intake: Intake,
    progress: Progress,
    stopping: asyncio.Event,
) -> None:
    while not stopping.is_set():
        polled = await consumer.getmany(
            timeout_ms=int(settings.poll_seconds * 1_000),
            max_records=settings.batch_size_max * BATCHES_A_POLL,
        )
        progress.problem = None
        if not polled:
            continue
        named = [key for batch in polled.values() for key in _decoded(batch)]
        await intake.take([key for key in named if isinstance(key, InputKey)])
        for contract in sorted({key for key in named if isinstance(key, DueContract)}):
            await intake.take_events(contract)
        await _commit(consumer, {place: batch[-1].offset + 1 for place, batch in polled.items()})


def _decoded(records: Sequence[ConsumerRecord]) -> list[InputKey | DueContract]:
    """Read messages. One that names nothing is told of and passed over: the scan finds its cut."""
    keys: list[InputKey | DueContract] = []
    for record in records:
        try:
            keys.append(decode_message(record.value))
        except InvalidInput as error:
            metrics.MESSAGES_MALFORMED.inc()
            _log.warning(
                "message_malformed",
                partition=record.partition,
                offset=record.offset,
                error=error.detail,
            )
    return keys


async def _commit(consumer: AIOKafkaConsumer, offsets: dict[TopicPartition, int]) -> None:
    """Commit; where the partition has gone to another process, that one repeats the batch."""
    try:
        await consumer.commit(offsets)
    except (CommitFailedError, IllegalStateError) as error:
        _log.info("partitions_lost", error=repr(error))


async def scan(
    pool: asyncpg.Pool,
    settings: InvoicerSettings,
    intake: Intake,
    clock: Clock,
    stopping: asyncio.Event,
) -> None:
    """Look for cuts without a document, now and then, until told to stop.

    And for what waits for the next document of a contract that is to have none.
    """
    since = _BEGINNING
    while not stopping.is_set():
        before = clock() - timedelta(seconds=settings.scan_grace_seconds)
        try:
            await scan_once(pool, intake, since, before, settings.batch_size_max * BATCHES_A_POLL)
            await intake.release_stranded(before)
            await intake.settle_overdue(clock())
            for contract in await repository.find_due_contracts(pool, before):
                await intake.take_events(contract)
        except Stopping:
            return
        except TRANSIENT_ERRORS as error:
            _log.warning("scan_postponed", error=repr(error))
        else:
            since = before - SCAN_WINDOW
        await wait_for(stopping, settings.scan_interval_seconds)


async def scan_once(
    pool: asyncpg.Pool, intake: Intake, since: datetime, before: datetime, batch_size_max: int
) -> int:
    """Take the cuts of a span that no document took up; return how many there were.

    Ends when none is left: each that was found is then recorded or parked, or held up by a lock and
    left for the next scan. Each look begins where the one before ended, so that what was billed
    long ago is passed over once.
    """
    found = 0
    while True:
        async with pool.acquire() as connection:
            cuts = await repository.find_lost_cuts(connection, since, before, batch_size_max)
            metrics.INPUTS_PARKED.set(await connection.fetchval(queries.count_parked))
            waiting = await connection.fetchrow(queries.count_under_review)
            assert waiting is not None, "an aggregate has a row"
            metrics.DOCUMENTS_UNDER_REVIEW.set(waiting["documents"])
            metrics.REVIEW_AGE_SECONDS.set(waiting["age"])
        metrics.PERIODS_OVERDUE.set(len(cuts))
        if not cuts:
            return found
        found += len(cuts)
        _log.info("lost_cuts_found", cuts=len(cuts))
        left = await intake.take([key for key, _cut_at in cuts])
        if left == len(cuts) and since == cuts[-1][1]:
            return found - left
        since = cuts[-1][1]
