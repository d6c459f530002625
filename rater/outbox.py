"""The outbox: publishes what transactions left behind, at least once, and deletes what arrived.

A row is deleted in the transaction that holds it, once Kafka has acknowledged its record; there is
no high-water mark that could pass by a row committed late. Several relays share the work.
"""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

import asyncpg
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from rater.metrics import OUTBOX_AGE_SECONDS, OUTBOX_FAILURES, OUTBOX_PUBLISHED
from rater.repository import queries
from runtime.crashpoints import crashpoint
from runtime.lifecycle import wait_for
from runtime.logging import get_logger
from runtime.postgres import TRANSIENT_ERRORS

log = get_logger()

PUBLISH_SECONDS_MAX: Final = 15.0
STOP_SECONDS_MAX: Final = 5.0
IDLE_SECONDS: Final = 0.25
RETRY_SECONDS: Final = 1.0


class OutboxRelay:
    """Publishes the rows of `rater_outbox` until it is told to stop."""

    def __init__(
        self, pool: asyncpg.Pool, *, kafka: str, topic_prefix: str, records_max: int
    ) -> None:
        self._pool = pool
        self._kafka = kafka
        self._topic_prefix = topic_prefix
        self._records_max = records_max
        self._producer: AIOKafkaProducer | None = None

    async def run(self, stopping: asyncio.Event) -> None:
        """Publish as rows appear; after an error with a new producer."""
        try:
            while not stopping.is_set():
                try:
                    count = await self.publish_some()
                except (*TRANSIENT_ERRORS, KafkaError) as error:
                    OUTBOX_FAILURES.inc()
                    log.warning("outbox_retried", error=repr(error))
                    await self._discard_producer()
                    await wait_for(stopping, RETRY_SECONDS)
                    continue
                if not count:
                    await wait_for(stopping, IDLE_SECONDS)
        finally:
            await self._discard_producer()

    async def publish_some(self) -> int:
        """Publish the oldest rows that no other relay has in hand; return how many."""
        async with self._pool.acquire() as connection, connection.transaction():
            rows = await connection.fetch(queries.take_outbox, self._records_max)
            if not rows:
                OUTBOX_AGE_SECONDS.set(0)
                return 0
            age = datetime.now(UTC) - rows[0]["created_at"]
            OUTBOX_AGE_SECONDS.set(age.total_seconds())
            async with asyncio.timeout(PUBLISH_SECONDS_MAX):
                await self._publish(rows)
            crashpoint("rater.after_outbox_publish")
            keys = [row["shard_key"] for row in rows]
            await connection.execute(
                queries.delete_outbox, keys, [row["outbox_id"] for row in rows]
            )
        OUTBOX_PUBLISHED.inc(len(rows))
        return len(rows)

    async def _publish(self, rows: list[asyncpg.Record]) -> None:
        """Send the rows and wait until Kafka has them all."""
        if self._producer is None:
            producer = AIOKafkaProducer(
                bootstrap_servers=self._kafka,
                client_id="meterline-rater-outbox",
                enable_idempotence=True,
                linger_ms=5,
            )
            await producer.start()
            self._producer = producer
        acknowledged = [
            await self._producer.send(
                self._topic_prefix + row["topic"], row["value"], key=row["record_key"] or None
            )
            for row in rows
        ]
        await asyncio.gather(*acknowledged)

    async def _discard_producer(self) -> None:
        """Let go of the producer, even if it can't end: one that failed may never send again."""
        producer, self._producer = self._producer, None
        if producer is not None:
            with suppress(KafkaError, TimeoutError):
                async with asyncio.timeout(STOP_SECONDS_MAX):
                    await producer.stop()
