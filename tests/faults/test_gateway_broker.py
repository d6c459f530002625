"""A broker that stalls under load: bounded answers, flat memory, nothing acknowledged is lost."""

import asyncio
import json
import os
import signal
from pathlib import Path
from time import monotonic

import pytest

from tests.faults.gateway_sites import keys_in_log
from tests.integration.lane.conftest import LaneSite
from tests.own_servers import (
    CLIENTS,
    DEADLINE_SECONDS,
    Load,
    OwnSite,
    own_site,
    readiness,
    resident_bytes,
)
from tests.rating import eventually

BULK_CLIENTS = 10
BULK_EVENTS, DATA_BYTES = 200, 2_000
GROWTH_BYTES_MAX = 96 * 1024 * 1024
"""The budget of bytes in flight, 64 MiB, and half as much again for what surrounds them."""

LATE_SECONDS_MAX = 20.0
"""How much later than its deadline an answer may be seen on a machine that has too much to do. That
it doesn't wait for the broker is seen otherwise: all clients are answered while that is stopped."""


@pytest.mark.parametrize(
    "seconds",
    [5, pytest.param(60, marks=[pytest.mark.long, pytest.mark.timeout(600)])],
)
async def test_a_stalled_broker_means_bounded_503_and_nothing_is_lost(
    tmp_path: Path, seconds: int
) -> None:
    async with own_site(tmp_path) as own:
        load = Load(own.site)
        loading = asyncio.create_task(load.run())
        await await_taken(load, 200)
        woken = asyncio.Event()
        bulks = asyncio.gather(*[bulk_client(own, load, woken) for _ in range(BULK_CLIENTS)])
        os.kill(own.kafka.pid, signal.SIGSTOP)
        try:
            await check_stalled(own, load, seconds)
        finally:
            os.kill(own.kafka.pid, signal.SIGCONT)
        woken.set()
        await await_taken(load, len(load.acknowledged) + 200)
        load.is_over = True
        await asyncio.gather(loading, bulks)
        found = await keys_in_log(own.site)
        assert load.acknowledged <= set(found), "what was acknowledged is in the log"
        assert set(found) <= load.acknowledged | {""}, "what was not was sent again until it was"
        assert (await readiness(own.site))["ready"]
        lane = LaneSite(own.site, own.gateway)
        assert await lane.metric("gateway_events_unknown_total") >= load.unknown > 0
        assert await lane.metric("gateway_producers_rebuilt_total") > 0


async def check_stalled(own: OwnSite, load: Load, seconds: int) -> None:
    """For so long, look at what clients are told and at the memory that is held."""
    stalled_at, taken = monotonic(), len(load.acknowledged)
    memory = peak = resident_bytes(own.gateway.child.pid)
    while monotonic() - stalled_at < seconds or load.answers[503, "log_unavailable"] < CLIENTS:
        assert monotonic() - stalled_at < seconds + 60
        await asyncio.sleep(0.1)  # the time between two looks
        peak = max(peak, resident_bytes(own.gateway.child.pid))
    assert peak - memory < GROWTH_BYTES_MAX
    assert len(load.acknowledged) - taken <= CLIENTS, "no 202 without a log"
    assert load.unknown > 0, "some were under way and may be recorded"
    assert {status for status, _ in load.answers} == {503}
    assert load.slowest_seconds < DEADLINE_SECONDS + LATE_SECONDS_MAX
    assert not (await readiness(own.site))["ready"]


async def bulk_client(own: OwnSite, load: Load, woken: asyncio.Event) -> None:
    """While the broker sleeps send many large events at once, whatever is answered."""
    event = own.site.event(additional_report_data={"text": "x" * DATA_BYTES})
    body = json.dumps([event] * BULK_EVENTS).encode()
    while not woken.is_set():
        status, answer = await own.site.post("/api/usage/events", body)
        load.unknown += answer.get("may_be_recorded", False)
        if status != 202:
            await asyncio.sleep(0.05)  # a client's own patience, not the test's


async def await_taken(load: Load, count: int) -> None:
    async def reached() -> bool:
        return len(load.acknowledged) >= count

    await eventually(reached, f"{count} events taken")
