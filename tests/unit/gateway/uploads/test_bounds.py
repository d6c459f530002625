"""Every wait for a client's bytes ends with the process, whenever it began."""

import asyncio

import pytest

from gateway.uploads.bounds import Bounds
from schemas.errors import TransientError

IDLE_SECONDS = 3_600.0


@pytest.fixture
def bounds() -> Bounds:
    return Bounds(uploads_max=8, tenant_share=0.5, idle_seconds=IDLE_SECONDS)


async def wait_for_ever(bounds: Bounds) -> None:
    async with bounds.waiting():
        await asyncio.Event().wait()


async def test_the_end_wakes_a_wait_that_is_under_way(bounds: Bounds) -> None:
    waiting = asyncio.create_task(wait_for_ever(bounds))
    await asyncio.sleep(0)
    bounds.end()
    with pytest.raises(TimeoutError):
        await waiting


async def test_a_wait_that_begins_after_the_end_is_over_at_once(bounds: Bounds) -> None:
    bounds.end()
    with pytest.raises(TimeoutError):
        await wait_for_ever(bounds)
    with pytest.raises(TransientError, match="stopping"):
        bounds.check()
