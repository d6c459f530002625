"""The gateway killed while events are under way: what was taken is billed, once."""

import asyncio
import random
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path

import pytest

from tests.faults.gateway_sites import tenant_of
from tests.faults.ledger import Ledger, bill_and_compare
from tests.processes import Service, running

CLIENTS = 10
EVENTS_A_LIFE = 20

#: Before Kafka's acknowledgement, after it and before the answer, and whenever it happens to be.
POINTS = ("gateway.before_ack", "gateway.after_ack", "")


def deaths(kills: int) -> Iterator[str]:
    """Choose where each life ends: a crash point and its passage, or "" for anywhere."""
    chance = random.Random(kills)
    for number in range(kills):
        point = POINTS[number % len(POINTS)]
        yield point and f"{point}:{chance.randrange(5, 40)}"


async def test_a_gateway_killed_again_and_again_loses_and_repeats_nothing(
    stack_env: Mapping[str, str], tmp_path: Path
) -> None:
    await kill_again_and_again(stack_env, tmp_path, kills=2)


@pytest.mark.long
@pytest.mark.timeout(3_600)
async def test_a_gateway_killed_a_hundred_times_loses_and_repeats_nothing(
    stack_env: Mapping[str, str], tmp_path: Path
) -> None:
    await kill_again_and_again(stack_env, tmp_path, kills=99)


async def kill_again_and_again(env: Mapping[str, str], logs: Path, *, kills: int) -> None:
    gateway = Service("gateway", env, logs)
    points = [*deaths(kills), ""]
    with running(gateway):
        gateway.start(METERLINE_CRASHPOINT=points[0])
        async with tenant_of(gateway, env) as lane:
            ledger = Ledger(lane.site)
            sending = asyncio.create_task(ledger.run(gateway.url, CLIENTS))
            for point, next_point in pairwise(points):
                if not point:
                    await ledger.await_taken(len(ledger.taken) + EVENTS_A_LIFE)
                    gateway.kill()
                await asyncio.to_thread(gateway.wait_killed)
                gateway.start(is_awaited=False, METERLINE_CRASHPOINT=next_point)
            await ledger.await_taken(len(ledger.taken) + EVENTS_A_LIFE)
            ledger.is_over = True
            await sending
            assert await asyncio.to_thread(gateway.stop) == 0
            repeats = await bill_and_compare(ledger, env, logs)
    assert ledger.resets >= kills, "clients lost their connections"
    assert repeats > 0, "what was acknowledged and never answered was sent again"
