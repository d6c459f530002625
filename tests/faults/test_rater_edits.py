"""The rater killed while it rates an edit: nobody sees a part of it, nothing counts twice."""

import asyncio
from datetime import date
from fractions import Fraction
from pathlib import Path

import asyncpg
import pytest

from deploy.local.find import StackAddress
from deploy.local.servers import Servers
from deploy.verify.report import run_checks
from tests.editing import edit_contract
from tests.factories import (
    GRADUATED,
    PER_UNIT,
    make_contract,
    make_customer,
    make_meter,
    make_pricing,
    make_tenant,
)
from tests.processes import Service, running
from tests.rating import (
    Change,
    Use,
    as_counted,
    await_offsets,
    await_tasks,
    charges,
    expected_charges,
    price_of,
    produce,
)

SHOWN = """
SELECT c.contract_line_ref::text, c.event_count, c.amount
FROM charge c JOIN billing_period b USING (shard_key, period_ref)
JOIN contract_product p USING (shard_key, contract_product_ref) WHERE NOT p.is_pending
"""


@pytest.mark.parametrize("step", [2, 6, 7])
async def test_killed_in_the_midst_of_an_edit_it_shows_one_version_whole_and_ends_it(
    servers: Servers,
    database: str,
    topic_prefix: str,
    stack_env: dict[str, str],
    tmp_path: Path,
    step: int,
) -> None:
    connection = await asyncpg.connect(database)
    rater = Service("rater", stack_env | {"METERLINE_RATER_BACKFILL_EVENTS_MAX": "20"}, tmp_path)
    try:
        tenant = await make_tenant(connection)
        meter = await make_meter(connection, tenant)
        old, new = [
            await make_pricing(connection, tenant, [(meter, price)])
            for price in (PER_UNIT, GRADUATED)
        ]
        customer = await make_customer(connection, tenant)
        uses = [
            Use(customer, meter, str(n), f"2024-01-{n % 28 + 1:02}T00:00:00Z", str(n))
            for n in range(110)
        ]
        changes = [Change(use, quantity="3") for use in uses[:9]]
        later = [Use(customer, meter, "5", "2024-01-29T00:00:00Z", f"later-{n}") for n in range(9)]
        with running(rater):
            rater.start(METERLINE_CRASHPOINT=f"rater.after_backfill_step:{step + 1}")
            contract = await make_contract(connection, customer, [old])
            await await_tasks(connection)  # the first step
            await produce(servers.kafka, topic_prefix, uses)
            await await_offsets(connection, 110)
            edited = await edit_contract(connection, contract, [new], date(2024, 1, 1))
            await asyncio.to_thread(rater.wait_killed)
            total = sum((Fraction(use.quantity) for use in uses), Fraction(0))
            is_swapped = step > 5
            ref = (edited if is_swapped else contract).line_refs[0][0]
            amount = price_of(GRADUATED if is_swapped else PER_UNIT, total)
            assert [tuple(row) for row in await connection.fetch(SHOWN)] == [(ref, 110, amount)]
            await produce(servers.kafka, topic_prefix, [*changes, *later])
            rater.start(METERLINE_CRASHPOINT="")
            await await_offsets(connection, 128)
            await await_tasks(connection)
            assert rater.stop() == 0
        counted = as_counted([*uses, *changes, *later])
        prices = {edited.line_refs[0][0]: (meter, GRADUATED)}
        assert await charges(connection) == expected_charges(counted, [edited], prices)
        report = await run_checks(StackAddress(kafka=servers.kafka, postgres=database))
        assert not report.failed, report.failed
    finally:
        await connection.close()
