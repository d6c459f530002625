"""A real gateway that a test may kill, its tenant's key, and what is in its log."""

import uuid
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest_asyncio
from aiokafka import AIOKafkaConsumer, TopicPartition

from deploy.local.bootstrap import Credentials, add_first_tenant
from meterline_client import AsyncClient, Counts, Limits
from schemas.topics import USAGE_EVENTS
from schemas.usage_event import decode_record
from tests.conftest import TEST_PARTITIONS
from tests.ground import NewGround
from tests.processes import Service, running


@dataclass
class Shop:
    """A gateway with a customer and a meter."""

    gateway: Service
    credentials: Credentials
    env: Mapping[str, str]
    mark: str = ""
    customer_ref: str = ""
    meter_ref: str = ""

    def keys(self, count: int) -> set[str]:
        """Return the keys of the first events."""
        return {f"{self.mark}-{number}" for number in range(count)}

    def client(self, **options: Any) -> AsyncClient:  # noqa: ANN401 - the client's own options
        """Return a client of the gateway that tries again quickly."""
        limits = options.pop("limits", Limits(backoff_seconds=0.05, backoff_seconds_max=0.5))
        key, password = self.credentials.api_key, self.credentials.api_password
        return AsyncClient(self.gateway.url, key, password, limits=limits, **options)

    def event(self, number: int, **fields: object) -> dict[str, object]:
        """Return a good event."""
        good = {
            "timestamp": "2024-02-05T12:00:00Z",
            "customer_ref": self.customer_ref,
            "usage_product_ref": self.meter_ref,
            "quantity": number,
            "idempotency_key": f"{self.mark}-{number}",
        }
        return good | fields

    async def keys_in_log(self) -> Counter[str]:
        """Count the idempotency keys of this shop's records in the log."""
        topic = self.env["METERLINE_TOPIC_PREFIX"] + USAGE_EVENTS
        consumer = AIOKafkaConsumer(bootstrap_servers=self.env["METERLINE_KAFKA"])
        await consumer.start()
        try:
            places = [TopicPartition(topic, partition) for partition in range(TEST_PARTITIONS)]
            consumer.assign(places)
            await consumer.seek_to_beginning(*places)
            ends = await consumer.end_offsets(places)
            found: Counter[str] = Counter()
            while any([await consumer.position(place) < ends[place] for place in places]):
                for records in (await consumer.getmany(timeout_ms=500)).values():
                    for record in records:
                        event = decode_record(record.value)
                        if event.customer_ref == self.customer_ref:
                            found[event.idempotency_key or ""] += 1
            return found
        finally:
            await consumer.stop()


@pytest_asyncio.fixture(scope="session")
async def shared(new_ground: NewGround) -> AsyncIterator[Shop]:
    """Run a gateway for all tests that leave it alone."""
    async with new_ground("client") as ground:
        credentials = Credentials()
        await add_first_tenant(ground.postgres, credentials)
        gateway = ground.service("gateway")
        with running(gateway):
            gateway.start()
            yield Shop(gateway, credentials, ground.env)


@pytest_asyncio.fixture
async def shop(shared: Shop) -> Shop:
    """Make a customer and a meter on the shared gateway."""
    return await stocked(shared)


@pytest_asyncio.fixture
async def mortal_shop(
    stack_env: Mapping[str, str], credentials: Credentials, tmp_path: Path
) -> AsyncIterator[Shop]:
    """Make a customer and a meter on a gateway that may be killed."""
    gateway = Service("gateway", stack_env, tmp_path / "logs")
    with running(gateway):
        yield await stocked(Shop(gateway.start(), credentials, stack_env))


async def stocked(shop: Shop) -> Shop:
    """Return the shop with a customer and a meter, and keys, that no other test uses."""
    mark = uuid.uuid4().hex[:8]
    async with shop.client() as client:
        body = {"name": f"Northwind {mark}", "email": "ap@northwind.example"}
        customer = await client.request("POST", "/api/customers", body)
        meter = await client.request("POST", "/api/usage/products", {"name": f"Calls {mark}"})
    return replace(
        shop,
        mark=mark,
        customer_ref=customer["customer_ref"],
        meter_ref=meter["usage_product_ref"],
    )


class KillsOnce:
    """A progress callback that kills a gateway once so many events are accepted."""

    def __init__(self, gateway: Service, accepted: int) -> None:
        self._gateway = gateway
        self._accepted = accepted
        self.was_under_way = 0

    def __call__(self, counts: Counts) -> None:
        if counts.accepted >= self._accepted and not self.was_under_way:
            self.was_under_way = counts.unsettled
            self._gateway.kill()
            self._gateway.start(is_awaited=False)
