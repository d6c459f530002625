"""How fast a tenant may call: a token bucket a tenant for requests, for events and for bytes.

Each gateway process counts for itself: its connections, its CPU and its memory are what a tenant
could take from the others, and to count over all processes would ask another server about every
event. A tenant whose connections spread over n processes may do n times as much.
"""

from collections.abc import Callable, Mapping
from math import ceil
from time import monotonic
from typing import Final

import msgspec

from gateway import metrics
from schemas.errors import RetryLater

BURST_SECONDS: Final = 10
"""A bucket holds so many seconds' worth: what may come at once after a pause."""


TOLD_SHARE: Final = 1_000
"""Answers to events tell what is left in so many steps, so that the words are seldom new."""


class RateLimited(RetryLater):
    """A tenant or an address is over one of its limits, which `policy` names."""

    def __init__(self, policy: str, retry_seconds: int) -> None:
        detail = f"too many {policy}: try again in {retry_seconds} s"
        super().__init__("rate_limited", detail, retry_seconds)
        self.policy = policy


class Bucket(msgspec.Struct, gc=False):
    """What a tenant has left; below zero it is owed. at: when that was so."""

    level: float
    at: float


class Limit:
    """One limit of every tenant.

    A call is let through while anything is left, whatever it takes: a request larger than the
    bucket goes through too, and the next one waits until it is paid for.
    """

    def __init__(
        self,
        policy: str,
        per_second: float,
        clock: Callable[[], float] = monotonic,
        *,
        bound: str = "tenant_rate",
    ) -> None:
        self.policy = policy
        self.bound = bound
        self.per_second = per_second
        self.size = per_second * BURST_SECONDS
        self.half = self.size / 2
        self.step = max(1.0, self.size / TOLD_SHARE)
        self._clock = clock
        self._buckets: dict[int, Bucket] = {}

    def take(self, tenant_id: int, amount: float) -> float:
        """Take an amount of a tenant's, and return what is left. Raises RateLimited."""
        bucket = self._filled(tenant_id)
        if bucket.level <= 0:
            metrics.REQUESTS_SHED.labels(self.bound).inc()
            raise RateLimited(self.policy, max(1, ceil((1 - bucket.level) / self.per_second)))
        bucket.level -= amount
        return bucket.level

    def charge(self, tenant_id: int, amount: float) -> None:
        """Take an amount that is known only now, of a call that was let through."""
        self._filled(tenant_id).level -= amount

    def steps_left(self, tenant_id: int) -> float:
        """Return how many steps a tenant, who has called before, has left."""
        return self._buckets[tenant_id].level // self.step

    def field(self, steps: float) -> str:
        """Write what so many steps are, as `RateLimit` has it, and when the bucket is full."""
        left = max(0, int(steps * self.step))
        return f'"{self.policy}";r={left};t={ceil((self.size - left) / self.per_second)}'

    def bucket_of(self, tenant_id: int) -> Bucket:
        """Return a tenant's bucket, which stays the tenant's."""
        return self._buckets.get(tenant_id) or self._filled(tenant_id)

    def _filled(self, tenant_id: int) -> Bucket:
        """Return a tenant's bucket with what has flowed into it by now."""
        now = self._clock()
        bucket = self._buckets.get(tenant_id)
        if bucket is None:
            bucket = self._buckets[tenant_id] = Bucket(self.size, now)
        else:
            level = bucket.level + (now - bucket.at) * self.per_second
            bucket.level = level if level < self.size else self.size
            bucket.at = now
        return bucket


class Limits:
    """The three limits of a gateway process."""

    def __init__(
        self,
        *,
        requests_per_second: float,
        events_per_second: float,
        bytes_per_second: float,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.requests = Limit("requests", requests_per_second, clock)
        self.events = Limit("events", events_per_second, clock)
        self.bytes = Limit("bytes", bytes_per_second, clock)
        self.policy_header = ", ".join(
            f'"{limit.policy}";q={int(limit.size)};w={BURST_SECONDS}'
            for limit in (self.requests, self.events, self.bytes)
        )
        self._pairs: dict[int, tuple[Bucket, Bucket]] = {}
        self._told: dict[int, tuple[float, float, Mapping[str, str]]] = {}

    def take_events(self, tenant_id: int, count: int, size: int) -> None:
        """Let a request for events through. count: 0 while it is not known. Raises RateLimited.

        It is called for every event, and looks at the clock only once half of either is spent;
        after a pause a burst may be half as large again.
        """
        events, sizes = self._pairs.get(tenant_id) or self._pair_of(tenant_id)
        if events.level > self.events.half and sizes.level > self.bytes.half:
            events.level -= count
            sizes.level -= size
        else:
            self.events.take(tenant_id, count)
            self.bytes.take(tenant_id, size)

    def _pair_of(self, tenant_id: int) -> tuple[Bucket, Bucket]:
        """Return a new tenant's buckets for events and bytes, to be found by one look-up."""
        pair = self._pairs[tenant_id] = (
            self.events.bucket_of(tenant_id),
            self.bytes.bucket_of(tenant_id),
        )
        return pair

    def events_left(self, tenant_id: int) -> Mapping[str, str]:
        """Return the fields that say how many events and bytes are left, to the step below."""
        of_events, of_sizes = self._pairs[tenant_id]
        events, sizes = of_events.level // self.events.step, of_sizes.level // self.bytes.step
        told = self._told.get(tenant_id)
        if told is None or told[0] != events or told[1] != sizes:
            left = f"{self.events.field(events)}, {self.bytes.field(sizes)}"
            told = self._told[tenant_id] = (events, sizes, self._fields(left))
        return told[2]

    def take_request(self, tenant_id: int) -> dict[str, str]:
        """Let any other request through; return the fields that say how many are left."""
        self.requests.take(tenant_id, 1)
        return self._fields(self.requests.field(self.requests.steps_left(tenant_id)))

    def _fields(self, left: str) -> dict[str, str]:
        return {"RateLimit-Policy": self.policy_header, "RateLimit": left}
