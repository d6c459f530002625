"""A load generator that sends at a rate of its own, however the server gets on.

Latency counts from the moment at which a request was meant to be sent: a server that stalls does
not slow its own examiner down. What the sender itself was late is told beside it.

`python -m benchmarks.open_loop` reads its task as JSON on standard input and prints its figures.
"""

import asyncio
import sys
from collections import deque
from collections.abc import Iterator
from itertools import cycle
from time import perf_counter
from typing import cast

import msgspec
import uvloop

from benchmarks.load import is_whole

TICK_SECONDS = 0.001


class OpenTask(msgspec.Struct, frozen=True):
    """What to send, how often, and for how long. headers: lines without their ends.

    connections_max: opened as they are needed; nothing is sent, and nothing waits, while all of
    them are busy. patience_seconds: a request that has no answer so long after it was meant to be
    sent has failed, and its connection is closed.
    """

    host: str
    port: int
    path: str
    headers: list[str]
    bodies: list[str]
    connections_max: int
    per_second: float
    seconds: float
    warm_up_seconds: float = 1.0
    patience_seconds: float = 10.0


class OpenFigures(msgspec.Struct, frozen=True):
    """What was seen. accepted: answers 202, warm-up included; rates and times leave it out.

    given_up: sent, and not answered in time: with the whole patience in the latencies.
    never_sent: every connection was busy. lag: how late the sender itself was.
    """

    offered: int
    accepted: int
    others: int
    given_up: int
    never_sent: int
    accepted_per_second: float
    milliseconds_p50: float
    milliseconds_p99: float
    milliseconds_max: float
    lag_milliseconds_p50: float
    lag_milliseconds_p99: float


class Connection(asyncio.Protocol):
    """One connection, with at most one request under way."""

    def __init__(self, sender: "Sender") -> None:
        self._sender = sender
        self._received = b""
        self._transport: asyncio.Transport | None = None
        self._request = b""
        self.meant_at = 0.0
        self.is_busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send what the connection was opened for."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by name
        self._transport.write(self._request)

    def send(self, request: bytes, meant_at: float) -> None:
        """Send a request: at once, or when the connection is there."""
        self.meant_at = meant_at
        self.is_busy = True
        if self._transport is None:
            self._request = request
        else:
            self._transport.write(request)

    def abort(self) -> None:
        """Close the connection."""
        self.is_busy = False
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Read on; once the answer is whole, be ready again."""
        received = self._received + data if self._received else data
        if not is_whole(received):
            self._received = received
            return
        self._received = b""
        if self.is_busy:
            self.is_busy = False
            self._sender.answered(self, received[9:12])

    def connection_lost(self, error: Exception | None) -> None:
        """Tell the sender."""
        self._sender.lost(self)


class Sender:
    """Sends what is due over whichever connection is free."""

    def __init__(self, task: OpenTask) -> None:
        head = "\r\n".join([f"POST {task.path} HTTP/1.1", "Host: bench", *task.headers])
        self._task = task
        self._requests: Iterator[bytes] = cycle(
            [
                f"{head}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
                for body in task.bodies
            ]
        )
        self._idle: list[Connection] = []
        self._connections = 0
        self._under_way: deque[tuple[float, Connection]] = deque()
        self._opening: set[asyncio.Task[None]] = set()
        self._measured_from = 0.0
        self.counts = dict.fromkeys(("offered", "accepted", "others", "given_up", "never_sent"), 0)
        self.accepted_in_time = 0
        self.latencies: list[float] = []
        self.lags: list[float] = []

    async def run(self) -> None:
        """Send at the task's rate until its time is over and everything has ended."""
        task = self._task
        began = perf_counter()
        self._measured_from = began + task.warm_up_seconds
        ends_at = self._measured_from + task.seconds
        while (now := perf_counter()) < ends_at:
            due = began + self.counts["offered"] / task.per_second
            while due <= now:
                self.counts["offered"] += 1
                self._send(due)
                due = began + self.counts["offered"] / task.per_second
            self._give_up(now)
            await asyncio.sleep(TICK_SECONDS)
        while self._under_way:
            self._give_up(perf_counter())
            await asyncio.sleep(TICK_SECONDS)

    def _send(self, meant_at: float) -> None:
        """Send the next request over a connection that is free, or over one more."""
        if self._idle:
            connection = self._idle.pop()
        elif self._connections < self._task.connections_max:
            connection = self._open()
        else:
            self.counts["never_sent"] += 1
            return
        self._under_way.append((meant_at, connection))
        connection.send(next(self._requests), meant_at)
        if meant_at >= self._measured_from:
            self.lags.append(perf_counter() - meant_at)

    def _open(self) -> Connection:
        connection = Connection(self)
        self._connections += 1
        opening = asyncio.get_running_loop().create_task(self._connect(connection))
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)
        return connection

    async def _connect(self, connection: Connection) -> None:
        try:
            await asyncio.get_running_loop().create_connection(
                lambda: connection, self._task.host, self._task.port
            )
        except OSError:
            self.lost(connection)

    def answered(self, connection: Connection, status: bytes) -> None:
        """Count an answer."""
        is_accepted = status == b"202"
        self.counts["accepted" if is_accepted else "others"] += 1
        self._note(connection.meant_at, perf_counter() - connection.meant_at)
        self.accepted_in_time += is_accepted and connection.meant_at >= self._measured_from
        self._idle.append(connection)

    def _note(self, meant_at: float, taken: float) -> None:
        if meant_at >= self._measured_from:
            self.latencies.append(taken)

    def _give_up(self, now: float) -> None:
        """Fail what has waited too long; forget what has ended."""
        patience = self._task.patience_seconds
        while self._under_way:
            meant_at, connection = self._under_way[0]
            is_this_one = connection.is_busy and connection.meant_at == meant_at
            if is_this_one and meant_at >= now - patience:
                return
            self._under_way.popleft()
            if is_this_one:
                self.counts["given_up"] += 1
                self._note(meant_at, patience)
                connection.abort()

    def lost(self, connection: Connection) -> None:
        """Forget a connection that is closed; a request under way on it has failed."""
        self._connections -= 1
        if connection.is_busy:
            connection.is_busy = False
            self.counts["others"] += 1
            self._note(connection.meant_at, self._task.patience_seconds)
        elif connection in self._idle:
            self._idle.remove(connection)


def part(ordered: list[float], share: float) -> float:
    """Return a quantile of ordered seconds, in milliseconds."""
    return round(1e3 * ordered[min(int(len(ordered) * share), len(ordered) - 1)], 2)


async def generate(task: OpenTask) -> OpenFigures:
    """Send the task's requests round and round; return the figures."""
    sender = Sender(task)
    await sender.run()
    latencies, lags = sorted(sender.latencies), sorted(sender.lags) or [0.0]
    return OpenFigures(
        **sender.counts,
        accepted_per_second=round(sender.accepted_in_time / task.seconds, 1),
        milliseconds_p50=part(latencies, 0.5),
        milliseconds_p99=part(latencies, 0.99),
        milliseconds_max=part(latencies, 1),
        lag_milliseconds_p50=part(lags, 0.5),
        lag_milliseconds_p99=part(lags, 0.99),
    )


if __name__ == "__main__":
    figures = uvloop.run(generate(msgspec.json.decode(sys.stdin.buffer.read(), type=OpenTask)))
    sys.stdout.buffer.write(msgspec.json.encode(figures))
