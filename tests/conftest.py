"""Fixtures of every test that needs real servers: nothing here imitates Kafka or Postgres."""

import asyncio
import os
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
import pytest_asyncio
from aiokafka.admin import AIOKafkaAdminClient

from deploy.local.bootstrap import (
    MIGRATIONS,
    Credentials,
    add_first_tenant,
    prepare_log,
)
from deploy.local.servers import Servers, running_servers, servers_in_environment
from runtime.migrations import migrate
from schemas.topics import TOPIC_SETTINGS
from tests.confirm import Recorder

# Services are started many times here: what Python has compiled once is kept, also where an image
# says otherwise. A start takes 0.9 s of CPU instead of 2.3.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

DROP_SECONDS_MAX = 60

#: The servers that test processes share.
SHARED = pytest.StashKey[Servers]()

#: Few, so that a test's topics are made at once; more than one, so that order is not an accident.
TEST_PARTITIONS = 4


def database_dsn(server: str, name: str) -> str:
    """Return the connection string of another database of the same server."""
    return urlunsplit(urlsplit(server)._replace(path=f"/{name}"))


@asynccontextmanager
async def temporary_database(server: str, name: str, *, template: str) -> AsyncIterator[str]:
    """Make a database from a template and drop it at the end; yields its connection string."""
    connection = await asyncpg.connect(server)
    try:
        await connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        yield database_dsn(server, name)
        await drop_database(connection, name)
    finally:
        await connection.close()


async def drop_database(connection: asyncpg.Connection, name: str) -> None:
    """Drop a database whoever is connected; wait for an autovacuum, which is not ours to end."""
    async with asyncio.timeout(DROP_SECONDS_MAX):
        while True:
            try:
                await connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
            except asyncpg.InsufficientPrivilegeError:
                await asyncio.sleep(0.1)
            else:
                return


def pytest_configure(config: pytest.Config) -> None:
    """Note how the run ends. With several test processes, start their servers once, here."""
    if hasattr(config, "workerinput"):
        return
    config.pluginmanager.register(Recorder(config.rootpath))
    if getattr(config.option, "numprocesses", None):
        stack = ExitStack()
        config.stash[SHARED] = stack.enter_context(some_servers())
        config.add_cleanup(stack.close)


def pytest_configure_node(node: Any) -> None:  # noqa: ANN401 - pytest-xdist ships no types
    """Tell a test process where the servers are."""
    shared = node.config.stash[SHARED]
    node.workerinput["servers"] = (shared.kafka, shared.postgres)


@contextmanager
def some_servers() -> Iterator[Servers]:
    """Give the servers that METERLINE_KAFKA and METERLINE_POSTGRES name, else start both."""
    if (running := servers_in_environment()) is not None:
        yield running
        return
    directory = Path(tempfile.mkdtemp(prefix="meterline-tests-"))
    try:
        with running_servers(directory) as started:
            yield started
    finally:
        shutil.rmtree(directory)


@pytest.fixture(scope="session")
def servers(request: pytest.FixtureRequest) -> Iterator[Servers]:
    """Give the servers of the test session."""
    told = getattr(request.config, "workerinput", {}).get("servers")
    if told is not None:
        kafka, postgres = told
        yield Servers(kafka=kafka, postgres=postgres)
        return
    with some_servers() as found:
        yield found


@pytest_asyncio.fixture(scope="session")
async def template_database(servers: Servers) -> AsyncIterator[str]:
    """Migrate one database a session; its name. Each test gets a copy."""
    name = f"template_{uuid.uuid4().hex}"
    async with temporary_database(servers.postgres, name, template="template1") as dsn:
        await migrate(dsn, MIGRATIONS)
        yield name


@pytest_asyncio.fixture
async def database(servers: Servers, template_database: str) -> AsyncIterator[str]:
    """Give a fresh migrated database; its connection string."""
    name = f"test_{uuid.uuid4().hex}"
    async with temporary_database(servers.postgres, name, template=template_database) as dsn:
        yield dsn


@pytest_asyncio.fixture
async def topic_prefix(servers: Servers, database: str) -> AsyncIterator[str]:
    """Make the topics of one installation, known to `database`; the prefix of their names."""
    prefix = f"test-{uuid.uuid4().hex[:12]}."
    await prepare_log(servers.kafka, database, prefix, partitions=TEST_PARTITIONS)
    yield prefix
    admin = AIOKafkaAdminClient(bootstrap_servers=servers.kafka)
    await admin.start()
    try:
        await admin.delete_topics([prefix + name for name in TOPIC_SETTINGS])
    finally:
        await admin.close()


@pytest_asyncio.fixture
async def credentials(database: str) -> Credentials:
    """Make the first tenant of `database`, with its default entity; its API key."""
    made = Credentials()
    await add_first_tenant(database, made)
    return made


@pytest.fixture
def stack_env(servers: Servers, database: str, topic_prefix: str) -> dict[str, str]:
    """Give the environment in which a service works on `database` and `topic_prefix`."""
    return {
        "METERLINE_KAFKA": servers.kafka,
        "METERLINE_POSTGRES": database,
        "METERLINE_TOPIC_PREFIX": topic_prefix,
    }
