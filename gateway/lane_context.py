"""What the connections of the fast lane share."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from gateway.in_flight import InFlight
from gateway.ingest.authentication import Authentication
from gateway.ingest.events import Ingest
from gateway.open_connections import Limits, OpenConnections
from gateway.plain_head import Heads
from gateway.turns import Turn


class FastLane:
    """Whom a connection calls, what it counts on, and who takes over.

    turn: in which events are judged together.
    """

    def __init__(
        self,
        *,
        ingest: Ingest,
        authentication: Authentication,
        in_flight: InFlight,
        limits: Limits,
        other_lane: Callable[[], asyncio.Protocol],
    ) -> None:
        """other_lane: makes the protocol that takes a connection over."""
        self.ingest = ingest
        self.authentication = authentication
        self.in_flight = in_flight
        self.open = OpenConnections(limits, on_ticks=(ingest.budget.tell, in_flight.tell))
        self.other_lane = other_lane
        self.heads = Heads()
        self.turn = Turn()
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run what has to wait, and keep hold of it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
