"""Invoicers that die, meet and are rolled back: the same documents, no gap and no repeat."""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer

from invoicer.inputs import InputKey
from invoicer.intake import Intake
from runtime.clock import system_clock
from runtime.postgres import open_pool
from schemas.topics import BILLING_PERIODS
from tests.closed_periods import TIERED, Books, Line, Product, messages
from tests.mail_server import running_mail_server
from tests.processes import Service, running

DEADLINE_SECONDS = 90.0
#: Small batches, so that a process has some behind it and some before it when it dies.
SMALL = {"METERLINE_INVOICER_BATCH_SIZE_MAX": "4", "METERLINE_INVOICER_RENDER_BATCH_MAX": "3"}
#: 1500 calls cost 24.00, and 19 % of it are 4.56.
BOUGHT = Product(lines=[Line("API calls", TIERED, "1500")], tax="19")

#: Refuses a share of all issues at the last moment, after their numbers were taken.
UNLUCKY = """
CREATE FUNCTION be_unlucky() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF random() < 0.3 THEN
        RAISE EXCEPTION 'bad luck' USING ERRCODE = 'serialization_failure';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER unlucky AFTER INSERT ON invoicer_outbox EXECUTE FUNCTION be_unlucky();
"""


@asynccontextmanager
async def connected(database: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database)
    try:
        yield connection
    finally:
        await connection.close()


async def close_many(database: str, contracts: int, books: Books) -> list[tuple[InputKey, bytes]]:
    """Write closed contracts of one issuer; their inputs, each with its message."""
    issuer = books.issuer()
    found = []
    for _ in range(contracts):
        contract = books.contract(issuer, BOUGHT)
        keys = books.close(*contract.products)
        found += list(zip(keys, messages(keys, contract.customer_ref), strict=True))
    async with connected(database) as connection:
        await books.write(connection)
    return [(key, value) for key, (_record_key, value) in found]


async def publish(env: Mapping[str, str], values: Sequence[bytes]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=env["METERLINE_KAFKA"], acks="all")
    await producer.start()
    try:
        topic = env["METERLINE_TOPIC_PREFIX"] + BILLING_PERIODS
        await asyncio.gather(*[await producer.send(topic, value) for value in values])
    finally:
        await producer.stop()


async def wait_until_issued(database: str, count: int, *, files: int = 0) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS), connected(database) as connection:
        while (
            await connection.fetchval("SELECT count(number) FROM document") < count
            or await connection.fetchval("SELECT count(*) FROM document_file") < files
        ):
            await connection.execute("SELECT pg_sleep(0.1)")


async def assert_billed_once(database: str, count: int) -> None:
    """Every contract has one document of the right total, and the numbers run from 1 to count."""
    async with connected(database) as connection:
        rows = await connection.fetch(
            "SELECT contract_ref, number, document_number, total, state FROM document ORDER BY 2"
        )
        assert [row["number"] for row in rows] == list(range(1, count + 1))
        assert [row["document_number"] for row in rows] == [
            f"INV-2026-{n:03}" for n in range(1, count + 1)
        ]
        assert len({row["contract_ref"] for row in rows}) == count
        # What is due by now may be late already.
        assert {str(row["total"]) for row in rows} == {"28.56"}
        assert {row["state"] for row in rows} <= {"ISSUED", "LATE"}
        assert await connection.fetchval("SELECT next_number FROM document_sequence") == count + 1
        assert await connection.fetchval("SELECT count(*) FROM document_input") == count
        assert await connection.fetchval("SELECT count(*) FROM document_line") == count
        assert await connection.fetchval("SELECT count(*) FROM parked_input") == 0


@pytest.mark.parametrize(
    "point", ["invoicer.before_issue:2", "invoicer.after_issue:2", "invoicer.after_render:2"]
)
async def test_a_crash_at_each_point_changes_nothing(
    point: str, stack_env: Mapping[str, str], database: str, tmp_path: Path
) -> None:
    found = await close_many(database, 20, Books(cut_at=system_clock()))
    await publish(stack_env, [value for _key, value in found])
    invoicer = Service("invoicer", {**stack_env, **SMALL}, tmp_path)
    with running(invoicer):
        invoicer.start(is_awaited=False, METERLINE_CRASHPOINT=point)
        await asyncio.to_thread(invoicer.wait_killed)
        invoicer.start()
        await wait_until_issued(database, 20, files=40)
        assert invoicer.stop() == 0
    await assert_billed_once(database, 20)
    async with connected(database) as connection:
        assert await connection.fetchval("SELECT count(*) FROM invoicer_outbox") == 0


