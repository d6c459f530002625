"""What bounds an upload: memory, time, how many at once; and what it leaves to others."""

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import asyncpg
import pytest

from tests.faults.gateway_sites import gateway_of
from tests.integration.gateway.conftest import Site, new_site, with_read
from tests.integration.gateway.files import HEADER, Slow, get, is_begun, newest, row, table, upload
from tests.own_servers import own_site
from tests.processes import Service
from tests.rating import eventually

MEGABYTE = 1024 * 1024
BLOCK_ROWS = 1_000
SINGLE_EVENTS_MIN = 25
"""One after another, while a file comes; a quiet machine takes hundreds."""


@asynccontextmanager
async def site_of(gateway: Service, env: Mapping[str, str]) -> AsyncIterator[Site]:
    place = (env["METERLINE_KAFKA"], env["METERLINE_POSTGRES"], env["METERLINE_TOPIC_PREFIX"])
    async with new_site(gateway.url, *place) as site:
        yield await with_read(site)


async def rows_of(site: Site, count: int) -> AsyncIterator[bytes]:
    """A file of many rows, made as it is sent."""
    block = table([row(site)] * BLOCK_ROWS)
    header = table([])
    yield header
    for _ in range(count // BLOCK_ROWS):
        yield block[len(header) :]


def resident_bytes(service: Service) -> int:
    """The memory of the gateway's process."""
    status = Path(f"/proc/{service.child.pid}/status").read_text()
    found = re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


@pytest.mark.parametrize(
    "count",
    [60_000, pytest.param(1_000_000, marks=[pytest.mark.long, pytest.mark.timeout(900)])],
)
async def test_memory_stays_flat_and_single_events_get_through_however_long_the_file(
    count: int, stack_env: Mapping[str, str], tmp_path: Path
) -> None:
    async with (
        gateway_of(stack_env, tmp_path) as gateway,
        site_of(gateway, stack_env) as site,
    ):
        await upload(site, rows_of(site, 10_000))
        before = highest = resident_bytes(gateway)
        sending = asyncio.create_task(upload(site, rows_of(site, count)))
        taken = 0
        while not sending.done():
            await site.take(site.event())
            taken += 1
            highest = max(highest, resident_bytes(gateway))
        status, answer = await sending
        assert (status, answer["accepted"]) == (202, count)
        assert highest - before < 16 * MEGABYTE
        # Whatever else the machine has to do, the file has it to do as well.
        assert taken >= SINGLE_EVENTS_MIN, "they don't wait for the file"


async def test_what_is_over_a_bound_is_told_to_come_later(
    stack_env: Mapping[str, str], tmp_path: Path
) -> None:
    async with (
        gateway_of(stack_env, tmp_path, uploads_max=2) as gateway,
        site_of(gateway, stack_env) as site,
    ):
        slow = Slow(table([row(site)]))
        sending = asyncio.create_task(upload(site, slow))
        await eventually(lambda: is_begun(site), "the first file comes")
        status, refusal = await upload(site, table([row(site)]))
        assert (status, refusal["code"]) == (429, "too_many_uploads")
        async with site_of(gateway, stack_env) as other:
            assert (await upload(other, table([row(other)])))[0] == 202, "others have theirs"
        slow.parts.put_nowait(None)
        assert (await sending)[0] == 202
        assert (await upload(site, table([row(site)])))[0] == 202


async def test_a_client_that_falls_silent_is_cut_off(
    stack_env: Mapping[str, str], tmp_path: Path
) -> None:
    async with (
        gateway_of(stack_env, tmp_path, upload_idle_seconds=5) as gateway,
        site_of(gateway, stack_env) as site,
    ):
        status, refusal = await upload(site, Slow(table([row(site)] * 3)))
        assert (status, refusal["code"]) == (408, "body_timeout")
        assert refusal["upload"]["accepted"] == 3
        assert (await newest(site))["state"] == "ABORTED"


async def test_a_gateway_that_stops_ends_uploads_where_they_are(
    stack_env: Mapping[str, str], tmp_path: Path
) -> None:
    async with (
        gateway_of(stack_env, tmp_path) as gateway,
        site_of(gateway, stack_env) as site,
    ):
        body = table([row(site, number) for number in range(1_000)])
        slow = Slow(body[: len(body) // 2])
        sending = asyncio.create_task(upload(site, slow, Idempotency_Key="stopped"))
        await eventually(lambda: is_begun(site), "the file comes")
        stopping = asyncio.create_task(asyncio.to_thread(gateway.stop))
        with suppress(aiohttp.ClientError):  # the answer may be lost on a connection that is reset
            status, refusal = await sending
            assert (status, refusal["code"]) == (503, "gateway_stopping")
        assert await stopping == 0
        gateway.start()
        shown = await newest(site)
        assert (shown["state"], shown["problem"]["code"]) == ("ABORTED", "gateway_stopping")
        assert shown["accepted"] < 1_000
        status, answer = await upload(site, body, Idempotency_Key="stopped")
        assert (status, answer["accepted"]) == (202, 1_000)
        assert len(await site.own_records()) == 1_000, "what was noted was not sent again"


async def test_an_upload_waits_out_a_database_that_went_away(
    stack_env: Mapping[str, str], tmp_path: Path
) -> None:
    async with (
        gateway_of(stack_env, tmp_path) as gateway,
        site_of(gateway, stack_env) as site,
    ):
        body = table([row(site, "x" if number % 10 else 1) for number in range(2_000)])
        half = len(body) // 2
        slow = Slow(body[:half])
        sending = asyncio.create_task(upload(site, slow))
        await eventually(lambda: is_begun(site), "the file comes")
        connection = await asyncpg.connect(stack_env["METERLINE_POSTGRES"])
        try:
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'meterline-gateway' "
                "AND datname = current_database()"
            )
        finally:
            await connection.close()
        slow.parts.put_nowait(body[half:])
        slow.parts.put_nowait(None)
        status, answer = await sending
        assert (status, answer["rows"], answer["accepted"]) == (202, 2_000, 200)
        assert (answer["rejected"], answer["rejected_kept"]) == (1_800, 1_800)
        _, text = await get(site, answer["rejected_csv"])
        assert text.count("\r\n") == 1_801
        assert text.startswith(",".join(HEADER))


@pytest.mark.long
async def test_an_upload_waits_out_a_broker_that_stalls(tmp_path: Path) -> None:
    async with own_site(tmp_path) as own:
        site = await with_read(own.site)
        body = table([row(site, number) for number in range(20_000)])
        half = len(body) // 2
        slow = Slow(body[:half])
        sending = asyncio.create_task(upload(site, slow, Idempotency_Key="stalled"))
        await eventually(lambda: is_begun(site), "the file comes")
        os.kill(own.kafka.pid, signal.SIGSTOP)
        slow.parts.put_nowait(body[half:])
        slow.parts.put_nowait(None)
        unknown = metric_of(own.gateway.url, "gateway_events_unknown_total")
        try:
            await eventually(unknown, "rows whose fate nobody knows")
        finally:
            os.kill(own.kafka.pid, signal.SIGCONT)
        status, answer = await sending
        assert (status, answer["rows"], answer["accepted"]) == (202, 20_000, 20_000)
        keys = [record["idempotency_key"] for record in await site.own_records()]
        assert set(keys) == {f"stalled/row/{number}" for number in range(1, 20_001)}


def metric_of(url: str, name: str) -> Callable[[], Awaitable[bool]]:
    """Ask whether a counter of a gateway has moved."""

    async def is_above_zero() -> bool:
        async with aiohttp.ClientSession() as session, session.get(f"{url}/metrics") as answer:
            text = await answer.text()
        return float(text.partition(f"\n{name} ")[2].partition("\n")[0]) > 0

    return is_above_zero
