"""What the invoicer's tests share: the database, books to fill it, and the intake to try."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio

from invoicer.intake import Intake
from runtime.clock import Clock, system_clock
from runtime.postgres import open_pool
from tests.closed_periods import Books


@pytest.fixture
def books() -> Books:
    return Books()


@pytest_asyncio.fixture
async def pool(database: str) -> AsyncIterator[asyncpg.Pool]:
    async with open_pool(database, service="test", size_max=8) as opened:
        yield opened


@pytest_asyncio.fixture
async def connection(database: str) -> AsyncIterator[asyncpg.Connection]:
    opened = await asyncpg.connect(database)
    try:
        yield opened
    finally:
        await opened.close()


@pytest.fixture
def intake(pool: asyncpg.Pool) -> Intake:
    return make_intake(pool)


def make_intake(
    pool: asyncpg.Pool,
    stopping: asyncio.Event | None = None,
    *,
    batches_at_once: int = 1,
    clock: Clock = system_clock,
) -> Intake:
    return Intake(
        pool,
        clock,
        batch_size_max=500,
        stopping=stopping or asyncio.Event(),
        issued=asyncio.Event(),
        batches_at_once=batches_at_once,
    )
