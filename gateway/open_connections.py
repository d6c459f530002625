"""The connections of the fast lane as a whole: their times, and how they end."""

import asyncio
from collections.abc import Callable, Sequence
from email.utils import formatdate
from time import time
from typing import Final, Protocol

import msgspec

from runtime.logging import get_logger

TICK_SECONDS: Final = 0.5
"""How often the connections' times are looked at: one look at all costs less than a timer each."""

log = get_logger()


class Limits(msgspec.Struct, frozen=True):
    """How long a connection may take for a head, for a body, and without any request.

    linger_seconds: how long a client that was refused may go on sending.
    """

    head_seconds: float
    body_seconds: float
    idle_seconds: float
    linger_seconds: float


class Timed(Protocol):
    """A connection. ends_at: when its time is up, on the loop's clock."""

    ends_at: float

    def time_is_up(self) -> None:
        """Close, or refuse what has not come in time."""

    def close_when_idle(self) -> None:
        """Close now, or once the request in hand is answered."""

    def abort(self) -> None:
        """Close whatever is under way."""


class OpenConnections:
    """Keeps the time of connections, and ends them. now, date: at the last tick."""

    def __init__(self, limits: Limits, on_ticks: Sequence[Callable[[], None]]) -> None:
        """on_ticks: called whenever the times are looked at."""
        self.limits = limits
        self._on_ticks = on_ticks
        self.now = 0.0
        self.date = ""
        self.is_stopping = False
        self._connections: set[Timed] = set()
        self._emptied = asyncio.Event()
        self._tick()

    @property
    def first_seconds(self) -> float:
        """How long a new connection may say nothing: a tick, where the process stops."""
        return 0.0 if self.is_stopping else self.limits.idle_seconds

    def _tick(self) -> None:
        self.now = asyncio.get_running_loop().time()
        self.date = formatdate(time(), usegmt=True)
        for on_tick in self._on_ticks:
            on_tick()

    def add(self, connection: Timed) -> None:
        """Keep a new connection's time."""
        self._connections.add(connection)

    def forget(self, connection: Timed) -> None:
        """Drop a connection that is closed or handed on."""
        self._connections.discard(connection)
        if not self._connections:
            self._emptied.set()

    async def keep_time(self) -> None:
        """For ever, end the connections whose time is up."""
        while True:
            self._tick()
            for connection in [c for c in self._connections if c.ends_at <= self.now]:
                connection.time_is_up()
            await asyncio.sleep(TICK_SECONDS)

    async def stop(self, seconds: float) -> None:
        """Close every connection once its request in hand is answered, or the time is up."""
        self.is_stopping = True
        for connection in list(self._connections):
            connection.close_when_idle()
        try:
            async with asyncio.timeout(seconds):
                while self._connections:
                    self._emptied.clear()  # the last may go and one more come before we are woken
                    await self._emptied.wait()
        except TimeoutError:
            log.warning("connections_aborted", connections=len(self._connections))
            for connection in list(self._connections):
                connection.abort()
