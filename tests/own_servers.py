"""A gateway with a broker and a database server of its own, which a test may stall."""

import asyncio
import os
import shutil
import signal
import tempfile
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

from deploy.local.bootstrap import MIGRATIONS, prepare_log
from deploy.local.children import Child
from deploy.local.kafka import plan_kafka
from deploy.local.postgres import create_database, plan_postgres
from deploy.local.servers import Servers
from runtime.migrations import migrate
from tests.conftest import TEST_PARTITIONS
from tests.integration.gateway.conftest import Site, new_site
from tests.processes import Service, running

DEADLINE_SECONDS = 2.0
BOUNDS = {
    "METERLINE_GATEWAY_PUBLISH_DEADLINE_SECONDS": str(DEADLINE_SECONDS),
    "METERLINE_GATEWAY_PRODUCER_PATIENCE_SECONDS": "1",
    "METERLINE_GATEWAY_BODY_READ_SECONDS": "1",
}
CLIENTS = 20


@dataclass
class OwnSite:
    """A gateway with a broker and a database server that can be stalled."""

    site: Site
    gateway: Service
    kafka: Child
    postgres: Child


@asynccontextmanager
async def own_site(logs: Path, env: Mapping[str, str] = BOUNDS) -> AsyncIterator[OwnSite]:
    """Run a broker, a Postgres and a gateway of this test's own. env: the gateway's.

    Their data is not beside the logs: Postgres runs as another user, and a pytest session that
    starts meanwhile closes the directory above tmp_path to others.
    """
    directory = Path(tempfile.mkdtemp(prefix="meterline-tests-"))
    postgres, kafka = plan_postgres(directory / "postgres"), plan_kafka(directory / "kafka")
    children = [Child(postgres.spec), Child(kafka.spec)]
    try:
        for child in children:
            await asyncio.to_thread(child.wait_ready)
        await create_database(postgres)
        servers = Servers(kafka=kafka.bootstrap, postgres=postgres.dsn)
        await migrate(servers.postgres, MIGRATIONS)
        await prepare_log(servers.kafka, servers.postgres, "", partitions=TEST_PARTITIONS)
        gateway = Service("gateway", {**servers.env(), **env}, logs)
        with running(gateway):
            gateway.start()
            async with new_site(gateway.url, servers.kafka, servers.postgres, "") as site:
                yield OwnSite(site, gateway, kafka=children[1], postgres=children[0])
    finally:
        for child in reversed(children):
            child.kill()
        shutil.rmtree(directory)


@dataclass
class Load:
    """Clients that send keyed events, and send each again until it is taken."""

    site: Site
    acknowledged: set[str] = field(default_factory=set)
    answers: Counter[tuple[int, str]] = field(default_factory=Counter)
    unknown: int = 0
    slowest_seconds: float = 0.0
    is_over: bool = False

    async def run(self) -> None:
        """Send until it is over."""
        async with asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(self._client())

    async def _client(self) -> None:
        while not self.is_over:
            key = str(uuid.uuid4())
            while key not in self.acknowledged:
                await self._send(key)

    async def _send(self, key: str) -> None:
        began = monotonic()
        event = self.site.event(idempotency_key=key)
        status, answer = await self.site.post("/api/usage/event", event)
        self.slowest_seconds = max(self.slowest_seconds, monotonic() - began)
        if status == 202:
            self.acknowledged.add(key)
        else:
            self.answers[status, answer["code"]] += 1
            self.unknown += answer.get("may_be_recorded", False)
            await asyncio.sleep(0.05)  # a client's own patience, not the test's


def resident_bytes(pid: int) -> int:
    """Return the memory that a process holds."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def signal_family(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process and its children; Postgres gives each a session of its own."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for member in (pid, *map(int, children)):
        with suppress(ProcessLookupError):
            os.kill(member, number)


async def readiness(site: Site) -> dict[str, Any]:
    """Ask the gateway whether it is ready."""
    async with site.session.get(f"{site.url}/readyz") as answer:
        found: dict[str, Any] = await answer.json()
        return found
