"""Several processes behind one port: one figure for all, and none is missed when it dies."""

import asyncio
import os
import signal
from pathlib import Path

import aiohttp

from tests.integration.gateway.conftest import Site, new_site
from tests.integration.lane.conftest import LaneSite
from tests.processes import Service, running

PROCESSES = 3


def workers(service: Service) -> set[int]:
    pid = service.child.pid
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def is_any_left(pids: set[int]) -> bool:
    return any(Path(f"/proc/{pid}").exists() for pid in pids)


async def answering(url: str, count: int) -> None:
    """Wait until so many processes have answered that they are ready."""
    seen: set[str] = set()
    async with asyncio.timeout(60):
        while len(seen) < count:
            async with aiohttp.ClientSession() as session:
                try:
                    async with session.get(f"{url}/readyz") as answer:
                        seen.add(answer.headers["X-Request-Id"].partition("-")[0])
                except aiohttp.ClientError:
                    seen.clear()


async def take_on_new_connections(site: Site, count: int) -> None:
    for _ in range(count):
        async with aiohttp.ClientSession() as session:
            site.session = session
            await site.take(site.event())


async def test_processes_share_a_port_and_one_that_dies_is_replaced(
    stack_env: dict[str, str], tmp_path: Path
) -> None:
    service = Service("gateway", stack_env, tmp_path)
    with running(service):
        service.start(METERLINE_GATEWAY_PROCESSES=str(PROCESSES))
        await answering(service.url, PROCESSES)
        first = workers(service)
        assert len(first) == PROCESSES
        async with new_site(
            service.url, stack_env["METERLINE_KAFKA"], stack_env["METERLINE_POSTGRES"],
            stack_env["METERLINE_TOPIC_PREFIX"],
        ) as site:  # fmt: skip
            session = site.session
            lane = LaneSite(site, service)
            await take_on_new_connections(site, 20)
            site.session = session
            assert await lane.metric("gateway_events_accepted_total") == 20
            victim = min(first)
            os.kill(victim, signal.SIGKILL)
            await until_replaced(service, victim)
            await answering(service.url, PROCESSES)
            await take_on_new_connections(site, 20)
        async with aiohttp.ClientSession() as again:
            site.session = again
            assert await lane.metric("gateway_events_accepted_total") == 40
        assert "gateway_process_died" in service.log_text
        left = workers(service)
        assert await asyncio.to_thread(service.stop) == 0, service.log_text
    assert not is_any_left(left)


async def until_replaced(service: Service, victim: int) -> None:
    async with asyncio.timeout(60):
        while victim in (found := workers(service)) or len(found) < PROCESSES:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_processes_that_can_not_work_say_why_and_all_end(
    stack_env: dict[str, str], tmp_path: Path
) -> None:
    service = Service("gateway", stack_env, tmp_path)
    with running(service):
        service.start(
            is_awaited=False, METERLINE_GATEWAY_PROCESSES="2", METERLINE_TOPIC_PREFIX="nowhere."
        )
        assert await asyncio.to_thread(service.child.wait, 60)
        assert service.child.exit_code() == 1
        assert "run `meterline migrate`" in service.log_text


async def test_workers_end_with_a_parent_that_is_killed(
    stack_env: dict[str, str], tmp_path: Path
) -> None:
    service = Service("gateway", stack_env, tmp_path)
    with running(service):
        service.start(METERLINE_GATEWAY_PROCESSES="2")
        await answering(service.url, 2)
        left = workers(service)
        os.kill(service.child.pid, signal.SIGKILL)
        async with asyncio.timeout(60):
            while is_any_left(left):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
