"""`Prefer: wait`: an event is answered with what became of it, whatever dies meanwhile."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio
import requests

from deploy.local.bootstrap import prepare_log
from deploy.local.servers import Servers
from gateway.progress import Progress
from tests.conftest import TEST_PARTITIONS, temporary_database
from tests.integration.manage.clients import Gateway, make_tenant
from tests.integration.manage.shop import make_shop
from tests.integration.reports.conftest import Reader, Site
from tests.processes import Service, running
from tests.rating import eventually


@dataclass
class Stage:
    """A gateway of each lane and a rater, to be killed and started again."""

    site: Site
    gateways: dict[str, Service]
    rater: Service


@pytest_asyncio.fixture(scope="module")
async def stage(
    servers: Servers, template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    prefix, name = f"waiting-{uuid.uuid4().hex[:12]}.", f"waiting_{uuid.uuid4().hex}"
    logs = Path(tmp_path_factory.mktemp("waiting"))
    async with temporary_database(servers.postgres, name, template=template_database) as dsn:
        await prepare_log(servers.kafka, dsn, prefix, partitions=TEST_PARTITIONS)
        env = {
            "METERLINE_KAFKA": servers.kafka,
            "METERLINE_POSTGRES": dsn,
            "METERLINE_TOPIC_PREFIX": prefix,
        }
        gateways = {
            lane: Service("gateway", env | {"METERLINE_GATEWAY_FAST_LANE": is_fast}, logs)
            for lane, is_fast in (("fast_lane", "true"), ("aiohttp", "false"))
        }
        rater = Service("rater", env, logs)
        with running(rater, *gateways.values()):
            for service in (rater, *gateways.values()):
                service.start()
            site = Site(Gateway(gateways["fast_lane"].url, dsn), servers.kafka, prefix)
            yield Stage(site, gateways, rater)


@pytest_asyncio.fixture(params=["fast_lane", "aiohttp"])
async def reader(request: pytest.FixtureRequest, stage: Stage) -> Reader:
    """Give a client of a new tenant at one of the gateways."""
    client = await make_tenant(stage.site.gateway)
    return Reader(
        replace(client, url=stage.gateways[request.param].url), make_shop(client), stage.site
    )


only_fast = pytest.mark.parametrize("reader", ["fast_lane"], indirect=True)


def send(reader: Reader, seconds: int, **fields: object) -> requests.Response:
    """Send an event and prefer to wait for it."""
    event = {
        "timestamp": "2023-03-15T12:00:00Z",
        "customer_ref": reader.shop.customer_ref,
        "usage_product_ref": reader.shop.meter_ref,
        "quantity": 10,
    }
    answer = reader.client.send(
        "POST", "/api/usage/event", event | fields, Prefer=f"handling=strict, wait={seconds}"
    )
    assert answer.status_code == 202, answer.text
    return answer


def test_a_rated_event_is_answered_with_its_charges_and_amounts(reader: Reader) -> None:
    contract_ref = reader.sign()
    answer = send(reader, 30)
    assert answer.headers["Preference-Applied"] == "wait=30"
    event = answer.json()
    assert event["outcome"] == "RATED"
    assert [(charge["item"], charge["amount"]) for charge in event["charges"]] == [
        ("Calls", 0.04),
        ("Units", 105),
    ]
    assert event["charge_refs"] == [charge["charge_ref"] for charge in event["charges"]]
    assert {charge["contract_ref"] for charge in event["charges"]} == {contract_ref}
    assert {charge["currency"] for charge in event["charges"]} == {"USD"}
    assert event["related_document_numbers"] is None
    assert event["quantity"] == 10
    again = send(reader, 30).json()
    assert [charge["quantity"] for charge in again["charges"]] == [20, 20]


async def test_each_outcome_has_its_word(reader: Reader) -> None:
    assert send(reader, 30, idempotency_key="k").json()["outcome"] == "UNRATED"
    assert send(reader, 30, idempotency_key="k").json()["outcome"] == "DUPLICATE"
    assert send(reader, 30, idempotency_key="k", quantity=11).json()["outcome"] == "CONFLICT"
    body = {"name": "Gone", "email": "a@b.example"}
    customer_ref = reader.client.ok("POST", "/api/customers", body)["customer_ref"]
    remember(reader, customer_ref)
    await reader.client.fetch("DELETE FROM customer WHERE customer_ref = $1", customer_ref)
    dead = send(reader, 30, customer_ref=customer_ref).json()
    assert (dead["outcome"], dead["reason"]) == ("DEAD", "UNKNOWN_CUSTOMER")


def remember(reader: Reader, customer_ref: str) -> None:
    """Make the gateway remember a customer, by an event that is refused for something else."""
    event = {"timestamp": "2023-03-15T12:00:00Z", "customer_ref": customer_ref}
    meter = {"usage_product_ref": reader.shop.meter_ref, "quantity": 1}
    late = {"timestamp": "2999-01-01T00:00:00Z"}
    codes = reader.client.refused("POST", "/api/usage/event", event | meter | late)
    assert codes == {"/timestamp": "timestamp_in_future"}


@pytest.mark.parametrize("preference", ["wait=0", "wait=soon", "wait", "wait=-1"])
def test_what_is_no_time_is_no_preference(reader: Reader, preference: str) -> None:
    event = {
        "timestamp": "2023-03-15T12:00:00Z",
        "customer_ref": reader.shop.customer_ref,
        "usage_product_ref": reader.shop.meter_ref,
        "quantity": 10,
    }
    answer = reader.client.send("POST", "/api/usage/event", event, Prefer=preference)
    assert answer.status_code == 202
    assert "Preference-Applied" not in answer.headers
    assert "outcome" not in answer.json()


@only_fast
async def test_a_dead_rater_makes_the_answer_an_ordinary_one_and_a_new_one_is_waited_for(
    reader: Reader, stage: Stage
) -> None:
    stage.rater.kill()
    try:
        answer = await asyncio.to_thread(send, reader, 1)
        assert "Preference-Applied" not in answer.headers
        assert "outcome" not in answer.json()
        waiting = asyncio.create_task(asyncio.to_thread(send, reader, 30))
    finally:
        await asyncio.to_thread(stage.rater.start)
    answer = await waiting
    if "Preference-Applied" not in answer.headers:  # the start itself has taken most of the time
        answer = await asyncio.to_thread(send, reader, 30)
    assert answer.headers["Preference-Applied"] == "wait=30"
    assert answer.json()["outcome"] == "UNRATED"


def accepted(gateway: Service) -> float:
    """Return how many events a gateway has had acknowledged."""
    page = requests.get(f"{gateway.url}/metrics", timeout=30).text
    name = "gateway_events_accepted_total "
    return next(float(line.split()[1]) for line in page.splitlines() if line.startswith(name))


@only_fast
async def test_a_gateway_that_stops_ends_the_waits_first(reader: Reader, stage: Stage) -> None:
    gateway = stage.gateways["fast_lane"]
    connection = await asyncpg.connect(reader.client.postgres)
    try:
        async with connection.transaction():
            await connection.execute("SELECT FROM rater_partition FOR UPDATE")  # nothing is rated
            before = accepted(gateway)
            waiting = asyncio.create_task(asyncio.to_thread(send, reader, 30))

            async def is_accepted() -> bool:
                return await asyncio.to_thread(accepted, gateway) > before

            await eventually(is_accepted, "the event is in the log")
            assert await asyncio.to_thread(gateway.stop) == 0
            answer = await asyncio.wait_for(waiting, 60)
        assert "Preference-Applied" not in answer.headers
    finally:
        await asyncio.to_thread(gateway.start)
        await connection.close()


async def test_a_missed_notice_and_a_lost_connection_are_noticed(
    database: str, topic_prefix: str
) -> None:
    progress = Progress(TEST_PARTITIONS, waiters_max=10, tenant_share=1)
    following = asyncio.create_task(progress.follow(database))
    connection = await asyncpg.connect(database)
    move = (
        "UPDATE rater_partition SET next_offset = next_offset + 1, skipped = skipped + 1 "
        "WHERE partition = 1"
    )
    try:
        waiting = asyncio.create_task(progress.wait_past(1, 1, 0, 60))
        await connection.execute(move)  # without a notice
        assert await waiting
        ended = await connection.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        assert ended
        waiting = asyncio.create_task(progress.wait_past(1, 1, 1, 60))
        await connection.execute(move)
        assert await waiting
        waiting = asyncio.create_task(progress.wait_past(1, 2, 7, 60))
        await asyncio.sleep(0)
        async with asyncio.timeout(60):
            while not waiting.done():  # the new connection listens, too
                await connection.execute("SELECT pg_notify('meterline_rated', '2,8')")
                await asyncio.sleep(0.01)
        assert await waiting
    finally:
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following
        await connection.close()
