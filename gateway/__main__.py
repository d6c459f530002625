"""Runs one gateway process: `python -m gateway`."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from time import time_ns

import asyncpg

from gateway.app import make_app
from gateway.in_flight import InFlight
from gateway.ingest.authentication import Authentication
from gateway.ingest.batching import Lane
from gateway.ingest.budget import Budget
from gateway.ingest.events import Ingest, Log
from gateway.ingest.publisher import Publisher, check_topic, producer_maker, read_batch_limit
from gateway.limits import Limits
from gateway.listening import listening
from gateway.manage.document_links import Links
from gateway.processes import run_processes
from gateway.progress import Progress
from gateway.reference import Reference, queries
from gateway.reports.outcomes import Outcomes
from gateway.settings import GatewaySettings
from gateway.uploads.bounds import Bounds
from runtime.clock import system_clock
from runtime.health import Check
from runtime.lifecycle import run_service
from runtime.logging import configure_logging, get_logger
from runtime.postgres import open_pool
from runtime.settings import SettingsError, load
from schemas.topics import USAGE_EVENTS

log = get_logger()

CHECK_SECONDS = 2.0

#: How long a start waits for the first producer, so that a process which replaces another one
#: refuses nothing.
PRODUCER_SECONDS = 5.0


class NotReady(Exception):
    """The database or the topic is not as the gateway needs it; the message says what to do."""


@asynccontextmanager
async def serve(settings: GatewaySettings, stopping: asyncio.Event) -> AsyncIterator[int]:
    """Serve while the block runs; yields the port. On leaving, finish what is in hand.

    stopping: once set, /readyz says so.
    """
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(
            open_pool(settings.postgres, service="gateway", size_max=settings.postgres_connections)
        )
        topic = settings.topic_prefix + USAGE_EVENTS
        events_log, partitions = await find_log(pool, topic)
        await check_topic(
            settings.kafka, topic, partitions=partitions, batch_bytes=settings.batch_bytes
        )
        reference = Reference(pool, system_clock)
        await reference.load()
        authentication = make_authentication(settings, pool, reference)
        await authentication.start()
        publisher = make_publisher(settings, topic, partitions)
        progress = Progress(
            partitions, waiters_max=settings.waits_max, tenant_share=settings.tenant_share
        )
        await stack.enter_async_context(
            _running(publisher, reference, authentication, progress, settings)
        )
        limits = make_limits(settings)
        ingest = make_ingest(
            settings, reference, publisher, Outcomes(pool, progress), limits, events_log
        )
        uploads = make_bounds(settings)
        app = make_app(
            pool=pool,
            authentication=authentication,
            ingest=ingest,
            limits=limits,
            in_flight=InFlight(settings.requests_in_flight_max, settings.tenant_share),
            body_read_seconds=settings.body_read_seconds,
            trusted_proxies=settings.trusted_proxies,
            uploads=uploads,
            links=Links(pool, settings.public_url, settings.pages_per_second),
            checks=readiness_checks(pool, publisher, stopping),
        )
        with suppress(TimeoutError):  # without Kafka it serves, too: what it can't take is 503
            await asyncio.wait_for(publisher.wait_open(), PRODUCER_SECONDS)
        port = await stack.enter_async_context(listening(app, settings))
        stack.callback(progress.end)  # before the requests in hand are waited for
        stack.callback(uploads.end)
        yield port


def make_authentication(
    settings: GatewaySettings, pool: asyncpg.Pool, reference: Reference
) -> Authentication:
    """Make what logs callers in and verifies who they are."""
    return Authentication(
        pool,
        reference,
        system_clock,
        token_seconds=settings.token_seconds,
        session_seconds=settings.session_seconds,
    )


def make_ingest(
    settings: GatewaySettings,
    reference: Reference,
    publisher: Publisher,
    outcomes: Outcomes,
    limits: Limits,
    events_log: Log,
) -> Ingest:
    """Make what takes events in."""
    return Ingest(
        reference=reference,
        publisher=publisher,
        outcomes=outcomes,
        budget=Budget(settings.bytes_in_flight_max, settings.tenant_share),
        limits=limits,
        log=events_log,
        now_micros=lambda: time_ns() // 1_000,
        ahead_max_micros=settings.time_ahead_seconds * 1_000_000,
    )


def make_bounds(settings: GatewaySettings) -> Bounds:
    """Make what bounds the files of usage that are read."""
    return Bounds(settings.uploads_max, settings.tenant_share, settings.upload_idle_seconds)


def make_limits(settings: GatewaySettings) -> Limits:
    """Make what keeps a tenant to its rates."""
    return Limits(
        requests_per_second=settings.requests_per_second,
        events_per_second=settings.events_per_second,
        bytes_per_second=settings.bytes_per_second,
    )


def make_publisher(settings: GatewaySettings, topic: str, partitions: int) -> Publisher:
    """Make the publisher of the topic of usage events, with a lane a partition."""
    lanes = [
        Lane(
            topic,
            partition,
            deadline_seconds=settings.publish_deadline_seconds,
            patience_seconds=settings.producer_patience_seconds,
        )
        for partition in range(partitions)
    ]
    return Publisher(
        producer_maker(settings.kafka, batch_bytes=settings.batch_bytes),
        lanes,
        partial(read_batch_limit, settings.kafka, topic),
    )


async def find_log(pool: asyncpg.Pool, topic: str) -> tuple[Log, int]:
    """Return the identity of the topic of usage events, and how many partitions it has."""
    row = await pool.fetchrow(queries.find_log, topic)
    if row is None:
        raise NotReady(f"the database knows no topic {topic}: run `meterline migrate`")
    return Log(topic, str(row["log_id"])), row["partitions"]


def readiness_checks(
    pool: asyncpg.Pool, publisher: Publisher, stopping: asyncio.Event
) -> Mapping[str, Check]:
    """Return what must be well for requests to be sent here."""

    async def not_stopping() -> str | None:
        return "the process is stopping" if stopping.is_set() else None

    async def kafka() -> str | None:
        return None if publisher.is_open else "no producer is open"

    async def database() -> str | None:
        async with pool.acquire(timeout=CHECK_SECONDS) as connection:
            await connection.fetchval("SELECT 1", timeout=CHECK_SECONDS)
        return None

    return {"process": not_stopping, "kafka": kafka, "database": database}


@asynccontextmanager
async def _running(
    publisher: Publisher,
    reference: Reference,
    authentication: Authentication,
    progress: Progress,
    settings: GatewaySettings,
) -> AsyncIterator[None]:
    """Run the background tasks during the block; what waits is flushed at its end.

    When one of them fails the process ends: nothing else would do its work.
    """
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(publisher.run()),
            group.create_task(reference.keep_fresh(settings.postgres)),
            group.create_task(authentication.keep_fresh()),
            group.create_task(progress.follow(settings.postgres)),
        ]
        try:
            yield
        finally:
            deadline = settings.publish_deadline_seconds + settings.producer_patience_seconds
            if not await publisher.drain(deadline):
                log.error("events_not_flushed")
            for task in tasks:
                task.cancel()


def main(environment: Mapping[str, str] = os.environ) -> None:
    """Run until SIGINT or SIGTERM."""
    try:
        settings = load(GatewaySettings, "gateway", environment)
    except SettingsError as error:
        sys.exit(str(error))
    configure_logging("gateway", settings.log_level)

    if settings.processes > 1:
        exit_code = 0

        async def run_all(stopping: asyncio.Event) -> None:
            nonlocal exit_code
            exit_code = await run_processes(settings, environment, stopping)

        run_service(run_all)
        sys.exit(exit_code)

    async def run(stopping: asyncio.Event) -> None:
        async with serve(settings, stopping) as port:
            log.info("gateway_started", port=port, pid=os.getpid())
            await stopping.wait()
            log.info("gateway_stopping")
        log.info("gateway_stopped")

    with suppress(asyncio.CancelledError):
        run_service(run)


if __name__ == "__main__":
    main()
