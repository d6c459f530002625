"""Processes that die while events are billed one by one: each has one document, without a gap."""

import asyncio
from collections.abc import Mapping
from datetime import date
from pathlib import Path

import asyncpg
import pytest

from deploy.local.find import StackAddress
from deploy.verify.report import run_checks
from tests.conftest import TEST_PARTITIONS
from tests.factories import (
    MadeContract,
    ask_to_close,
    make_contract,
    make_customer_in,
    make_meter,
    make_pricing,
    make_tenant,
)
from tests.processes import Service, running
from tests.rating import Change, Use, produce

DEADLINE_SECONDS = 90.0
EVENTS = 40
SMALL = {"METERLINE_INVOICER_BATCH_SIZE_MAX": "7", "METERLINE_RATER_POLL_RECORDS_MAX": "15"}
TIERS = {
    "model": "GRADUATED",
    "tiers": [{"up_to": "30", "unit_price": "1"}, {"unit_price": "0.5"}],
}


async def sign(connection: asyncpg.Connection) -> tuple[MadeContract, list[Use | Change]]:
    """Make a contract that is billed upon usage, and what its customer uses."""
    tenant = await make_tenant(connection)
    meter = await make_meter(connection, tenant)
    customer = await make_customer_in(connection, tenant, 1, TEST_PARTITIONS)
    pricing = await make_pricing(connection, tenant, [(meter, TIERS)])
    contract = await make_contract(
        connection, customer, [pricing], end=date(2024, 1, 31), net_terms="DUE_UPON_USAGE"
    )
    uses = [Use(customer, meter, "2", key=str(number)) for number in range(EVENTS)]
    return contract, [*uses, Change(uses[3], quantity="5"), Change(uses[4], is_delete=True)]


async def until(connection: asyncpg.Connection, statement: str, wanted: int) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while await connection.fetchval(statement) != wanted:
            await connection.execute("SELECT pg_sleep(0.1)")


@pytest.mark.parametrize(
    ("victim", "point"),
    [
        ("rater", "rater.before_commit:2"),
        ("rater", "rater.after_commit:2"),
        ("invoicer", "invoicer.before_issue:3"),
        ("invoicer", "invoicer.after_issue:3"),
    ],
)
async def test_a_crash_at_each_point_bills_every_event_once(
    victim: str, point: str, stack_env: Mapping[str, str], database: str, tmp_path: Path
) -> None:
    env = {**stack_env, **SMALL}
    services = {name: Service(name, env, tmp_path) for name in ("rater", "invoicer")}
    connection = await asyncpg.connect(database)
    try:
        contract, story = await sign(connection)
        with running(*services.values()):
            for name, service in services.items():
                crash = {"METERLINE_CRASHPOINT": point} if name == victim else {}
                service.start(is_awaited=False, **crash)
            await produce(env["METERLINE_KAFKA"], env["METERLINE_TOPIC_PREFIX"], story)
            await asyncio.to_thread(services[victim].wait_killed)
            services[victim].start()
            await until(connection, "SELECT count(number) FROM document", EVENTS + 2)
            await ask_to_close(connection, contract, date(2024, 1, 31))
            await until(connection, "SELECT count(*) FROM document_file", 2 * (EVENTS + 3))
        # 39 events: 79 without the 2 of the one that is gone and with 3 more: 30 + 24.5 + 1.5.
        total = await connection.fetchval("SELECT sum(total) FROM document")
        assert total == 30 + (EVENTS * 2 - 2 + 3 - 30) / 2
    finally:
        await connection.close()
    address = StackAddress(kafka=env["METERLINE_KAFKA"], postgres=database)
    report = await run_checks(address)
    wrong = [str(result) for result in report.results if result.finding.difference]
    assert wrong == []
