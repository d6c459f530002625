"""The rater's database in trouble: answers that never come, conflicts, a full disk, an old copy.

What it comes to is what an undisturbed run of the same log comes to, byte for byte.
"""

import asyncio
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from deploy.local.bootstrap import MIGRATIONS, prepare_log
from deploy.local.children import Child
from deploy.local.postgres import create_database, plan_postgres
from deploy.local.servers import Servers
from runtime.migrations import migrate
from tests.conftest import TEST_PARTITIONS, temporary_database
from tests.factories import ask_to_close
from tests.faults.commit_cutter import CommitCutter
from tests.faults.test_rater_crashes import SMALL_STEPS, World
from tests.processes import Service, running
from tests.rating import snapshot

#: Refuses some polls, in one of two ways, at their first statement or at their commit. What the
#: sequence counts is not rolled back.
CONFLICTS = """
CREATE SEQUENCE conflicts;
CREATE FUNCTION conflict() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('application_name') = 'meterline-rater' AND random() < 0.2 THEN
        IF nextval('conflicts') % 2 = 0 THEN
            RAISE EXCEPTION 'as if somebody else was first' USING ERRCODE = '40001';
        END IF;
        RAISE EXCEPTION 'as if two had met' USING ERRCODE = '40P01';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER conflicts AFTER UPDATE ON rater_partition
FOR EACH ROW EXECUTE FUNCTION conflict();
CREATE CONSTRAINT TRIGGER conflicts_late AFTER UPDATE ON rater_partition
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION conflict();
"""
#: Says what a server says whose disk is full, for the first polls that have events to write.
DISK_FULL = """
CREATE SEQUENCE refusals;
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF nextval('refusals') <= 8 THEN
        RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER refusals AFTER INSERT ON usage_event_row
FOR EACH STATEMENT EXECUTE FUNCTION refuse();
"""


@pytest_asyncio.fixture
async def world(servers: Servers, database: str, topic_prefix: str) -> AsyncIterator[World]:
    connection = await asyncpg.connect(database)
    try:
        made = World(servers, topic_prefix, connection)
        await made.prepare()
        yield made
    finally:
        await made.connection.close()


@pytest.fixture
def env(stack_env: dict[str, str]) -> dict[str, str]:
    return stack_env | SMALL_STEPS


async def test_a_commit_whose_answer_is_lost_counts_once(
    world: World, env: dict[str, str], tmp_path: Path
) -> None:
    peaceful = Service("rater", env, tmp_path)
    async with CommitCutter(env["METERLINE_POSTGRES"], every=4, cuts_max=12).running() as cutter:
        rater = Service("rater", env | {"METERLINE_POSTGRES": cutter.dsn}, tmp_path)
        with running(rater):
            rater.start(is_awaited=False)
            await world.happen()
            await world.done()
            assert await asyncio.to_thread(rater.metric, "rater_retries_total") > 0
            assert await asyncio.to_thread(rater.stop) == 0
        assert cutter.cuts == 12
    with running(peaceful):
        await world.check(peaceful)


@pytest.mark.parametrize(
    ("trouble", "counted"),
    [(CONFLICTS, "conflicts"), (DISK_FULL, "refusals")],
    ids=["conflicts and deadlocks", "a full disk"],
)
async def test_what_the_database_refuses_is_done_later_and_whole(
    trouble: str, counted: str, world: World, env: dict[str, str], tmp_path: Path
) -> None:
    await world.connection.execute(trouble)
    rater = Service("rater", env, tmp_path)
    with running(rater):
        rater.start(is_awaited=False)
        await world.happen()
        await world.done()
        assert await asyncio.to_thread(rater.metric, "rater_retries_total") > 3
        assert await asyncio.to_thread(rater.metric, "rater_partitions_stopped") == 0
        assert await asyncio.to_thread(rater.stop) == 0
        assert await world.connection.fetchval(f"SELECT last_value FROM {counted}") >= 8
        for table in ("rater_partition", "usage_event_row"):
            await world.connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        await world.check(rater)


async def test_a_database_set_back_to_an_older_copy_is_brought_forward_by_the_log(
    servers: Servers, world: World, env: dict[str, str], database: str, tmp_path: Path
) -> None:
    rater = Service("rater", env, tmp_path)
    with running(rater):
        rater.start()
        await world.produce(slice(300))
        await world.done()
        assert rater.stop() == 0
        await world.connection.close()
        name = f"restored_{uuid.uuid4().hex}"
        async with temporary_database(
            servers.postgres, name, template=database.rpartition("/")[2]
        ) as restored:
            world.connection = await asyncpg.connect(database)
            rater.start()
            await world.produce(slice(300, None))
            await world.done()
            assert rater.stop() == 0
            lost = await snapshot(world.connection)
            await world.connection.close()

            world.connection = await asyncpg.connect(restored)
            assert await snapshot(world.connection) != lost, "the copy lacks what came behind it"
            rater.start(METERLINE_POSTGRES=restored)
            await world.done()
            assert rater.stop() == 0
            assert await snapshot(world.connection) == lost
            await world.connection.close()
    world.connection = await asyncpg.connect(database)


async def test_a_database_server_that_is_killed_again_and_again_loses_nothing(
    servers: Servers, tmp_path: Path
) -> None:
    directory = Path(tempfile.mkdtemp(prefix="meterline-tests-"))
    postgres = plan_postgres(directory / "postgres")
    server = Child(postgres.spec)
    prefix = f"test-{uuid.uuid4().hex[:12]}."
    try:
        await asyncio.to_thread(server.wait_ready)
        await create_database(postgres)
        await migrate(postgres.dsn, MIGRATIONS)
        await prepare_log(servers.kafka, postgres.dsn, prefix, partitions=TEST_PARTITIONS)
        world = World(servers, prefix, await asyncpg.connect(postgres.dsn))
        await world.prepare()
        own = Servers(kafka=servers.kafka, postgres=postgres.dsn)
        env = {**own.env(), "METERLINE_TOPIC_PREFIX": prefix, **SMALL_STEPS}
        rater = Service("rater", env | {"METERLINE_RATER_POLL_RECORDS_MAX": "10"}, tmp_path)
        with running(rater):
            rater.start()
            share = len(world.story) // 4
            for number in range(4):
                await world.produce(slice(number * share, (number + 1) * share))
                await past(world, number * share + share // 4)
                await world.connection.close()
                server.kill()
                server = Child(postgres.spec)
                await asyncio.to_thread(server.wait_ready)
                world.connection = await asyncpg.connect(postgres.dsn)
            await world.produce(slice(4 * share, None))
            for contract in world.contracts:
                await ask_to_close(world.connection, contract, date(2024, 1, 31))
            await world.done()
            assert await asyncio.to_thread(rater.metric, "rater_retries_total") > 0
            assert rater.stop() == 0
            await world.check(rater)
        await world.connection.close()
    finally:
        server.kill()
        shutil.rmtree(directory)


async def past(world: World, offsets: int) -> None:
    """Wait until so many records are rated."""
    async with asyncio.timeout(60):
        while (
            await world.connection.fetchval("SELECT sum(next_offset) FROM rater_partition")
            < offsets
        ):
            await world.connection.execute("SELECT pg_sleep(0.02)")
