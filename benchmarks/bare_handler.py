"""The ceiling of the gateway's single-event route: aiohttp, a body read, a fixed answer.

`python -m benchmarks.bare_handler PORT`. The same loop, runner and settings as the gateway, an
answer of the same size, and no work in between.
"""

import asyncio
import signal
import sys

import uvloop
from aiohttp import web

ANSWER = b"{" + b" " * 560 + b"}"


async def post_event(request: web.Request) -> web.Response:
    """Read the body and answer."""
    await request.read()
    return web.Response(status=202, body=ANSWER, content_type="application/json")


async def ready(_request: web.Request) -> web.Response:
    """Say that it listens."""
    return web.Response()


async def serve(port: int) -> None:
    """Serve until SIGTERM."""
    app = web.Application()
    app.add_routes([web.post("/api/usage/event", post_event), web.get("/readyz", ready)])
    runner = web.AppRunner(app, access_log=None, keepalive_timeout=75)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    await stopping.wait()
    await runner.cleanup()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
