"""The port: who answers on it, and how it is closed without losing a request."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Final

from aiohttp import web

from gateway.aiohttp_lane import ABORT_SECONDS, TimedHandler
from gateway.fast_lane import Connection
from gateway.ingest.routes import AUTHENTICATION, IN_FLIGHT, INGEST
from gateway.lane_context import FastLane
from gateway.open_connections import Limits
from gateway.settings import GatewaySettings
from gateway.short_way import ShortWay

KEEPALIVE_SECONDS: Final = 75.0
LINGER_SECONDS: Final = 2.0
"""How long a client that was refused may go on sending its body."""

BACKLOG: Final = 1_024


def _limits(settings: GatewaySettings) -> Limits:
    return Limits(
        head_seconds=settings.head_read_seconds,
        body_seconds=settings.body_read_seconds,
        idle_seconds=KEEPALIVE_SECONDS,
        linger_seconds=LINGER_SECONDS,
    )


async def _stop_other_lane(runner: web.AppRunner, seconds: float) -> None:
    """Close aiohttp's connections once their requests in hand are answered, or the time is up."""
    assert runner.server is not None, "it is set up"
    await asyncio.sleep(0)  # connections that were handed on begin to wait, else nothing ends that
    runner.server.pre_shutdown()
    await runner.server.shutdown(seconds)
    await runner.cleanup()


def _lanes(
    app: web.Application, runner: web.AppRunner, settings: GatewaySettings
) -> tuple[FastLane, Callable[[], TimedHandler]]:
    """Return what connections of the fast lane share, and what makes one of aiohttp's."""
    server = runner.server
    assert server is not None, "it is set up"
    loop = asyncio.get_running_loop()

    def aiohttp_lane() -> TimedHandler:
        return TimedHandler(
            server,
            head_seconds=settings.head_read_seconds,
            short_way=short_way,
            loop=loop,
            access_log=None,
            keepalive_timeout=KEEPALIVE_SECONDS,
            lingering_time=LINGER_SECONDS,
            auto_decompress=False,  # bodies are opened within bounds of our own
        )

    fast_lane = FastLane(
        ingest=app[INGEST],
        authentication=app[AUTHENTICATION],
        in_flight=app[IN_FLIGHT],
        limits=_limits(settings),
        other_lane=aiohttp_lane,
    )
    short_way = ShortWay(fast_lane, server.request_handler)
    server.request_handler = short_way.handle
    return fast_lane, aiohttp_lane


@asynccontextmanager
async def listening(app: web.Application, settings: GatewaySettings) -> AsyncIterator[int]:
    """Listen during the block; yields the port.

    At its end refuse new connections and finish the requests in hand.
    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=settings.stop_seconds)
    await runner.setup()
    loop = asyncio.get_running_loop()
    fast_lane, aiohttp_lane = _lanes(app, runner, settings)
    timekeeper = loop.create_task(fast_lane.open.keep_time())
    listener = await loop.create_server(
        partial(Connection, fast_lane) if settings.fast_lane else aiohttp_lane,
        settings.host,
        settings.port,
        reuse_port=settings.reuse_port or None,
        backlog=BACKLOG,
    )
    try:
        yield int(listener.sockets[0].getsockname()[1])
    finally:
        listener.close()
        await asyncio.sleep(0)  # connections that were accepted begin their first request
        ends_at = loop.time() + settings.stop_seconds
        await fast_lane.open.stop(settings.stop_seconds)
        await _stop_other_lane(runner, max(ABORT_SECONDS, ends_at - loop.time()))
        timekeeper.cancel()
        with suppress(asyncio.CancelledError):
            await timekeeper
