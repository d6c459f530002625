"""A client of one tenant, as it would be written with `requests`; and tenants to be one of."""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import argon2
import asyncpg
import requests

from deploy.local.bootstrap import SCOPES, queries

#: Hashing is not what these tests are about.
QUICK_HASHER = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
PASSWORD = "a password for tests"

#: Where the default entity is paid: what tests, and the reference's examples, name by its id.
PAID_AT = {
    "billing_details": {
        "billing_accounts": [
            {"billing_account_id": name, "bank_name": "First Bank"}
            | dict.fromkeys(
                ("bank_code", "branch", "account", "account_name", "iban", "swift", "routing")
            )
            | {"address": None}
            for name in ("account-1", "00000000-0000-4000-8000-000000000005")
        ],
        "payment_gateways": [
            {
                "payment_gateway_id": name,
                "provider": "STRIPE",
                "payment_gateway_card_id": "card_1",
                "account_name": None,
            }
            for name in ("gateway-1", "00000000-0000-4000-8000-000000000006")
        ],
    }
}


@dataclass(frozen=True)
class Gateway:
    """A running gateway and its database."""

    url: str
    postgres: str


@dataclass
class Client:
    """A client of one tenant, as it would be written with `requests`."""

    url: str
    tenant_id: int
    postgres: str
    api_key: str
    password: str = PASSWORD
    headers: dict[str, str] = field(default_factory=dict)

    def send(
        self,
        verb: str,
        path: str,
        body: object = None,
        *,
        query: Mapping[str, str] | None = None,
        **headers: str,
    ) -> requests.Response:
        """Send a request; the body is JSON and has no content type."""
        return requests.request(
            verb,
            self.url + path,
            data=None if body is None else json.dumps(body),
            params=query,
            headers=self.headers | headers,
            timeout=30,
        )

    def ok(self, verb: str, path: str, body: object = None, **query: str) -> Any:  # noqa: ANN401
        """Send a request that has to succeed, and return its JSON."""
        answer = self.send(verb, path, body, query=query)
        assert answer.ok, answer.text
        return answer.json()

    def refused(self, verb: str, path: str, body: object = None, **query: str) -> dict[str, str]:
        """Send a request whose content has to be refused; the codes by pointer."""
        answer = self.send(verb, path, body, query=query)
        assert answer.status_code == 422, answer.text
        return codes(answer)

    async def fetch(self, statement: str, *values: object) -> list[asyncpg.Record]:
        """Look into the database."""
        connection = await asyncpg.connect(self.postgres)
        try:
            return await connection.fetch(statement, *values)
        finally:
            await connection.close()


def codes(answer: requests.Response) -> dict[str, str]:
    """Return the codes that a problem document lists, by pointer."""
    assert answer.headers["Content-Type"] == "application/problem+json", answer.text
    return {problem["pointer"]: problem["code"] for problem in answer.json()["errors"]}


async def make_tenant(gateway: Gateway, *scopes: str) -> Client:
    """Make a tenant with a default entity in US dollars, log in, and return its client."""
    connection = await asyncpg.connect(gateway.postgres)
    try:
        name, key = f"tenant {uuid.uuid4()}", f"key-{uuid.uuid4()}"
        tenant_id = await connection.fetchval(queries.add_tenant, uuid.uuid4(), name)
        entity = (uuid.uuid4(), "US Entity", "America/New_York", "USD")
        await connection.execute(queries.add_default_entity, tenant_id, *entity)
        await connection.execute(
            "UPDATE entity SET details = $2 WHERE tenant_id = $1", tenant_id, json.dumps(PAID_AT)
        )
        password_hash = QUICK_HASHER.hash(PASSWORD)
        row = (uuid.uuid4(), key, password_hash, list(scopes or SCOPES))
        await connection.execute(queries.add_api_key, tenant_id, *row)
        admin = (uuid.uuid4(), f"{key}@example.com", password_hash, list(SCOPES))
        await connection.execute(queries.add_admin, tenant_id, *admin)
    finally:
        await connection.close()
    client = Client(gateway.url, tenant_id, gateway.postgres, key)
    token = client.ok("POST", "/auth/login", {"api_key": key, "password": PASSWORD})
    client.headers = {"Authorization": f"Bearer {token}", "Version": "V0"}
    return client
