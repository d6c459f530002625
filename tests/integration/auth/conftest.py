"""Two gateway processes behind one port, and a tenant with an admin: its own for each test."""

import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

import asyncpg
import pytest_asyncio
import requests

from deploy.local.bootstrap import SCOPES, queries
from runtime.passwords import generate_password, hash_password
from tests.ground import NewGround
from tests.processes import Service

PROCESSES = 2
_numbers = count(1)


@dataclass
class Office:
    """A tenant on running gateways, its first key and its admin."""

    url: str
    postgres: str
    tenant_id: int
    api_key: str
    api_key_ref: str
    email: str
    password: str
    #: What the trusted proxy says the client's address is: each office has its own.
    address: str

    def send(
        self,
        verb: str,
        path: str,
        body: object = None,
        *,
        session: requests.Session | None = None,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """Send a request over a connection of its own, so that any process may get it."""
        sent = {"X-Forwarded-For": self.address, "Version": "V0", "Connection": "close"}
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        sender = session or requests
        url = self.url + path
        return sender.request(verb, url, json=body, headers=sent | dict(headers or {}), timeout=30)

    def log_in(self, api_key: str = "", password: str = "") -> str:
        """Log a key in, the first one unless told otherwise; the token."""
        body = {"api_key": api_key or self.api_key, "password": password or self.password}
        answer = self.send("POST", "/auth/login", body)
        assert answer.ok, answer.text
        token: str = answer.json()
        return token

    def admin(self) -> requests.Session:
        """Log the admin in; a client that keeps the cookie."""
        session = requests.Session()
        body = {"email": self.email, "password": self.password}
        answer = self.send("POST", "/auth/login", body, session=session)
        assert answer.ok, answer.text
        return session

    def names(self, **who: Any) -> int:  # noqa: ANN401 - a session or a token
        """Ask something of the API; the status."""
        return self.send("GET", "/api/customers/names", **who).status_code

    async def fetch(self, statement: str, *values: object) -> list[asyncpg.Record]:
        """Look into the database."""
        connection = await asyncpg.connect(self.postgres)
        try:
            return await connection.fetch(statement, *values)
        finally:
            await connection.close()


@dataclass
class Site:
    """The running gateways and their database."""

    url: str
    postgres: str
    services: list[Service]


@pytest_asyncio.fixture(scope="session")
async def site(new_ground: NewGround) -> AsyncIterator[Site]:
    """Run two gateway processes that share a port, behind a proxy as it were."""
    async with (
        new_ground("auth") as ground,
        ground.gateways(PROCESSES, METERLINE_GATEWAY_TRUSTED_PROXIES="1") as services,
    ):
        yield Site(services[0].url, ground.postgres, services)


@pytest_asyncio.fixture
async def office(site: Site) -> Office:
    """Give a new tenant."""
    return await make_office(site)


async def make_office(site: Site, password: str | None = None) -> Office:
    """Make a tenant with an entity, a key and an admin of every scope."""
    password = password or generate_password()
    number = next(_numbers)
    made = Office(
        url=site.url,
        postgres=site.postgres,
        tenant_id=0,
        api_key=f"key-{uuid.uuid4()}",
        api_key_ref=str(uuid.uuid4()),
        email=f"admin-{uuid.uuid4()}@example.com",
        password=password,
        address=f"203.0.{number >> 8}.{number & 255}",
    )
    hashed = hash_password(password)
    connection = await asyncpg.connect(site.postgres)
    try:
        tenant_id = await connection.fetchval(queries.add_tenant, uuid.uuid4(), made.api_key)
        entity = (uuid.uuid4(), "US Entity", "America/New_York", "USD")
        await connection.execute(queries.add_default_entity, tenant_id, *entity)
        key = (made.api_key_ref, made.api_key, hashed, list(SCOPES))
        await connection.execute(queries.add_api_key, tenant_id, *key)
        admin = (uuid.uuid4(), made.email, hashed, list(SCOPES))
        await connection.execute(queries.add_admin, tenant_id, *admin)
    finally:
        await connection.close()
    made.tenant_id = tenant_id
    return made
