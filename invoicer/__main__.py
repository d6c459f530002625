"""The invoicer's process: `python -m invoicer`."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Final

import asyncpg

from invoicer.consumer import Progress, consume, scan
from invoicer.dunning import DunningWorker
from invoicer.intake import Intake
from invoicer.mailing import MailWorker, read_server
from invoicer.outbox import OutboxWorker
from invoicer.requests import RequestWorker
from invoicer.settings import InvoicerSettings
from invoicer.webhooks import WebhookWorker
from runtime.clock import system_clock
from runtime.health import Check, serve_health
from runtime.lifecycle import run_service
from runtime.logging import configure_logging
from runtime.migrations import pending
from runtime.postgres import open_pool
from runtime.settings import SettingsError, load

MIGRATIONS: Final = Path(__file__).parents[1] / "schemas" / "sql" / "migrations"


async def serve(settings: InvoicerSettings, stopping: asyncio.Event) -> None:
    """Invoice until told to stop, then finish the work in hand."""
    server = read_server(settings)
    issued, rendered = asyncio.Event(), asyncio.Event()
    progress = Progress()
    async with open_pool(settings.postgres, service="invoicer", plans="FRESH") as pool:
        intake = Intake(
            pool,
            system_clock,
            batch_size_max=settings.batch_size_max,
            stopping=stopping,
            issued=issued,
            batches_at_once=settings.batches_at_once,
        )
        checks = {"kafka": progress.check, "postgres": _database_check(pool)}
        async with serve_health(settings.host, settings.port, checks), asyncio.TaskGroup() as tasks:
            tasks.create_task(consume(settings, intake, progress, stopping))
            tasks.create_task(scan(pool, settings, intake, system_clock, stopping))
            if settings.render_threads:
                tasks.create_task(OutboxWorker(pool, settings, stopping, issued, rendered).run())
            tasks.create_task(RequestWorker(pool, settings, stopping, issued, system_clock).run())
            tasks.create_task(DunningWorker(pool, settings, stopping, system_clock).run())
            tasks.create_task(WebhookWorker(pool, settings, stopping).run())
            if server is not None:
                tasks.create_task(MailWorker(pool, settings, server, stopping, rendered).run())


def _database_check(pool: asyncpg.Pool) -> Check:
    async def check() -> str | None:
        async with pool.acquire(timeout=5) as connection:
            missing = await pending(connection, MIGRATIONS)
        return f"migrations pending: {', '.join(missing)}" if missing else None

    return check


def main() -> None:
    """Read the settings, then serve until SIGINT or SIGTERM."""
    try:
        settings = load(InvoicerSettings, "invoicer", os.environ)
    except SettingsError as error:
        sys.exit(f"invoicer: {error}")
    configure_logging("invoicer", settings.log_level)
    try:
        run_service(lambda stopping: serve(settings, stopping))
    except SettingsError as error:
        sys.exit(f"invoicer: {error}")


if __name__ == "__main__":
    main()
