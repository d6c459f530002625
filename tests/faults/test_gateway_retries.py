"""Clients that never hear the answer, or ask several times at once: one key is one event."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import asyncpg
import pytest_asyncio

from schemas.money import QUANTITY_DIGITS
from schemas.usage_event import UsageEvent, decode_record
from tests.faults.cutting_proxy import CuttingProxy
from tests.faults.gateway_sites import gateway_of, records_in_log, tenant_of
from tests.faults.ledger import Ledger, bill_and_compare
from tests.integration.lane.conftest import LaneSite
from tests.processes import Service, running
from tests.rating import await_offsets, counters

CLIENTS = 10
EVENTS = 150
KEYS, SENDERS = 20, 12


@pytest_asyncio.fixture
async def lane(stack_env: Mapping[str, str], tmp_path: Path) -> AsyncIterator[LaneSite]:
    async with (
        gateway_of(stack_env, tmp_path) as service,
        tenant_of(service, stack_env) as made,
    ):
        yield made


async def test_an_answer_that_never_arrives_is_asked_for_again_and_billed_once(
    lane: LaneSite, stack_env: Mapping[str, str], tmp_path: Path
) -> None:
    ledger = Ledger(lane.site)
    async with CuttingProxy(lane.service.port, share=0.5).running() as proxy:
        sending = asyncio.create_task(ledger.run(proxy.url, CLIENTS))
        await ledger.await_taken(EVENTS)
        ledger.is_over = True
        await sending
    repeats = await bill_and_compare(ledger, stack_env, tmp_path)
    assert repeats == proxy.cuts == ledger.resets
    assert repeats > EVENTS / 4


async def test_one_key_with_several_contents_counts_the_first_and_shows_the_others(
    lane: LaneSite, stack_env: Mapping[str, str], tmp_path: Path
) -> None:
    chance = random.Random(2)
    keys = [f"key-{number}" for number in range(KEYS)] * SENDERS
    chance.shuffle(keys)
    contents = [{"idempotency_key": key, "quantity": chance.randrange(1, 4)} for key in keys]
    await asyncio.gather(*[lane.site.take(lane.site.event(**content)) for content in contents])

    first: dict[str, UsageEvent] = {}
    conflicts = 0
    for value in await records_in_log(lane.site):
        event = decode_record(value)
        assert event.idempotency_key is not None
        conflicts += first.setdefault(event.idempotency_key, event).quantity != event.quantity
    assert conflicts > KEYS, "contents did differ"

    connection = await asyncpg.connect(lane.site.database)
    rater = Service("rater", stack_env, tmp_path)
    try:
        with running(rater):
            rater.start()
            await await_offsets(connection, len(contents))
        assert await counters(connection) == {
            "unrated": KEYS,
            "conflicts": conflicts,
            "duplicates": len(contents) - KEYS - conflicts,
        }
        shown = await connection.fetch("SELECT value FROM usage_conflict")
        assert len(shown) == conflicts
        assert {json.loads(row["value"])["idempotency_key"] for row in shown} <= set(keys)
        kept = await connection.fetchval("SELECT sum(quantity) FROM usage_event")
        assert kept * 10**QUANTITY_DIGITS == sum(event.quantity for event in first.values())
    finally:
        await connection.close()
