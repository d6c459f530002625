"""Numbers without a gap and without a repeat, whatever goes wrong while they are taken.

Two invoicers issue the documents of several entities, whose series restart each year or never, and
people have some of them credited. Meanwhile the database refuses transactions after their numbers
were taken, connections are cut, and processes are killed at named points and at any other moment.
Each kind of fault is counted, and `verify` has the last word.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import asyncpg
import pytest

from deploy.local.find import StackAddress
from deploy.verify.report import run_checks
from tests.factories import (
    MadePricing,
    MadeTenant,
    ask_to_close,
    make_contract,
    make_customer,
    make_pricing,
    make_tenant,
)
from tests.processes import Service, running

DEADLINE_SECONDS = 180.0
FORMATS = ("INV-{year}-{number:04}", "{number}", "N{year}/{number}")
POINTS = ("invoicer.before_issue", "invoicer.after_issue")
FIRST, LAST = date(2024, 11, 1), date(2026, 1, 31)
#: Issued from December 2024 to February 2026: in three years.
PERIODS = 15
CONTRACTS_A_WAVE = 6
#: So many documents are still to be issued whenever something goes wrong.
AHEAD = 100
#: Nothing waits for long, and a process has little done when it dies.
SMALL = {
    "METERLINE_INVOICER_BATCH_SIZE_MAX": "2",
    "METERLINE_INVOICER_SCAN_INTERVAL_SECONDS": "0.1",
    "METERLINE_INVOICER_SCAN_GRACE_SECONDS": "0",
    "METERLINE_INVOICER_REQUEST_POLL_SECONDS": "0.05",
}
NO_FILES = {"METERLINE_INVOICER_RENDER_THREADS": "0"}

#: Refuses a share of all issues when their numbers are taken, and takes its time before that. What
#: a sequence counts is not rolled back.
UNLUCKY = """
CREATE SEQUENCE bad_luck;
CREATE FUNCTION be_unlucky() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_sleep(random() * 0.1);
    IF random() < 0.2 THEN
        PERFORM nextval('bad_luck');
        RAISE EXCEPTION 'bad luck' USING ERRCODE = 'serialization_failure';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER unlucky AFTER INSERT ON invoicer_outbox EXECUTE FUNCTION be_unlucky();
"""
LUCKY = "DROP TRIGGER unlucky ON invoicer_outbox"
#: Of those that are at work, one; else any.
CUT = """
SELECT count(pg_terminate_backend(pid)) FROM (
    SELECT pid FROM pg_stat_activity
    WHERE application_name = 'meterline-invoicer' AND datname = current_database()
    ORDER BY state = 'idle', random() LIMIT 1
) AS one
"""
ASK_FOR_CREDIT = """
INSERT INTO document_request (shard_key, request_ref, tenant_id, document_ref, action, details,
    made_by, fingerprint)
SELECT shard_key, gen_random_uuid(), tenant_id, document_ref, 'CREDIT',
    '{"amount": "1", "reason": "as agreed"}', 'somebody', ''
