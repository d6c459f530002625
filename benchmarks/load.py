"""A load generator: keep-alive connections, each with one request under way at a time.

`python -m benchmarks.load` reads its task as JSON on standard input and prints its figures.
"""

import asyncio
import sys
from collections.abc import Iterator
from itertools import cycle
from time import perf_counter
from typing import cast

import msgspec
import uvloop

SLOWEST_SECONDS = 30.0


class Task(msgspec.Struct, frozen=True):
    """What to send, and for how long. headers: lines without their ends."""

    host: str
    port: int
    path: str
    headers: list[str]
    bodies: list[str]
    connections: int
    seconds: float
    warm_up_seconds: float


class Figures(msgspec.Struct, frozen=True):
    """What was seen. accepted: answers 202, warm-up included; the rates leave it out."""

    accepted: int
    others: int
    requests_per_second: float
    milliseconds_p50: float
    milliseconds_p99: float
    milliseconds_max: float


class Meter:
    """Counts answers; measures those that come after the warm-up."""

    def __init__(self, starts_at: float) -> None:
        self.starts_at = starts_at
        self.accepted = 0
        self.others = 0
        self.latencies: list[float] = []

    def count(self, status: bytes, sent_at: float, now: float) -> None:
        """Note an answer."""
        if status == b"202":
            self.accepted += 1
        else:
            self.others += 1
        if sent_at >= self.starts_at:
            self.latencies.append(now - sent_at)


class Client(asyncio.Protocol):
    """One connection: sends, reads the answer to its end, sends again."""

    def __init__(self, requests: Iterator[bytes], meter: Meter, stops_at: float) -> None:
        self._requests = requests
        self._meter = meter
        self._stops_at = stops_at
        self._received = b""
        self._sent_at = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by name
        self._send()

    def _send(self) -> None:
        self._sent_at = perf_counter()
        if self._sent_at >= self._stops_at:
            self._transport.close()
            self.done.set_result(None)
        else:
            self._transport.write(next(self._requests))

    def data_received(self, data: bytes) -> None:
        """Read on; once the answer is whole, send the next request."""
        received = self._received + data if self._received else data
        if not is_whole(received):
            self._received = received
            return
        self._received = b""
        self._meter.count(received[9:12], self._sent_at, perf_counter())
        self._send()

    def connection_lost(self, error: Exception | None) -> None:
        """Fail when the server has closed: it should not."""
        if not self.done.done():
            self.done.set_exception(error or ConnectionError("closed by the server"))


def is_whole(received: bytes) -> bool:
    """Tell whether an answer is here to its last byte."""
    head = received.find(b"\r\n\r\n")
    if head < 0:
        return False
    length = received.lower().find(b"content-length: ", 0, head) + 16
    size = int(received[length : received.index(b"\r\n", length)])
    return len(received) >= head + 4 + size


async def generate(task: Task) -> Figures:
    """Send the task's requests round and round; return the figures."""
    head = "\r\n".join([f"POST {task.path} HTTP/1.1", "Host: bench", *task.headers])
    requests = [
        f"{head}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode() for body in task.bodies
    ]
    began = perf_counter()
    meter = Meter(began + task.warm_up_seconds)
    stops_at = meter.starts_at + task.seconds
    around = cycle(requests)
    loop = asyncio.get_running_loop()
    clients = [
        (
            await loop.create_connection(
                lambda: Client(around, meter, stops_at), task.host, task.port
            )
        )
        for _ in range(task.connections)
    ]
    async with asyncio.timeout(task.warm_up_seconds + task.seconds + SLOWEST_SECONDS):
        await asyncio.gather(*[client.done for _, client in clients])
    taken = perf_counter() - meter.starts_at
    ordered = sorted(meter.latencies)
    return Figures(
        accepted=meter.accepted,
        others=meter.others,
        requests_per_second=round(len(ordered) / taken, 1),
        milliseconds_p50=round(1e3 * ordered[len(ordered) // 2], 2),
        milliseconds_p99=round(1e3 * ordered[len(ordered) * 99 // 100], 2),
        milliseconds_max=round(1e3 * ordered[-1], 2),
    )


if __name__ == "__main__":
    figures = uvloop.run(generate(msgspec.json.decode(sys.stdin.buffer.read(), type=Task)))
    sys.stdout.buffer.write(msgspec.json.encode(figures))
