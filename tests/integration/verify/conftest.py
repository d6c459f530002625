"""The world is made once; what a test spoils is rolled back."""

import uuid
from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio
from aiokafka.admin import AIOKafkaAdminClient

from deploy.local.bootstrap import prepare_log
from deploy.local.find import StackAddress
from deploy.local.servers import Servers
from deploy.verify.replay.checks import make_shadow
from deploy.verify.report import see_counted
from schemas.topics import TOPIC_SETTINGS
from tests.conftest import TEST_PARTITIONS, temporary_database
from tests.integration.verify.corruptions import FREE, PICK
from tests.integration.verify.world import build_world


@pytest_asyncio.fixture(scope="session")
async def world(
    servers: Servers, template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[StackAddress]:
    """Build the world; nothing runs on it any more."""
    name, prefix = f"world_{uuid.uuid4().hex}", f"world-{uuid.uuid4().hex[:12]}."
    async with temporary_database(servers.postgres, name, template=template_database) as dsn:
        await prepare_log(servers.kafka, dsn, prefix, partitions=TEST_PARTITIONS)
        await build_world(servers, dsn, prefix, tmp_path_factory.mktemp("world"))
        yield StackAddress(kafka=servers.kafka, postgres=dsn)
    admin = AIOKafkaAdminClient(bootstrap_servers=servers.kafka)
    await admin.start()
    try:
        await admin.delete_topics([prefix + topic for topic in TOPIC_SETTINGS])
    finally:
        await admin.close()


@pytest_asyncio.fixture(scope="module")
async def freed(world: StackAddress) -> AsyncIterator[asyncpg.Connection]:
    """Open a transaction in which the world can be spoilt; it is never committed.

    It locks every table: what a module's tests do beside it, they do before.
    """
    connection = await asyncpg.connect(world.postgres)
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute(FREE + PICK)
        await see_counted(connection)
        await make_shadow(connection)
        yield connection
    finally:
        await transaction.rollback()
        await connection.close()


@pytest_asyncio.fixture
async def books(freed: asyncpg.Connection) -> AsyncIterator[asyncpg.Connection]:
    """Give the world to be spoilt; what a test does is rolled back."""
    transaction = freed.transaction()
    await transaction.start()
    try:
        yield freed
    finally:
        await transaction.rollback()