FROM document WHERE kind = 'PERIOD' AND number IS NOT NULL ORDER BY random() LIMIT 1
RETURNING document_ref
"""


class Storm:
    """Business that goes on while things go wrong."""

    def __init__(
        self, connection: asyncpg.Connection, invoicers: Sequence[Service], seed: int
    ) -> None:
        self.connection = connection
        self.invoicers = invoicers
        self.chance = random.Random(seed)
        self.faults: Counter[str] = Counter()
        self.contracts = 0
        self.credits = 0
        self._sellers: list[tuple[MadeTenant, MadePricing]] = []

    async def open(self) -> None:
        """Make two tenants of three entities each, and let luck turn."""
        for name in ("Acme", "Northwind"):
            tenant = await make_tenant(self.connection, name)
            fee = {"model": "FLAT", "price": "49.90"}
            pricing = await make_pricing(self.connection, tenant, [(None, fee)])
            for number_format in FORMATS:
                entity_id = await self.connection.fetchval(
                    "INSERT INTO entity (tenant_id, entity_ref, name, legal_name, timezone, "
                    "currency, document_number_format) VALUES ($1, gen_random_uuid(), $2, $2, "
                    "'UTC', 'USD', $2) RETURNING entity_id",
                    *(tenant.tenant_id, number_format),
                )
                self._sellers.append((replace(tenant, entity_id=entity_id), pricing))
        await self.connection.execute(UNLUCKY)

    async def go_on(self, ended: asyncio.Event) -> None:
        """Sign and close contracts, so that there is always something to issue, and to credit."""
        while not ended.is_set():
            if await self.left() < AHEAD:
                for tenant, pricing in self._sellers[:CONTRACTS_A_WAVE]:
                    customer = await make_customer(self.connection, tenant)
                    contract = await make_contract(
                        self.connection, customer, [pricing], start=FIRST, end=LAST, timezone="UTC"
                    )
                    await ask_to_close(self.connection, contract, LAST)
                    self.contracts += 1
            if self.credits < self.contracts:
                self.credits += len(await self.connection.fetch(ASK_FOR_CREDIT))
            await self.connection.execute("SELECT pg_sleep(0.05)")

    async def left(self) -> int:
        """Count the periods that have no document yet."""
        issued = await self.connection.fetchval(
            "SELECT count(*) FROM document WHERE kind = 'PERIOD' AND number IS NOT NULL"
        )
        return self.contracts * PERIODS - int(issued)


async def rage(storm: Storm, database: str, wanted: Mapping[str, int]) -> None:
    """Let things go wrong until each kind of fault has happened as often as is wanted."""
    connection = await asyncpg.connect(database)
    try:
        while missing := [kind for kind in wanted if storm.faults[kind] < wanted[kind]]:
            kind = storm.chance.choice(missing)
            if kind in ("kill", "crash point"):
                await kill_one(storm)
            elif kind == "cut":
                storm.faults[kind] += await connection.fetchval(CUT)
            await connection.execute("SELECT pg_sleep($1)", storm.chance.random() / 5)
            luck = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM bad_luck"
            storm.faults["rollback"] = await connection.fetchval(luck)
        await connection.execute(LUCKY)
    finally:
        await connection.close()


async def kill_one(storm: Storm) -> None:
    """Kill an invoicer as it is, let the next die at a named point, and start one that lives."""
    victim = storm.chance.choice(storm.invoicers)
    victim.kill()
    storm.faults["kill"] += 1
    point = f"{storm.chance.choice(POINTS)}:{storm.chance.randint(1, 5)}"
    victim.start(is_awaited=False, METERLINE_CRASHPOINT=point)
    await asyncio.to_thread(victim.wait_killed)
    storm.faults["crash point"] += 1
    victim.start(is_awaited=False)


async def ride_out(
    env: Mapping[str, str], database: str, logs: Path, wanted: Mapping[str, int]
) -> None:
    """Issue through a storm, then look at every number."""
    rater = Service("rater", env, logs)
    invoicers = [Service("invoicer", {**env, **SMALL, **NO_FILES}, logs) for _ in range(2)]
    connection = await asyncpg.connect(database)
    try:
        storm = Storm(connection, invoicers, seed=sum(wanted.values()))
        await storm.open()
        with running(rater, *invoicers):
            rater.start()
            for invoicer in invoicers:
                invoicer.start(is_awaited=False)
            ended = asyncio.Event()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(storm.go_on(ended))
                await rage(storm, database, wanted)
                ended.set()
            await settle(storm, env, logs)
        assert all(storm.faults[kind] >= wanted[kind] for kind in wanted), storm.faults
        await check(storm)
    finally:
        await connection.close()
    report = await run_checks(StackAddress(kafka=env["METERLINE_KAFKA"], postgres=database))
    assert report.is_good, [str(one) for one in report.results if one.finding.difference]


async def settle(storm: Storm, env: Mapping[str, str], logs: Path) -> None:
    """Wait until everything is issued and drawn; then stop the invoicers."""
    connection = await asyncpg.connect(env["METERLINE_POSTGRES"])
    painter = Service("invoicer", env, logs)
    try:
        with running(painter):
            painter.start(is_awaited=False)
            expected = storm.contracts * PERIODS + storm.credits
            async with asyncio.timeout(DEADLINE_SECONDS + expected / 20):
                while (
                    await connection.fetchval("SELECT count(number) FROM document") < expected
                    or await connection.fetchval("SELECT count(*) FROM invoicer_outbox") > 0
                ):
                    await connection.execute("SELECT pg_sleep(0.1)")
            assert [one.stop() for one in (*storm.invoicers, painter)] == [0, 0, 0]
    finally:
        await connection.close()


async def check(storm: Storm) -> None:
    """Look at every series: its numbers run from 1, and are as many as its documents."""
    rows = await storm.connection.fetch(
        "SELECT entity_id, series, array_agg(number ORDER BY number) AS numbers, "
        "count(DISTINCT document_number) AS names, min(s.next_number) AS next_number "
        "FROM document JOIN document_sequence s USING (tenant_id, entity_id, series) GROUP BY 1, 2"
    )
    for row in rows:
        count = len(row["numbers"])
        assert row["numbers"] == list(range(1, count + 1)), dict(row)
        assert (row["names"], row["next_number"]) == (count, count + 1), dict(row)
    series = Counter(row["series"].startswith("CR-") for row in rows)
    assert series[False] == 2 * (3 + 1 + 3), "two entities of three start anew each year"
    assert series[True] > 0
    documents = await storm.connection.fetch(
        "SELECT kind, count(*), count(DISTINCT (contract_ref, issue_date)) AS places "
        "FROM document GROUP BY kind"
    )
    counts = {row["kind"]: row["count"] for row in documents}
    assert counts == {"PERIOD": storm.contracts * PERIODS, "CREDIT": storm.credits}
    [periods] = [row["places"] for row in documents if row["kind"] == "PERIOD"]
    assert periods == counts["PERIOD"]
    assert await storm.connection.fetchval("SELECT count(*) FROM parked_input") == 0


async def test_numbers_have_no_gap_whatever_goes_wrong(
    stack_env: Mapping[str, str], database: str, tmp_path: Path
) -> None:
    wanted = {"rollback": 8, "cut": 8, "kill": 2, "crash point": 2}
    await ride_out(stack_env, database, tmp_path, wanted)


@pytest.mark.long
@pytest.mark.timeout(3_600)
async def test_numbers_have_no_gap_after_a_thousand_faults(
    stack_env: Mapping[str, str], database: str, tmp_path: Path
) -> None:
    wanted = {"rollback": 400, "cut": 350, "kill": 125, "crash point": 125}
    await ride_out(stack_env, database, tmp_path, wanted)
