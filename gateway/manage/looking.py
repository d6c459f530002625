"""Looking for what an event that was sent a moment ago will bring, while it is being rated."""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Final, TypeVar

from aiohttp import web

from gateway.ingest.routes import INGEST
from gateway.manage.context import caller

FIND_SECONDS: Final = 2.0
"""How long it is waited for."""

LOOK_SECONDS: Final = 0.05
"""Between two looks, however often rating goes on."""

T = TypeVar("T")


async def look_soon(
    request: web.Request, shard_key: int, look: Callable[[], Awaitable[T | None]]
) -> T | None:
    """Return what a look finds, looking again whenever rating has gone on for the customer.

    None when it finds nothing in time, or too many wait already. A look holds no connection longer
    than it takes.
    """
    ingest = request.app[INGEST]
    tenant_id = caller(request).tenant_id
    partition = ingest.partition_of(shard_key)
    progress = ingest.outcomes.progress
    deadline = monotonic() + FIND_SECONDS
    while True:
        rated_to = progress.next_offset(partition)
        found = await look()
        left = deadline - monotonic()
        if found is not None or left <= 0:
            return found
        if not await progress.wait_past(tenant_id, partition, rated_to, left):
            return None
        await asyncio.sleep(LOOK_SECONDS)
