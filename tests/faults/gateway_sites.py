"""A gateway of a fault test: settings of its own, tenants, and what its metrics say."""

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic

from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas.usage_event import decode_record
from tests.conftest import TEST_PARTITIONS
from tests.integration.gateway.conftest import Site, new_site
from tests.integration.lane.conftest import LaneSite
from tests.processes import Service, running

LANES = {"fast_lane": "true", "aiohttp": "false"}


@asynccontextmanager
async def gateway_of(
    env: Mapping[str, str], logs: Path, *, lane: str = "fast_lane", **settings: object
) -> AsyncIterator[Service]:
    """Run a gateway. settings: by the ends of their variables, in small letters."""
    variables = {
        f"METERLINE_GATEWAY_{name.upper()}": str(value) for name, value in settings.items()
    }
    service = Service(
        "gateway", {**env, **variables, "METERLINE_GATEWAY_FAST_LANE": LANES[lane]}, logs
    )
    with running(service):
        yield service.start()


@asynccontextmanager
async def tenant_of(service: Service, env: Mapping[str, str]) -> AsyncIterator[LaneSite]:
    """Make a tenant of its own on a running gateway, with a client logged in."""
    async with new_site(
        service.url,
        env["METERLINE_KAFKA"],
        env["METERLINE_POSTGRES"],
        env["METERLINE_TOPIC_PREFIX"],
    ) as site:
        yield LaneSite(site, service)


async def percentile(site: Site, share: float, count: int = 100) -> float:
    """Send events one after another; the time in seconds that a share of them took at most."""
    taken = []
    for _ in range(count):
        began = monotonic()
        await site.take(site.event())
        taken.append(monotonic() - began)
    return sorted(taken)[int(share * count)]


async def keys_in_log(site: Site) -> Counter[str]:
    """Count the idempotency keys of all records of the log; "" stands for none."""
    values = await records_in_log(site)
    return Counter(decode_record(value).idempotency_key or "" for value in values)


async def records_in_log(site: Site) -> list[bytes]:
    """Read the whole log, each partition in its order."""
    consumer = AIOKafkaConsumer(bootstrap_servers=site.kafka, auto_offset_reset="earliest")
    await consumer.start()
    try:
        places = [TopicPartition(site.topic, partition) for partition in range(TEST_PARTITIONS)]
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        found: list[bytes] = []
        while any([await consumer.position(place) < ends[place] for place in places]):
            for records in (await consumer.getmany(timeout_ms=500)).values():
                found += [record.value for record in records]
        return found
    finally:
        await consumer.stop()
