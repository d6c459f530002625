"""The connections of the fast lane end with the process, whenever they came."""

import asyncio

from gateway.open_connections import Limits, OpenConnections

LIMITS = Limits(head_seconds=60, body_seconds=60, idle_seconds=60, linger_seconds=60)
LONG = 3_600.0


class Held:
    """A connection that closes when it is told to, unless it is busy."""

    def __init__(self, connections: OpenConnections, *, is_busy: bool) -> None:
        self.connections = connections
        self.is_busy = is_busy
        self.is_aborted = False
        self.ends_at = connections.now + LONG
        connections.add(self)

    def time_is_up(self) -> None:
        self.close()

    def close_when_idle(self) -> None:
        if not self.is_busy:
            self.close()

    def close(self) -> None:
        self.connections.forget(self)

    def abort(self) -> None:
        self.is_aborted = True
        self.close()


async def test_idle_ones_close_at_once_and_busy_ones_are_waited_for() -> None:
    connections = OpenConnections(LIMITS, on_ticks=())
    Held(connections, is_busy=False)
    busy = Held(connections, is_busy=True)
    stopping = asyncio.create_task(connections.stop(LONG))
    await asyncio.sleep(0)
    assert not stopping.done()
    busy.close()
    await stopping
    assert not busy.is_aborted


async def test_one_that_comes_between_the_last_and_the_end_is_waited_for_and_not_spun_on() -> None:
    connections = OpenConnections(LIMITS, on_ticks=())
    last = Held(connections, is_busy=True)
    stopping = asyncio.create_task(connections.stop(LONG))
    await asyncio.sleep(0)
    last.close()
    late = Held(connections, is_busy=True)
    for _ in range(5):
        await asyncio.sleep(0)  # the loop still turns
    assert not stopping.done()
    late.close()
    await stopping


async def test_those_that_never_end_are_aborted_when_the_time_is_up() -> None:
    connections = OpenConnections(LIMITS, on_ticks=())
    stuck = Held(connections, is_busy=True)
    await connections.stop(0.01)
    assert stuck.is_aborted
