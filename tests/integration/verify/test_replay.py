"""`verify --full-replay`: the whole log folded anew, and every way in which only the log knows."""

from dataclasses import replace

import asyncpg
import pytest

from deploy.local.find import StackAddress
from deploy.local.ports import free_port
from deploy.verify.check import Status
from deploy.verify.replay.checks import replay_checks
from deploy.verify.report import check_transaction, run_checks
from tests.integration.verify.corruptions import Corruption
from tests.integration.verify.replay_corruptions import REPLAY_CORRUPTIONS
from tests.integration.verify.test_command import verify
from tests.integration.verify.test_verify import problems, spoil
from tests.integration.verify.world import wait_until

REPLAY = {"replay-events", "replay-counters", "replay-charges", "replay-cuts"}


async def test_a_full_replay_gives_the_books_of_the_real_services_byte_for_byte(
    world: StackAddress,
) -> None:
    told: list[str] = []
    report = await run_checks(world, replay=replay_checks(lambda what, *_: told.append(what)))
    assert problems(report) == {}
    counted = {r.check.name: r.finding.counted for r in report.results if r.check.name in REPLAY}
    assert counted.keys() == REPLAY
    assert counted["replay-events"] == report.conservation.total
    assert min(counted["replay-charges"], counted["replay-cuts"]) > 50
    assert {"reading the log", "comparing"} <= set(told)


async def test_nothing_of_a_replay_is_left_behind(world: StackAddress) -> None:
    connection = await asyncpg.connect(world.postgres)
    statement = "SELECT count(*) FROM pg_class WHERE relname LIKE 'replay%'"

    async def is_gone() -> bool:
        return not await connection.fetchval(statement)

    try:
        code, output, _ = await verify(world, "--full-replay", "--json")
        assert (code, '"replay-cuts"' in output) == (0, True)
        # The server drops it when it has noticed that the session is over.
        await wait_until(is_gone, "the shadow is gone")
    finally:
        await connection.close()


async def test_without_a_broker_nothing_is_replayed(world: StackAddress) -> None:
    away = replace(world, kafka=f"127.0.0.1:{free_port()}")
    report = await run_checks(away, replay=replay_checks())
    assert report.exit_code == 2
    assert {r.check.name for r in report.results if r.reason} >= REPLAY


@pytest.mark.parametrize("corruption", REPLAY_CORRUPTIONS, ids=lambda corruption: corruption.name)
async def test_a_corruption_turns_the_replay_red(
    world: StackAddress, books: asyncpg.Connection, corruption: Corruption
) -> None:
    await spoil(books, corruption.statements)
    report = await check_transaction(books, world.kafka, checks=replay_checks())
    assert report.failed == corruption.red, problems(report)
    assert Status.UNCHECKED not in {result.status for result in report.results}
    assert all(r.finding.witnesses for r in report.results if r.check.name in corruption.red)


async def test_a_log_that_does_not_go_back_to_the_first_offset_is_not_replayed(
    world: StackAddress, books: asyncpg.Connection
) -> None:
    await spoil(books, "UPDATE rater_partition SET first_offset = first_offset - 1")
    report = await check_transaction(books, world.kafka, checks=replay_checks())
    assert report.exit_code == 2
    assert {r.check.name for r in report.results if r.reason} == REPLAY
    assert all("can't be read again" in result.reason for result in report.results)


async def test_one_tenant_can_be_compared_alone(
    world: StackAddress, books: asyncpg.Connection
) -> None:
    owner = await books.fetchval("SELECT tenant_id FROM the_event")
    await spoil(books, "DELETE FROM charge c USING the_event e WHERE c.charge_ref = e.charge_ref")
    for row in await books.fetch("SELECT tenant_id, tenant_ref::text AS ref FROM tenant"):
        report = await check_transaction(
            books, world.kafka, tenant_ref=row["ref"], checks=replay_checks()
        )
        red = {"replay-charges"} if row["tenant_id"] == owner else set()
        assert report.failed == red
