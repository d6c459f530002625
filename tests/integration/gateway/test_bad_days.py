"""What the gateway does when a server stalls, a client stalls, or it is told to stop."""

import asyncio
import json
import signal
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import asyncpg
import pytest
import pytest_asyncio
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from deploy.local.servers import Servers
from gateway.ingest import publisher
from schemas.topics import TOPIC_SETTINGS, USAGE_EVENTS
from tests.factories import make_customer
from tests.faults.gateway_sites import gateway_of, keys_in_log, tenant_of
from tests.integration.gateway.conftest import PASSWORD, Site, log_in
from tests.own_servers import CLIENTS, OwnSite, own_site, readiness, signal_family
from tests.processes import Service, running


@pytest_asyncio.fixture
async def own(tmp_path: Path) -> AsyncIterator[OwnSite]:
    """Give a gateway whose servers may be stalled."""
    async with own_site(tmp_path) as made:
        yield made


async def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what it asks about has no event
            await asyncio.sleep(0.02)


async def test_without_postgres_events_of_known_customers_are_still_taken(own: OwnSite) -> None:
    connection = await asyncpg.connect(own.site.database)
    try:
        later = await make_customer(connection, own.site.customer.tenant)
    finally:
        await connection.close()
    await own.site.take(own.site.event(customer_ref=later.ref))
    signal_family(own.postgres.pid, signal.SIGSTOP)
    try:
        for customer in (own.site.customer, later):
            await own.site.take(own.site.event(customer_ref=customer.ref))
        unknown = own.site.event(customer_ref=str(uuid.uuid4()))
        status, refusal = await own.site.post("/api/usage/event", unknown)
        assert (status, refusal["code"]) == (503, "reference_unavailable")
        status, _ = await own.site.post("/api/usage/events", [own.site.event(), unknown])
        assert status == 503
        await check_logins_without_postgres(own.site)
        checks = (await readiness(own.site))["checks"]
        assert checks["kafka"] == "ok"
        assert checks["database"] != "ok"
    finally:
        signal_family(own.postgres.pid, signal.SIGCONT)
    async with asyncio.timeout(60):
        while not (await readiness(own.site))["ready"]:
            pass
    status, _ = await own.site.post("/api/usage/event", unknown)
    assert status == 422


async def check_logins_without_postgres(site: Site) -> None:
    """Log in: a known key does, with its password; whatever can't be known now is asked again."""
    unsure: list[dict[str, str]] = [
        {"api_key": site.api_key, "password": "wrong"},
        {"api_key": "made a moment ago", "password": PASSWORD},
        {"email": "admin@example.com", "password": PASSWORD},
    ]

    async def try_to(body: dict[str, str]) -> None:
        async with site.session.post(f"{site.url}/auth/login", json=body) as answer:
            assert answer.status == 503, body
            assert int(answer.headers["Retry-After"]) >= 1

    good = log_in(site.session, site.url, site.api_key)
    token, *_ = await asyncio.gather(good, *map(try_to, unsure))
    headers = {"Authorization": f"Bearer {token}"}
    status, _ = await site.post("/api/usage/event", site.event(), headers)
    assert status == 202


async def test_sigterm_under_load_finishes_what_is_in_hand(
    stack_env: dict[str, str], tmp_path: Path
) -> None:
    async with (
        gateway_of(stack_env, tmp_path) as gateway,
        tenant_of(gateway, stack_env) as lane,
    ):
        await stop_under_load(gateway, lane.site)


async def stop_under_load(gateway: Service, site: Site) -> None:
    acknowledged: set[str] = set()
    refusals: list[int] = []

    async def client() -> None:
        async with aiohttp.ClientSession() as session:
            while True:
                key = str(uuid.uuid4())
                event = json.dumps(site.event(idempotency_key=key))
                try:
                    async with session.post(
                        f"{site.url}/api/usage/event", data=event, headers=site.headers
                    ) as answer:
                        await answer.read()
                except aiohttp.ClientError:
                    return
                if answer.status == 202:
                    acknowledged.add(key)
                else:
                    refusals.append(answer.status)

    clients = asyncio.gather(*[client() for _ in range(CLIENTS)])
    await until(lambda: len(acknowledged) > 200)
    code = await asyncio.to_thread(gateway.stop)
    await clients
    assert code == 0, gateway.log_text
    assert refusals == []
    found = await keys_in_log(site)
    assert set(found) == acknowledged, "all that was recorded was answered, and the reverse"
    assert max(found.values()) == 1


async def test_a_stalled_body_is_408_within_its_time(own: OwnSite) -> None:
    host, port = own.site.url.removeprefix("http://").split(":")
    head = (
        "POST /api/usage/event HTTP/1.1\r\nHost: x\r\nVersion: V0\r\nContent-Length: 100\r\n"
        f"Authorization: {own.site.headers['Authorization']}\r\n\r\n{{"
    )

    async def stall() -> bytes:
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(head.encode())
        answer = await asyncio.wait_for(reader.read(), 60)
        writer.close()
        return answer

    answers = await asyncio.gather(*[stall() for _ in range(50)], own.site.take(own.site.event()))
    for answer in answers[:-1]:
        assert isinstance(answer, bytes)
        assert answer.startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("METERLINE_GATEWAY_PROT", "1", "did you mean METERLINE_GATEWAY_PORT?"),
        ("METERLINE_TOPIC_PREFIX", "nowhere.", "run `meterline migrate`"),
        ("METERLINE_GATEWAY_BATCH_BYTES", str(1024 * 1024), "max.message.bytes must be at least"),
    ],
)
async def test_a_gateway_that_can_not_work_says_why_and_ends(
    stack_env: dict[str, str], tmp_path: Path, variable: str, value: str, said: str
) -> None:
    service = Service("gateway", stack_env, tmp_path)
    with running(service):
        service.start(is_awaited=False, **{variable: value})
        assert await asyncio.to_thread(service.child.wait, 60)
        assert service.child.exit_code() != 0
        assert said in service.log_text


async def test_a_topic_that_the_broker_hears_of_late_is_waited_for(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "TOPIC_SECONDS", 60.0)
    name = f"late-{uuid.uuid4().hex}"
    checking = asyncio.create_task(
        publisher.check_topic(servers.kafka, name, partitions=2, batch_bytes=100_000)
    )
    await asyncio.sleep(0.5)  # so that it is looked for first, mostly
    admin = AIOKafkaAdminClient(bootstrap_servers=servers.kafka)
    await admin.start()
    try:
        settings = dict(TOPIC_SETTINGS[USAGE_EVENTS])
        await admin.create_topics([NewTopic(name, 2, 1, topic_configs=settings)])
        await checking
        await admin.delete_topics([name])
    finally:
        await admin.close()
