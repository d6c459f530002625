"""The small HTTP server of a consumer: /livez, /readyz, /metrics."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

import msgspec
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

SUMMED_IN: Final = "PROMETHEUS_MULTIPROC_DIR"
"""Names the directory where processes that share a port keep their metrics, for prometheus_client.

It has to be set before the process starts.
"""

#: Returns None when all is well, else a sentence that says what is wrong.
Check = Callable[[], Awaitable[str | None]]


async def livez(_request: web.Request) -> web.Response:
    """Answer while the loop turns; depends on nothing else."""
    return web.Response(text="ok\n")


async def metrics(_request: web.Request) -> web.Response:
    """Answer with the metrics in Prometheus's text form, summed where processes share a port."""
    registry = REGISTRY
    if SUMMED_IN in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    page = generate_latest(registry)
    return web.Response(body=page, headers={"Content-Type": CONTENT_TYPE_LATEST})


async def readiness(checks: Mapping[str, Check]) -> tuple[bool, bytes]:
    """Run every check; return whether all passed, and the JSON that says so check by check."""
    answers: dict[str, str] = {}
    for name, check in checks.items():
        try:
            answers[name] = await check() or "ok"
        except Exception as error:
            answers[name] = f"{type(error).__name__}: {error}"
    ready = all(answer == "ok" for answer in answers.values())
    return ready, msgspec.json.encode({"ready": ready, "checks": answers})


def readyz(checks: Mapping[str, Check]) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Make the handler of /readyz: 200 when every check passes, else 503."""

    async def readyz(_request: web.Request) -> web.Response:
        """Answer whether requests should be sent here, check by check."""
        ready, body = await readiness(checks)
        return web.Response(
            status=200 if ready else 503, body=body, content_type="application/json"
        )

    return readyz


@asynccontextmanager
async def serve_health(host: str, port: int, checks: Mapping[str, Check]) -> AsyncIterator[None]:
    """Serve the three routes while the block runs."""
    app = web.Application()
    app.add_routes(
        [web.get("/livez", livez), web.get("/readyz", readyz(checks)), web.get("/metrics", metrics)]
    )
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield
    finally:
        await runner.cleanup()
