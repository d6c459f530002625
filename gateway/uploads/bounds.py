"""How many uploads run at once, in a process and for a tenant, and how long one may be silent."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

from aiohttp import web

from gateway import metrics
from schemas.errors import RetryLater, TransientError

BYTES_HELD: Final = 2 * 1024 * 1024
"""What one upload holds of the bytes in flight from its first byte to its answer, whatever its
size: what the connection has read ahead, one piece, its rows, and their records."""

RETRY_SECONDS: Final = 5


class Bounds:
    """Counts the uploads under way in this process."""

    def __init__(self, uploads_max: int, tenant_share: float, idle_seconds: float) -> None:
        """tenant_share: the part of them that one tenant may have; it may always have one.

        idle_seconds: how long a client may send nothing.
        """
        self._idle_seconds = idle_seconds
        self._max = uploads_max
        self._tenant_max = max(1, int(uploads_max * tenant_share))
        self._by_tenant: Counter[int] = Counter()
        self._is_ending = False
        self._waits: set[asyncio.Timeout] = set()

    def end(self) -> None:
        """Have the uploads under way end where they are, because the process does."""
        self._is_ending = True
        now = asyncio.get_running_loop().time()
        for wait in self._waits:
            wait.reschedule(now)  # it might last for hours; sent again, it goes on from here

    @asynccontextmanager
    async def waiting(self) -> AsyncIterator[None]:
        """Wait for a client's bytes during the block.

        Raises TimeoutError when it is silent for too long, or the process stops.
        """
        # A wait that begins behind the end would be found by nobody, and last its whole time.
        async with asyncio.timeout(0 if self._is_ending else self._idle_seconds) as wait:
            self._waits.add(wait)
            try:
                yield
            finally:
                self._waits.discard(wait)

    def check(self) -> None:
        """Raise TransientError once uploads must end."""
        if self._is_ending:
            raise TransientError("gateway_stopping", "the gateway is stopping")

    @contextmanager
    def one_more(self, tenant_id: int) -> Iterator[None]:
        """Count an upload during the block. Raises RetryLater over a bound."""
        if self._by_tenant.total() >= self._max:
            metrics.REQUESTS_SHED.labels("uploads").inc()
            detail = f"{self._max} uploads are under way here, which is the most"
            raise RetryLater("too_many_uploads", detail, RETRY_SECONDS)
        if self._by_tenant[tenant_id] >= self._tenant_max:
            metrics.REQUESTS_SHED.labels("tenant_uploads").inc()
            detail = f"{self._tenant_max} uploads of yours are under way here, which is the most"
            raise RetryLater("too_many_uploads", detail, RETRY_SECONDS)
        self._by_tenant[tenant_id] += 1
        metrics.UPLOADS_UNDER_WAY.inc()
        try:
            yield
        finally:
            metrics.UPLOADS_UNDER_WAY.dec()
            self._by_tenant[tenant_id] -= 1
            self._by_tenant += Counter()  # forgets who has none


BOUNDS: Final = web.AppKey("upload_bounds", Bounds)
