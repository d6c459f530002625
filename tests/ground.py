"""A database and topics of their own for services under test, on the servers of the session."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from aiokafka.admin import AIOKafkaAdminClient

from deploy.local.bootstrap import prepare_log
from deploy.local.ports import free_port
from deploy.local.servers import Servers
from schemas.topics import TOPIC_SETTINGS
from tests.conftest import TEST_PARTITIONS, temporary_database
from tests.processes import Service, running


@dataclass(frozen=True)
class Ground:
    """What services stand on: a migrated database, topics, and a directory for their logs."""

    kafka: str
    postgres: str
    topic_prefix: str
    logs: Path

    @property
    def env(self) -> dict[str, str]:
        """The environment in which services find it."""
        return {
            "METERLINE_KAFKA": self.kafka,
            "METERLINE_POSTGRES": self.postgres,
            "METERLINE_TOPIC_PREFIX": self.topic_prefix,
        }

    def service(self, name: str, **settings: str) -> Service:
        """Return a service that is not started yet. settings: more of its environment."""
        return Service(name, self.env | settings, self.logs)

    @asynccontextmanager
    async def gateways(self, count: int, **settings: str) -> AsyncIterator[list[Service]]:
        """Run so many gateway processes behind one port."""
        env = self.env | {"METERLINE_GATEWAY_REUSE_PORT": "true"} | settings
        port = free_port()
        services = [Service("gateway", env, self.logs / str(n), port=port) for n in range(count)]
        with running(*services):
            for service in services:
                service.start()
            await _all_answer(services[0].url, count)
            yield services


NewGround = Callable[[str], AbstractAsyncContextManager[Ground]]


@asynccontextmanager
async def own_ground(
    servers: Servers, template_database: str, logs: Path, name: str
) -> AsyncIterator[Ground]:
    """Make a database and topics whose names begin with a name; take them away at the end."""
    prefix = f"{name}-{uuid.uuid4().hex[:12]}."
    database = f"{name}_{uuid.uuid4().hex}"
    async with temporary_database(servers.postgres, database, template=template_database) as dsn:
        await prepare_log(servers.kafka, dsn, prefix, partitions=TEST_PARTITIONS)
        yield Ground(servers.kafka, dsn, prefix, logs)
        await delete_topics(servers.kafka, prefix)


async def delete_topics(kafka: str, prefix: str) -> None:
    """Delete the topics of an installation."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        await admin.delete_topics([prefix + name for name in TOPIC_SETTINGS])
    finally:
        await admin.close()


async def _all_answer(url: str, count: int) -> None:
    """Wait until every process has answered on the shared port."""
    seen: set[str] = set()
    async with asyncio.timeout(60):
        while len(seen) < count:
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"{url}/readyz") as answer,
            ):
                seen.add(answer.headers["X-Request-Id"].partition("-")[0])
