"""The requests that may be in flight: a bound over all, and a share of it that no tenant exceeds.

A request counts from the end of its head to its answer. Over a bound it is refused at once: to
wait in a queue that can't get shorter would only make every answer late.
"""

from typing import Final

from gateway import metrics
from schemas.errors import TransientError

STRANGERS: Final = 0
"""Whoever shows no token, such as those who log in: together they have the share of one tenant."""

UNVERIFIED: Final = -1
"""Those whose token is being verified; slow strangers don't keep them out."""


class InFlight:
    """Counts the requests of each tenant between head and answer."""

    def __init__(self, requests_max: int, tenant_share: float) -> None:
        """requests_max: over all tenants. tenant_share: the part of it that one may have."""
        self._requests_max = requests_max
        self._tenant_max = max(1, int(requests_max * tenant_share))
        self._count = 0
        self._by_tenant: dict[int, int] = {}

    @property
    def count(self) -> int:
        """Requests in flight now."""
        return self._count

    def tell(self) -> None:
        """Set the metric; asked for now and then, not with every request."""
        metrics.IN_FLIGHT_REQUESTS.set(self._count)

    def move(self, held: int | None, to: int | None) -> int | None:
        """Count a request that counted as `held`'s as `to`'s, and return that; None: as nobody's.

        Raises TransientError over a bound, and changes nothing then.
        """
        if held == to:
            return to
        if to is not None:
            self._enter(to, is_new=held is None)
        if held is not None:
            self._leave(held)
        return to

    def _enter(self, tenant_id: int, *, is_new: bool) -> None:
        if is_new and self._count >= self._requests_max:
            metrics.REQUESTS_SHED.labels("requests").inc()
            raise TransientError("too_much_in_flight", "too many requests are under way now")
        of_tenant = self._by_tenant.get(tenant_id, 0) + 1
        if of_tenant > self._tenant_max:
            metrics.REQUESTS_SHED.labels("tenant_requests").inc()
            detail = "too many of your requests are under way now"
            raise TransientError("tenant_over_share", detail)
        self._count += 1
        self._by_tenant[tenant_id] = of_tenant

    def _leave(self, tenant_id: int) -> None:
        self._count -= 1
        left = self._by_tenant[tenant_id] - 1
        if left:
            self._by_tenant[tenant_id] = left
        else:
            del self._by_tenant[tenant_id]
