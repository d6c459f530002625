"""The client without an event loop does what the other one does."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import pytest_asyncio

from meterline_client import Accepted, Client, ClientClosed, Counts, Outcome, Unknown
from tests.unit.client.stub import Reply, Stub, always, stub
from tests.unit.client.test_sender import event, events, keys, limits_of


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Stub]:
    async with stub() as made:
        yield made


def client_of(url: str, **limits: float) -> Client:
    return Client(url, "key", "password", limits=limits_of(limits))


async def test_it_sends_streams_and_closes(server: Stub) -> None:
    def work() -> Counts:
        with client_of(server.url) as client:
            assert isinstance(client.send(event(0)).result(10), Accepted)
            client.send_nowait(event(1))
            client.flush(10)
            assert client.send_many(events(1_500)).accepted == 1_500
            assert [outcome.key for outcome in client.stream(events(1_500))] == keys(1_500)
        with pytest.raises(ClientClosed):
            client.send(event(2))
        return client.close()

    assert await asyncio.to_thread(work) == Counts(handed_in=3_002, accepted=3_002)


async def test_threads_share_a_client(server: Stub) -> None:
    def work() -> int:
        with client_of(server.url) as client, ThreadPoolExecutor(8) as pool:
            reports = pool.map(client.send_many, [events(100)] * 8)
            return sum(report.accepted for report in reports)

    assert await asyncio.to_thread(work) == 800


async def test_a_stream_is_read_in_the_callers_thread(server: Stub) -> None:
    readers = set()

    def source() -> Iterator[dict[str, object]]:
        readers.add(threading.current_thread())
        yield event(0)

    def work() -> bool:
        with client_of(server.url) as client:
            client.send_many(source())
        return readers == {threading.current_thread()}

    assert await asyncio.to_thread(work)


async def test_a_callback_that_calls_its_client_is_told_so_and_not_left_waiting(
    server: Stub,
) -> None:
    told: list[Exception] = []

    def work() -> None:
        def callback(_counts: Counts) -> None:
            try:
                client.flush()
            except RuntimeError as error:
                told.append(error)

        with Client(server.url, "key", "password", on_progress=callback) as client:
            client.send_many(events(1))

    await asyncio.to_thread(work)
    assert "on_progress" in str(told[0])


async def test_a_url_that_is_none_is_refused_and_leaves_no_thread() -> None:
    before = threading.active_count()
    with pytest.raises(ValueError, match="not the URL"):
        Client("billing.example", "key", "password")
    assert threading.active_count() == before


async def test_events_left_at_a_deadline_are_unknown(server: Stub) -> None:
    server.script = [always(Reply(0))] * 10_000

    def work() -> Outcome:
        with client_of(server.url, deadline_seconds=0.2) as client:
            return client.send(event(0)).result(10)

    assert isinstance(await asyncio.to_thread(work), Unknown)


async def test_a_program_that_forgets_to_close_loses_nothing(server: Stub) -> None:
    program = (
        "from meterline_client import Client\n"
        f"client = Client({server.url!r}, 'key', 'password')\n"
        "for number in range(100):\n"
        "    client.send({'idempotency_key': f'key-{number}'})\n"
    )
    command = [sys.executable, "-W", "error", "-c", program]
    ended = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert sorted(key for batch in server.sent for key in batch) == sorted(keys(100))
