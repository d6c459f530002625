"""What a connection of the fast lane holds of a client that sends far ahead of its answers."""

import asyncio
from typing import Any, cast

import pytest

from gateway.fast_lane import AHEAD_BYTES_MAX, Connection
from gateway.in_flight import InFlight
from gateway.lane_context import FastLane
from gateway.open_connections import Limits
from schemas.errors import InvalidInput

CHUNK_BYTES = 64 * 1024
BODY = b'{"quantity":1}'
REQUEST = (
    b"POST /api/usage/event HTTP/1.1\r\nHost: x\r\nVersion: V0\r\nAuthorization: Bearer t\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
)
REQUESTS = 5_000
TURNS = 5
"""More than a request takes that is refused at once."""
LIMITS = Limits(head_seconds=60, body_seconds=60, idle_seconds=60, linger_seconds=60)


class Ingest:
    """Refuses every event at once, which is how a client makes answers the cheapest way."""

    budget = cast(Any, type("Budget", (), {"tell": staticmethod(lambda: None)}))

    def start_event(self, *_: object) -> None:
        raise InvalidInput("required", "something is missing")


class Authentication:
    def recall(self, _authorization: str) -> Any:  # noqa: ANN401 - claims of which one field counts
        return type("Claims", (), {"tenant_id": 1})


class Transport:
    """A client's end of the connection: it counts its answers."""

    def __init__(self) -> None:
        self.answers = 0
        self.is_reading = True

    def write(self, answer: bytes) -> None:
        self.answers += answer.startswith(b"HTTP/1.1 422 ")

    def pause_reading(self) -> None:
        assert self.is_reading
        self.is_reading = False

    def resume_reading(self) -> None:
        assert not self.is_reading
        self.is_reading = True

    def close(self) -> None:
        raise AssertionError


class Client:
    """Sends requests as fast as they are read."""

    def __init__(self) -> None:
        lane = FastLane(
            ingest=cast(Any, Ingest()),
            authentication=cast(Any, Authentication()),
            in_flight=InFlight(100, 1.0),
            limits=LIMITS,
            other_lane=asyncio.Protocol,
        )
        self.transport = Transport()
        self.connection = Connection(lane)
        self.connection.connection_made(cast(Any, self.transport))
        self.held_max = 0
        self._unsent = memoryview(REQUEST * REQUESTS)

    async def send_some(self) -> bool:
        """Send once, if it is read; tell whether anything has moved in the loop's next turns."""
        before = self.transport.answers, len(self._unsent)
        if self.transport.is_reading and self._unsent:
            self.connection.data_received(bytes(self._unsent[:CHUNK_BYTES]))
            self._unsent = self._unsent[CHUNK_BYTES:]
        self.held_max = max(self.held_max, self.connection._ahead_bytes)
        for _ in range(TURNS):
            await asyncio.sleep(0)
        return before != (self.transport.answers, len(self._unsent))


@pytest.fixture
async def client() -> Client:
    return Client()


async def test_it_is_read_no_further_than_its_share_and_every_request_is_answered(
    client: Client,
) -> None:
    while await client.send_some():
        pass
    assert client.transport.answers == REQUESTS
    assert client.held_max <= AHEAD_BYTES_MAX + CHUNK_BYTES


async def test_while_it_reads_no_answers_none_is_made(client: Client) -> None:
    client.connection.pause_writing()
    while await client.send_some():
        pass
    assert client.transport.answers == 0
    assert not client.transport.is_reading
    client.connection.resume_writing()
    await asyncio.sleep(0)
    while await client.send_some():
        pass
    assert client.transport.answers == REQUESTS
