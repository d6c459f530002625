"""The bytes that may be in flight: a bound over all, and a share of it that no tenant exceeds."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from gateway import metrics
from schemas.errors import TransientError

LARGE_BYTES: Final = 1024 * 1024
"""A body from this size on costs the loop tens of milliseconds only to be taken apart."""


class Budget:
    """Counts the bytes of requests from the first to the answer. Over a bound it refuses."""

    def __init__(self, bytes_max: int, tenant_share: float) -> None:
        """bytes_max: over all tenants. tenant_share: the part of it that one may hold."""
        self._bytes_max = bytes_max
        self._tenant_max = int(bytes_max * tenant_share)
        self._held = 0
        self._by_tenant: dict[int, int] = {}
        self._reading_large = asyncio.Lock()

    @property
    def held(self) -> int:
        """Bytes in flight now."""
        return self._held

    def tell(self) -> None:
        """Set the metric; asked for now and then, not with every event."""
        metrics.IN_FLIGHT_BYTES.set(self._held)

    def take(self, tenant_id: int, size: int) -> None:
        """Hold bytes for a tenant; they must be given back. Raises TransientError over a bound."""
        of_tenant = self._by_tenant.get(tenant_id, 0) + size
        if self._held + size > self._bytes_max:
            metrics.REQUESTS_SHED.labels("bytes").inc()
            raise TransientError("too_much_in_flight", "too many events wait for the log now")
        if of_tenant > self._tenant_max:
            metrics.REQUESTS_SHED.labels("tenant_bytes").inc()
            detail = "too many of your events wait for the log now"
            raise TransientError("tenant_over_share", detail)
        self._held += size
        self._by_tenant[tenant_id] = of_tenant

    def give_back(self, tenant_id: int, size: int) -> None:
        """End the hold of bytes that were taken."""
        self._held -= size
        left = self._by_tenant[tenant_id] - size
        if left:
            self._by_tenant[tenant_id] = left
        else:
            del self._by_tenant[tenant_id]

    @asynccontextmanager
    async def turn_of(self, size: int) -> AsyncIterator[None]:
        """Read a body during the block: the large ones one after another.

        However many come at once, a turn of the loop then does the work of one.
        """
        if size < LARGE_BYTES:
            yield
            return
        async with self._reading_large:
            await asyncio.sleep(0)
            yield