async def test_a_mail_that_went_out_before_a_crash_goes_out_again_under_its_id(
    stack_env: Mapping[str, str], database: str, tmp_path: Path
) -> None:
    found = await close_many(database, 3, Books(cut_at=system_clock()))
    await publish(stack_env, [value for _key, value in found])
    with running_mail_server() as mail_server:
        mailing = {
            "METERLINE_INVOICER_SMTP_URL": mail_server.url,
            "METERLINE_INVOICER_MAIL_FROM": "billing@meterline.example",
        }
        invoicer = Service("invoicer", {**stack_env, **SMALL, **mailing}, tmp_path)
        with running(invoicer):
            invoicer.start(is_awaited=False, METERLINE_CRASHPOINT="invoicer.after_mail:2")
            await asyncio.to_thread(invoicer.wait_killed)
            invoicer.start()
            async with asyncio.timeout(DEADLINE_SECONDS), connected(database) as connection:
                while (
                    await connection.fetchval("SELECT count(*) FROM document WHERE state = 'SENT'")
                    < 3
                ):
                    await connection.execute("SELECT pg_sleep(0.1)")
            assert invoicer.stop() == 0
        ids = [mail["Message-ID"] for mail in mail_server.mails]
        assert (len(ids), len(set(ids))) == (4, 3), "one came twice, as the same mail"


async def test_four_invoicers_on_one_close_bill_it_once(
    stack_env: Mapping[str, str], database: str, tmp_path: Path
) -> None:
    invoicers = [Service("invoicer", {**stack_env, **SMALL}, tmp_path) for _ in range(4)]
    with running(*invoicers):
        for invoicer in invoicers:
            invoicer.start(is_awaited=False)
        for invoicer in invoicers:
            await asyncio.to_thread(invoicer.child.wait_ready)
        # Long closed, so that scans and messages want the same inputs at the same time.
        found = await close_many(database, 60, Books())
        await publish(stack_env, [value for _key, value in found] * 2)
        await wait_until_issued(database, 60)
        assert await total(invoicers, 'invoicer_inputs_total{outcome="taken"}') == 60
        assert await total(invoicers, 'invoicer_inputs_total{outcome="repeated"}') > 0
        assert [invoicer.stop() for invoicer in invoicers] == [0] * 4
    await assert_billed_once(database, 60)


async def total(services: Sequence[Service], metric: str) -> float:
    return sum([await asyncio.to_thread(one.metric, metric) for one in services])


async def test_kills_at_random_moments_lose_and_repeat_nothing(
    stack_env: Mapping[str, str], database: str, tmp_path: Path
) -> None:
    await kill_at_random(stack_env, database, tmp_path, kills=3)


@pytest.mark.long
@pytest.mark.timeout(3_600)
async def test_two_hundred_kills_at_random_moments_lose_and_repeat_nothing(
    stack_env: Mapping[str, str], database: str, tmp_path: Path
) -> None:
    await kill_at_random(stack_env, database, tmp_path, kills=200)


async def kill_at_random(env: Mapping[str, str], database: str, logs: Path, *, kills: int) -> None:
    """Kill an invoicer in the middle of its scan, each time at another number of documents."""
    count = 25 * (kills + 1)
    await close_many(database, count, Books())
    moments = sorted(random.Random(kills).sample(range(1, count - 4), kills))
    invoicer = Service("invoicer", {**env, **SMALL}, logs)
    with running(invoicer):
        for moment in moments:
            invoicer.start(is_awaited=False)
            await wait_until_issued(database, moment)
            invoicer.kill()
        invoicer.start(is_awaited=False)
        await wait_until_issued(database, count)
        invoicer.stop()
    await assert_billed_once(database, count)


async def test_rollbacks_and_cut_connections_leave_no_gap(database: str) -> None:
    await take_with_bad_luck(database, documents=200)


@pytest.mark.long
@pytest.mark.timeout(3_600)
async def test_thousands_of_rollbacks_leave_no_gap(database: str) -> None:
    await take_with_bad_luck(database, documents=10_000)


async def take_with_bad_luck(database: str, *, documents: int) -> None:
    """Issue side by side while issues are refused and connections are cut at random."""
    found = await close_many(database, documents, Books())
    async with connected(database) as connection:
        await connection.execute(UNLUCKY)
        async with open_pool(database, service="unlucky", size_max=4) as pool:
            cutting = asyncio.create_task(cut_connections(connection, documents))
            keys = [key for key, _value in found]
            await asyncio.gather(
                *(intake_of(pool).take(keys[start::3] + keys[:10]) for start in range(3))
            )
            assert await cutting > 0
    await assert_billed_once(database, documents)


def intake_of(pool: asyncpg.Pool) -> Intake:
    return Intake(
        pool, system_clock, batch_size_max=2, stopping=asyncio.Event(), issued=asyncio.Event()
    )


async def cut_connections(connection: asyncpg.Connection, documents: int) -> int:
    """End a random connection of the pool after every tenth document; return how many ended."""
    cuts = 0
    for moment in range(10, documents, 10):
        while await connection.fetchval("SELECT count(number) FROM document") < moment:
            await connection.execute("SELECT pg_sleep(0.02)")
        cuts += await connection.fetchval(
            "SELECT count(pg_terminate_backend(pid)) FROM ("
            " SELECT pid FROM pg_stat_activity WHERE application_name = 'meterline-unlucky'"
            " AND datname = current_database() ORDER BY random() LIMIT 1) AS one"
        )
    return cuts
