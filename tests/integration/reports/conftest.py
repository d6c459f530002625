"""A gateway and a rater for all tests of the reports; each test is a tenant of its own."""

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import pytest_asyncio
import requests

from tests.ground import NewGround
from tests.integration.manage.clients import Client, Gateway, make_tenant
from tests.integration.manage.shop import Shop, contract_body, make_shop
from tests.processes import running

DEADLINE_SECONDS = 60.0


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.05)


def once_rated(send: Callable[[], requests.Response]) -> requests.Response:
    """Send a change of an event that may not be rated in the time that it is waited for.

    It is sent again then, as a client would.
    """
    answers = []

    def is_found() -> bool:
        answers.append(send())
        return answers[-1].status_code != HTTPStatus.NOT_FOUND

    until(is_found, "the event is rated")
    return answers[-1]


@dataclass(frozen=True)
class Site:
    """Where events are sent, and what is behind it."""

    gateway: Gateway
    kafka: str
    topic_prefix: str


@dataclass(frozen=True)
class Reader:
    """A client of a tenant with a customer, a meter, and perhaps a contract."""

    client: Client
    shop: Shop
    site: Site

    def sign(self) -> str:
        """Make a contract for 2023."""
        contract = self.client.ok("POST", "/api/contracts", contract_body(self.shop))
        return str(contract["contract_ref"])

    def send(self, **fields: object) -> dict[str, Any]:
        """Send an event; the answer."""
        event = {
            "timestamp": "2023-03-15T12:00:00Z",
            "customer_ref": self.shop.customer_ref,
            "usage_product_ref": self.shop.meter_ref,
            "quantity": 10,
        }
        answer: dict[str, Any] = self.client.ok("POST", "/api/usage/event", event | fields)
        return answer

    def list(self, path: str = "/api/usage/events", **query: str) -> Any:  # noqa: ANN401
        return self.client.ok("GET", path, customer_ref=self.shop.customer_ref, **query)

    def read(self, event_ref: str) -> dict[str, Any]:
        """Read an event once it is rated."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not (answer := self.client.send("GET", f"/api/usage/event/{event_ref}")).ok:
            assert answer.status_code == 404, answer.text
            assert time.monotonic() < deadline, "not rated"
            time.sleep(0.05)
        found: dict[str, Any] = answer.json()
        return found


@pytest_asyncio.fixture(scope="session")
async def site(new_ground: NewGround) -> AsyncIterator[Site]:
    """Run a gateway and a rater on a database and topics of their own."""
    async with new_ground("reports") as ground:
        gateway, rater = ground.service("gateway"), ground.service("rater")
        with running(gateway, rater):
            gateway.start()
            rater.start()
            yield Site(Gateway(gateway.url, ground.postgres), ground.kafka, ground.topic_prefix)


@pytest_asyncio.fixture
async def reader(site: Site) -> Reader:
    """Give a client of a new tenant with something to report."""
    client = await make_tenant(site.gateway)
    return Reader(client, make_shop(client), site)


@pytest_asyncio.fixture
async def stranger(site: Site) -> Reader:
    """Give a client of another new tenant."""
    client = await make_tenant(site.gateway)
    return Reader(client, make_shop(client), site)
