"""Waiting for rating to pass a place: who goes on at a notice, who is refused, and who is ended."""

import asyncio

from gateway import metrics
from gateway.progress import Progress

LONG = 60.0


def refused() -> float:
    count: float = metrics.WAITS.labels("refused")._value.get()
    return count


async def test_a_notice_wakes_those_whose_place_is_passed_and_no_others() -> None:
    progress = Progress(2, waiters_max=10, tenant_share=1)
    places = [(0, 4), (0, 5), (1, 4)]
    waits = [asyncio.create_task(progress.wait_past(1, *place, LONG)) for place in places]
    await asyncio.sleep(0)
    progress._notice(None, 0, "", "0,5")
    assert await waits[0]
    assert not waits[1].done()
    assert not waits[2].done()
    assert await progress.wait_past(1, 0, 4, LONG), "it is passed already"
    progress._note(0, 6)
    progress._note(1, 5)
    assert await asyncio.gather(*waits) == [True] * 3


async def test_a_wait_ends_at_its_time() -> None:
    progress = Progress(1, waiters_max=10, tenant_share=1)
    assert not await progress.wait_past(1, 0, 0, 0.01)


async def test_over_the_bound_nobody_waits_and_no_tenant_takes_all_places() -> None:
    progress = Progress(1, waiters_max=4, tenant_share=0.5)
    waits = [asyncio.create_task(progress.wait_past(t, 0, 0, LONG)) for t in (1, 1, 2)]
    await asyncio.sleep(0)
    before = refused()
    assert not await progress.wait_past(1, 0, 0, LONG)
    fourth = asyncio.create_task(progress.wait_past(3, 0, 0, LONG))
    await asyncio.sleep(0)
    assert not await progress.wait_past(2, 0, 0, LONG)
    assert refused() == before + 2
    progress._note(0, 1)
    assert await asyncio.gather(*waits, fourth) == [True] * 4
    later = asyncio.create_task(progress.wait_past(1, 0, 1, LONG))
    await asyncio.sleep(0)
    progress._note(0, 2)
    assert await later, "places are given back"


async def test_the_end_sends_everybody_on_their_way_and_takes_nobody_more() -> None:
    progress = Progress(1, waiters_max=10, tenant_share=1)
    wait = asyncio.create_task(progress.wait_past(1, 0, 0, LONG))
    await asyncio.sleep(0)
    progress.end()
    assert not await wait
    assert not await progress.wait_past(1, 0, 0, LONG)


async def test_somebody_who_leaves_gives_the_place_back() -> None:
    progress = Progress(1, waiters_max=1, tenant_share=1)
    wait = asyncio.create_task(progress.wait_past(1, 0, 0, LONG))
    await asyncio.sleep(0)
    wait.cancel()
    await asyncio.wait([wait])
    assert progress._waiting == [{}]
    assert not progress._waiters
