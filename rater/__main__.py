"""`python -m rater`: rate usage events until SIGTERM."""

import asyncio
import gc
import os
import socket
import sys
import uuid

import asyncpg

from rater.repository import queries
from rater.service import RaterService
from rater.settings import RaterSettings
from runtime.health import serve_health
from runtime.lifecycle import run_service
from runtime.logging import configure_logging, get_logger
from runtime.postgres import open_pool
from runtime.settings import SettingsError, load
from schemas.topics import USAGE_EVENTS

#: Connections besides those of transactions: the lease and the outbox, and one for checks.
CONNECTIONS_BESIDES = 3
COLLECTION_THRESHOLDS = (200_000, 20, 50)


async def serve(stopping: asyncio.Event, settings: RaterSettings) -> None:
    """Run one rater."""
    # What is in memory stays for long, and a look through all of it takes tenths of a second.
    gc.freeze()
    gc.set_threshold(*COLLECTION_THRESHOLDS)
    connections = settings.transactions_max + CONNECTIONS_BESIDES
    async with open_pool(settings.postgres, service="rater", size_max=connections) as pool:
        await check_log(pool, settings)
        service = RaterService(pool, settings, member_name(settings))
        async with serve_health(settings.host, settings.port, service.checks()):
            get_logger().info("rater_started", port=settings.port)
            await service.run(stopping)
    get_logger().info("rater_stopped")


async def check_log(pool: asyncpg.Pool, settings: RaterSettings) -> None:
    """Refuse to start on a database that rates another log. Raises SettingsError."""
    row = await pool.fetchrow(queries.find_log)
    topic = settings.topic_prefix + USAGE_EVENTS
    if row is None or row["topic"] != topic:
        known = "no log yet" if row is None else f"the topic {row['topic']}"
        raise SettingsError(f"METERLINE_TOPIC_PREFIX: the database rates {known}, not {topic}")


def member_name(settings: RaterSettings) -> str:
    """Name this process among the raters; the same name again after a restart where possible."""
    if settings.member:
        return settings.member
    return f"{socket.gethostname()}:{settings.port}" if settings.port else str(uuid.uuid4())


def main() -> None:
    """Read the settings and run."""
    try:
        settings = load(RaterSettings, "rater", os.environ)
        configure_logging("rater", settings.log_level)
        run_service(lambda stopping: serve(stopping, settings))
    except SettingsError as error:
        sys.exit(f"rater: {error}")


if __name__ == "__main__":
    main()
