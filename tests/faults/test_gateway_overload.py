"""More than the gateway can take: refused at once, counted, and no other tenant notices."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from tests.faults.gateway_sites import LANES, gateway_of, percentile, tenant_of
from tests.integration.lane.conftest import LaneSite, Talk, status
from tests.own_servers import resident_bytes
from tests.rating import eventually

REQUESTS_MAX = 32
SLOW_CLIENTS = 500
BODY_BYTES = 1024 * 1024
TAKEN = 32
"""One tenant's share of the bytes in flight, in bodies."""
OWN_SECONDS = 0.2
"""What an event may take longer. The slow clients wait for the one who is measured: to wait for one
of them would take for ever."""

GROWTH_BYTES_MAX = 96 * 1024 * 1024
"""The budget of bytes, 64 MiB, and half as much again for what surrounds them."""


async def shed(lane: LaneSite, bound: str) -> float:
    return await lane.metric(f'gateway_requests_shed_total{{bound="{bound}"}}')


async def hang_up(talks: list[Talk]) -> None:
    for talk in talks:
        await talk.close()


@pytest_asyncio.fixture(params=sorted(LANES))
async def tenants(
    request: pytest.FixtureRequest, stack_env: dict[str, str], tmp_path: Path
) -> AsyncIterator[list[LaneSite]]:
    """Run a gateway that takes few requests at once; three of its tenants."""
    settings = {"requests_in_flight_max": REQUESTS_MAX, "head_read_seconds": 60}
    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(
            gateway_of(stack_env, tmp_path, lane=request.param, body_read_seconds=60, **settings)
        )
        yield [await stack.enter_async_context(tenant_of(service, stack_env)) for _ in range(3)]


async def test_requests_in_flight_are_bounded_and_a_tenant_has_its_share(
    tenants: list[LaneSite],
) -> None:
    greedy, second, third = tenants
    half = REQUESTS_MAX // 2
    slow = [await greedy.talk(greedy.head(length=1_000) + b"{") for _ in range(half)]
    await await_in_flight(greedy, half)
    refusal = (await greedy.answers(greedy.request()))[0]
    assert status(refusal) == 429
    assert b"Retry-After: " in refusal
    assert b'"tenant_over_share"' in refusal
    await second.site.take(second.site.event())

    slow += [await second.talk(second.head(length=1_000) + b"{") for _ in range(half)]
    await await_in_flight(greedy, REQUESTS_MAX)
    refusal = (await third.answers(third.request()))[0]
    assert status(refusal) == 503
    assert b"Retry-After: " in refusal
    assert b'"too_much_in_flight"' in refusal
    assert await shed(greedy, "tenant_requests") == 1
    assert await shed(greedy, "requests") == 1

    await hang_up(slow)
    await await_in_flight(greedy, 0)
    for tenant in tenants:
        await tenant.site.take(tenant.site.event())
    await check_that_strangers_have_one_share_together(third)


async def await_in_flight(lane: LaneSite, count: int) -> None:
    async def reached() -> bool:
        return await lane.metric("gateway_in_flight_requests") == count

    await eventually(reached, f"{count} requests in flight")


async def check_that_strangers_have_one_share_together(known: LaneSite) -> None:
    """Log in slowly, many times; whoever has a token is taken all the same."""
    login = b"POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"
    slow = [await known.talk(login) for _ in range(REQUESTS_MAX // 2)]
    await await_in_flight(known, REQUESTS_MAX // 2)
    assert status((await known.answers(login))[0]) == 429
    await known.site.take(known.site.event())
    await hang_up(slow)
    await await_in_flight(known, 0)


@pytest.mark.parametrize("lane", ["fast_lane", pytest.param("aiohttp", marks=pytest.mark.long)])
async def test_five_hundred_slow_clients_with_large_bodies_are_no_matter_to_others(
    lane: str, stack_env: dict[str, str], tmp_path: Path
) -> None:
    async with (
        gateway_of(stack_env, tmp_path, lane=lane, body_read_seconds=60) as service,
        tenant_of(service, stack_env) as greedy,
        tenant_of(service, stack_env) as modest,
    ):
        await best_median(modest)  # warm
        quiet_seconds = await best_median(modest)
        memory = resident_bytes(service.child.pid)
        async with slow_clients(greedy) as slow:
            await eventually(lambda: is_shedding(greedy), "slow clients are refused")
            busy_seconds = await best_median(modest)
            assert resident_bytes(service.child.pid) - memory < GROWTH_BYTES_MAX
            said, _ = await asyncio.wait_for(slow.communicate(b""), 60)
        answers = {int(code): count for code, count in json.loads(said).items()}
        assert answers[202] == TAKEN, "whoever is taken is taken to the end"
        assert set(answers) <= {202, 429, 0}, "0: a refused one that looked too late to be told"
        assert await shed(greedy, "tenant_bytes") == SLOW_CLIENTS - TAKEN
        assert busy_seconds < 2 * quiet_seconds + OWN_SECONDS


async def best_median(lane: LaneSite) -> float:
    """Measure what an event takes: what else the machine does makes it longer, never shorter."""
    return min([await percentile(lane.site, 0.5, count=50) for _ in range(3)])


async def is_shedding(lane: LaneSite) -> bool:
    return await shed(lane, "tenant_bytes") == SLOW_CLIENTS - TAKEN


@asynccontextmanager
async def slow_clients(lane: LaneSite) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run slow clients; they send the rest of their bodies at the end of their input."""
    numbers = (lane.service.port, SLOW_CLIENTS, BODY_BYTES)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.faults.slow_clients", *map(str, numbers)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    try:
        assert process.stdin is not None
        head = lane.head(length=BODY_BYTES, path="/api/usage/events")
        process.stdin.write(head.hex().encode() + b"\n")
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
