"""The invoicer as a process: messages in, documents out, and its health told."""

import asyncio
import json
import urllib.request
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer

from deploy.local.servers import Servers
from schemas.topics import BILLING_PERIODS
from tests.closed_periods import Books, Contract, Product, messages
from tests.processes import Service, running

DEADLINE_SECONDS = 60.0


@pytest_asyncio.fixture
async def producer(servers: Servers) -> AsyncIterator[AIOKafkaProducer]:
    opened = AIOKafkaProducer(bootstrap_servers=servers.kafka, acks="all")
    await opened.start()
    try:
        yield opened
    finally:
        await opened.stop()


@pytest.fixture
def invoicer(stack_env: Mapping[str, str], tmp_path: Path) -> Iterator[Service]:
    service = Service("invoicer", stack_env, tmp_path)
    with running(service):
        yield service.start()


async def wait_for_count(connection: asyncpg.Connection, count: int, counted: str) -> None:
    """Wait until that many rows are counted. The statement says what is waited for."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while await connection.fetchval(counted) != count:
            await connection.execute("SELECT pg_sleep(0.05)")


def signed(books: Books, count: int) -> list[Contract]:
    issuer = books.issuer()
    return [books.contract(issuer, Product(), Product()) for _ in range(count)]


async def test_messages_become_documents_with_their_files(
    connection: asyncpg.Connection,
    books: Books,
    producer: AIOKafkaProducer,
    invoicer: Service,
    topic_prefix: str,
) -> None:
    contracts = signed(books, 10)
    sent: list[tuple[bytes, bytes]] = []
    for contract in contracts:
        sent += messages(books.close(*contract.products), contract.customer_ref)
    await books.write(connection)
    sent.insert(3, (b"nobody", b"not a message"))
    for key, value in sent * 2:
        await producer.send_and_wait(topic_prefix + BILLING_PERIODS, value, key)

    await wait_for_count(connection, 20, "SELECT count(*) FROM document_file")
    rows = await connection.fetch("SELECT number, state, total FROM document ORDER BY number")
    assert [tuple(row) for row in rows] == [(n, "ISSUED", 200) for n in range(1, 11)]
    assert await connection.fetchval("SELECT count(*) FROM parked_input") == 0
    assert metric(invoicer, "invoicer_documents_issued_total") == 10
    async with asyncio.timeout(DEADLINE_SECONDS):
        while metric(invoicer, "invoicer_messages_malformed_total") < 2:  # the second is behind all
            await asyncio.to_thread(get, f"{invoicer.url}/livez")
    assert invoicer.stop() == 0


async def test_a_cut_whose_message_was_lost_is_billed(
    connection: asyncpg.Connection, books: Books, invoicer: Service
) -> None:
    invoicer.stop()
    for contract in signed(books, 3):
        books.close(*contract.products)
    await books.write(connection)
    invoicer.start()
    await wait_for_count(connection, 3, "SELECT count(number) FROM document")


async def test_readiness_says_what_it_depends_on(invoicer: Service) -> None:
    answer = await asyncio.to_thread(get, f"{invoicer.url}/readyz")
    assert json.loads(answer) == {"ready": True, "checks": {"kafka": "ok", "postgres": "ok"}}
    assert await asyncio.to_thread(get, f"{invoicer.url}/livez") == "ok\n"


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=60) as response:
        return str(response.read().decode())


def metric(service: Service, name: str) -> float:
    for line in get(f"{service.url}/metrics").splitlines():
        if line.startswith(f"{name} "):
            return float(line.split()[1])
    raise AssertionError(f"no metric {name}")
