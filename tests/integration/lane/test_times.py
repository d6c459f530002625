"""Slow clients, and the end of a process: bounded, counted, and nobody else suffers."""

import asyncio
import json
import resource
import socket
from contextlib import suppress
from pathlib import Path

from runtime.lifecycle import use_all_files
from tests.integration.gateway.conftest import new_site
from tests.integration.lane.conftest import LaneSite, Talk, status
from tests.processes import Service, running
from tests.rating import eventually

SLOW_CLIENTS = 2_000
SPARE_FILES = 500
"""What a process has open beside the connections of slow clients."""
DRIP_SECONDS = 0.5
BOUND_SECONDS = 120.0
"""Far more than the seconds that the tests' gateways allow; the slow clients would never end."""
QUIET_SECONDS = 3.0
FLOOD_BYTES = 64 * 1024 * 1024
"""Far more than the kernel's buffers and what a gateway holds of a connection."""


class SlowClients:
    """Connections on which a request is begun and goes on byte by byte, never to an end.

    answers: what those were told that the gateway has closed; nothing where a reset came first.
    """

    def __init__(self, lane: LaneSite, begin: bytes) -> None:
        use_all_files()
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self.count = min(SLOW_CLIENTS, files - SPARE_FILES)
        self.answers: list[bytes] = []
        self.open: dict[socket.socket, bytes] = {}
        for _ in range(self.count):
            one = socket.create_connection(("127.0.0.1", lane.service.port), timeout=60)
            one.sendall(begin)
            one.setblocking(False)
            self.open[one] = b""

    def drip(self) -> None:
        """Send a byte on every connection, and forget those that have ended."""
        for one in list(self.open):
            with suppress(OSError):
                one.send(b"a")
            try:
                while data := one.recv(65_536):
                    self.open[one] += data
            except BlockingIOError:
                continue
            except ConnectionResetError:
                pass
            one.close()
            self.answers.append(self.open.pop(one))


async def outlast(lane: LaneSite, begin: bytes) -> SlowClients:
    """Let slow clients try until the last one is cut off; whoever sends events is served."""
    clients = SlowClients(lane, begin)
    try:
        async with asyncio.timeout(BOUND_SECONDS):
            while clients.open:
                clients.drip()
                await lane.site.take(lane.site.event())
                await asyncio.sleep(DRIP_SECONDS)  # a slow client's pace
    finally:
        for one in clients.open:
            one.close()
    return clients


def timed_out(part: str) -> str:
    return f'gateway_requests_timed_out_total{{part="{part}"}}'


async def test_heads_that_never_end_are_cut_off(lane: LaneSite) -> None:
    before = await lane.metric(timed_out("head"))
    clients = await outlast(lane, lane.head()[:-2] + b"X-Slow: ")
    assert set(clients.answers) == {b""}
    assert await lane.metric(timed_out("head")) - before == clients.count


async def test_bodies_that_never_end_are_408(lane: LaneSite) -> None:
    before = await lane.metric(timed_out("body"))
    clients = await outlast(lane, lane.head(length=10_000) + b"{")
    assert {status(answer) for answer in clients.answers} - {0} == {408}
    assert await lane.metric(timed_out("body")) - before == clients.count

    async def all_is_given_back() -> bool:
        return await lane.metric("gateway_in_flight_bytes") == 0

    await eventually(all_is_given_back, "their bytes are given back")


async def test_a_second_head_is_timed_like_the_first(lane: LaneSite) -> None:
    talk = await lane.talk(lane.request())
    assert status(await talk.answer()) == 202
    talk.writer.write(lane.head()[:40])
    assert await talk.answer() == b""
    await talk.close()


async def flood(lane: LaneSite, talk: Talk) -> int:
    """Send requests and read no answer until they are read no further; how many bytes went off."""
    requests = lane.request(quantity="NaN") * 50
    sent = 0
    while sent < FLOOD_BYTES:
        talk.writer.write(requests)
        try:
            await asyncio.wait_for(talk.writer.drain(), QUIET_SECONDS)
        except TimeoutError:
            break
        sent += len(requests)
    return sent


async def test_a_client_that_reads_nothing_is_read_no_further(lane: LaneSite) -> None:
    talk = await lane.talk()
    talk.writer.transport.pause_reading()  # type: ignore[attr-defined]  # it reads, too
    assert await flood(lane, talk) < FLOOD_BYTES
    await lane.site.take(lane.site.event())
    talk.writer.transport.abort()
    await talk.close()


async def test_a_process_that_is_told_to_stop_answers_what_it_has(
    stack_env: dict[str, str], tmp_path: Path
) -> None:
    service = Service("gateway", stack_env, tmp_path)
    with running(service):
        service.start()
        site_of = new_site(
            service.url, stack_env["METERLINE_KAFKA"], stack_env["METERLINE_POSTGRES"],
            stack_env["METERLINE_TOPIC_PREFIX"],
        )  # fmt: skip
        async with site_of as site:
            lane = LaneSite(site, service)
            await site.take(site.event())
            body = json.dumps(site.event()).encode()
            half = await lane.talk(lane.head(length=len(body)) + body[:10])
            idle = await lane.talk(lane.request())
            assert status(await idle.answer()) == 202
            service.child.ask_to_stop()
            assert await idle.is_closed()
            half.writer.write(body[10:])
            answer = await half.answer()
            assert status(answer) == 202
            assert b"Connection: close" in answer
            assert await half.is_closed()
            await half.close()
            await idle.close()
        # It was told already: a second time would end it at once.
        assert await asyncio.to_thread(service.child.wait, 60), service.log_text
        assert service.child.exit_code() == 0, service.log_text
