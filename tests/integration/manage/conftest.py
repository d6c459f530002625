"""One gateway process for all tests of the management routes; each test is a tenant of its own."""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.ground import NewGround
from tests.integration.manage.clients import Client, Gateway, make_tenant
from tests.processes import running


@pytest_asyncio.fixture(scope="session")
async def gateway(new_ground: NewGround) -> AsyncIterator[Gateway]:
    """Run one gateway process on a database and topics of its own."""
    async with new_ground("manage") as ground:
        service = ground.service("gateway")
        with running(service):
            service.start()
            yield Gateway(service.url, ground.postgres)


@pytest_asyncio.fixture
async def client(gateway: Gateway) -> Client:
    """Give a client of a new tenant with every scope."""
    return await make_tenant(gateway)


@pytest_asyncio.fixture
async def stranger(gateway: Gateway) -> Client:
    """Give a client of another new tenant."""
    return await make_tenant(gateway)
