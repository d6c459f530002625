"""A single event's way, to be waited for from a thread or from a coroutine."""

import asyncio
from collections.abc import Generator
from concurrent.futures import Future
from typing import Any

from meterline_client.outcomes import Outcome


class Delivery:
    """An event that was handed in; its outcome comes later, and surely.

    key: the idempotency key with which it is sent.
    """

    def __init__(self, key: str, future: Future[Outcome]) -> None:
        self.key = key
        self._future = future

    @property
    def is_settled(self) -> bool:
        """Whether the outcome is there."""
        return self._future.done()

    def result(self, timeout: float | None = None) -> Outcome:
        """Wait for the outcome in a thread of your own. Raises TimeoutError after `timeout` s."""
        return self._future.result(timeout)

    def __await__(self) -> Generator[Any, None, Outcome]:
        if self._future.done():
            return self._future.result()
        # Whoever stops waiting must not stop the event.
        return (yield from asyncio.shield(asyncio.wrap_future(self._future)).__await__())
