"""Months leave the database for files, and everything stays provable from there."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from deploy.archive.months import archive_month, list_months, read_month, reasons_to_stay
from deploy.local.find import StackAddress
from deploy.verify.check import CannotCheck
from deploy.verify.replay.checks import replay_checks
from deploy.verify.report import Report, run_checks
from tests.factories import (
    GRADUATED,
    PER_UNIT,
    MadeContract,
    MadeCustomer,
    MadeMeter,
    ask_to_close,
    make_contract,
    make_customer,
    make_meter,
    make_pricing,
)
from tests.integration.rater.conftest import Bench
from tests.rating import Change, Use, await_tasks, counters, eventually

JANUARY, FEBRUARY = read_month("2024-01"), read_month("2024-02")

#: What is hard to carry from a table to a file and back.
STRANGE: Sequence[tuple[str, Any]] = [
    ("0.000000000000000001", None),
    ("-12345678901234567890.123456789012345678", {}),
    ("1e5", {"a": "line\nbreak\r\n", "b": 'quote " and, comma'}),
    ("00.10", {"empty": "", "null": None, "N": "\\N", "wide": "žluťoučký 漢字 🦓"}),
    ("0", {"nested": {"list": [1, 2.50, "x"]}}),
]


@dataclass(frozen=True)
class World:
    """A customer with usage in January and February 2024, both closed."""

    customer: MadeCustomer
    meter: MadeMeter
    contract: MadeContract
    uses: tuple[Use, ...]


async def make_world(bench: Bench) -> World:
    customer = await make_customer(bench.connection, bench.tenant)
    meter = await make_meter(bench.connection, bench.tenant)
    pricing = await make_pricing(bench.connection, bench.tenant, [(meter, GRADUATED)])
    contract = await make_contract(
        bench.connection, customer, [pricing], end=date(2024, 2, 29), timezone="UTC"
    )
    uses = [
        Use(customer, meter, quantity, f"2024-0{month}-1{number}T08:00:00Z", f"{month}/{number}", d)
        for month in (1, 2)
        for number, (quantity, d) in enumerate(STRANGE)
    ]
    uses.append(Use(customer, meter, "7", "2024-01-31T23:59:59.999999Z"))
    async with bench.rater():
        await bench.produce([*uses, Change(uses[2], quantity="3", note="was wrong")])
        await bench.rated()
        await ask_to_close(bench.connection, contract, date(2024, 2, 29))
        await await_tasks(bench.connection)
    return World(customer, meter, contract, tuple(uses))


async def bound_age(bench: Bench, days: int = 30) -> None:
    """Choose how old an event may be when it comes, as the gateway does."""
    await bench.connection.execute(
        "INSERT INTO tenant_setting (tenant_id, age_days_max) VALUES ($1, $2) "
        "ON CONFLICT (tenant_id) DO UPDATE SET age_days_max = $2, updated_at = now()",
        *(bench.tenant.tenant_id, days),
    )


def sha256sum(path: Path) -> str:
    return subprocess.check_output(["sha256sum", path], text=True).split()[0]


async def check(bench: Bench, archive: Path | None) -> Report:
    address = StackAddress(kafka=bench.kafka, postgres=bench.database)
    return await run_checks(address, archive=archive, replay=replay_checks())


def counted(report: Report) -> dict[str, int]:
    return {result.check.name: result.finding.counted for result in report.results}


async def test_a_month_leaves_and_all_that_was_made_of_it_is_proved_from_its_file(
    bench: Bench, tmp_path: Path
) -> None:
    world = await make_world(bench)
    await bound_age(bench)
    before = await check(bench, None)
    assert before.is_good, before.failed
    archived = await archive_month(bench.connection, bench.kafka, JANUARY, tmp_path)
    path = tmp_path / "usage_event_2024_01.parquet"
    assert (archived.month, archived.events, archived.file) == ("2024-01", 6, path.name)
    assert archived.sha256 == await asyncio.to_thread(sha256sum, path)
    assert (await list_months(bench.connection))[0] == FEBRUARY

    rows = pq.read_table(path).to_pylist()
    assert {row["customer_ref"] for row in rows} == {world.customer.ref}
    sent = {
        (use.quantity, json.dumps(use.data) if use.data is not None else None) for use in world.uses
    }
    assert ("-12345678901234567890.123456789012345678", "{}") in sent
    by_data = {row["additional_data"]: row["quantity"] for row in rows}
    assert by_data["{}"] == "-12345678901234567890.123456789012345678"
    assert {json.dumps(data) for _, data in STRANGE[1:]} <= by_data.keys()

    with pytest.raises(CannotCheck, match="give --archive"):
        await check(bench, None)
    after = await check(bench, tmp_path)
    assert after.is_good, after.failed
    assert counted(before) == counted(after) | {"rollups": 0}
    assert counted(after)["rollups"] > 5, "reports go on without the events"

    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CannotCheck, match="SHA-256 differs"):
        await check(bench, tmp_path)
    path.unlink()
    with pytest.raises(CannotCheck, match="events of 2024-01 are missing"):
        await check(bench, tmp_path)


async def test_what_comes_for_an_archived_month_is_a_dead_letter(
    bench: Bench, tmp_path: Path
) -> None:
    world = await make_world(bench)
    await bound_age(bench)
    charged = await bench.connection.fetch("SELECT * FROM charge ORDER BY charge_ref")
    async with bench.rater():  # it hears of the bound while it runs
        await archive_month(bench.connection, bench.kafka, JANUARY, tmp_path)
        first, near = world.uses[0], replace(world.uses[0], at="2024-02-02T00:00:00Z", key="near")
        late: list[Use | Change] = [
            first,  # known, and nobody can look it up
            replace(first, key="new"),
            replace(first, key=None),
            near,  # a retry across the month's bound, perhaps
            Change(first, quantity="8"),
            Change(world.uses[-2], at="2024-01-15T00:00:00Z"),
        ]
        await bench.produce(late)
        await bench.rated()
    letters = await bench.connection.fetch("SELECT reason FROM dead_letter")
    assert [letter["reason"] for letter in letters] == ["MONTH_ARCHIVED"] * len(late)
    assert await bench.connection.fetch("SELECT * FROM charge ORDER BY charge_ref") == charged
    assert (await list_months(bench.connection))[0] == FEBRUARY, "its table is not made again"
    report = await check(bench, tmp_path)
    assert report.is_good, report.failed


async def test_what_is_older_than_its_tenant_takes_is_a_dead_letter(bench: Bench) -> None:
    world = await make_world(bench)
    await bound_age(bench)
    await bench.connection.execute(
        "UPDATE tenant_setting SET updated_at = now() - interval '1 hour'"
    )
    async with bench.rater():
        await bench.produce([replace(world.uses[0], key="old"), world.uses[0]])
        await bench.rated()
    found = await bench.connection.fetch("SELECT reason, detail FROM dead_letter")
    assert [row["reason"] for row in found] == ["TIMESTAMP_OUT_OF_RANGE"] * 2
    assert "30 days" in found[0]["detail"]


async def test_what_was_taken_before_its_tenant_set_a_bound_is_rated(bench: Bench) -> None:
    world = await make_world(bench)
    await bench.produce([replace(world.uses[0], key="under way")])
    await bound_age(bench)
    rated = (await counters(bench.connection))["rated"]
    async with bench.rater():
        await bench.rated()
    assert (await counters(bench.connection))["rated"] == rated + 1


async def test_a_month_stays_while_something_may_happen_to_it(bench: Bench, tmp_path: Path) -> None:
    connection = bench.connection
    world = await make_world(bench)
    stays = "takes events of any age"
    assert stays in (await reasons_to_stay(connection, JANUARY))[0]
    await bound_age(bench, days=36_500)
    assert "takes events of it until 21" in (await reasons_to_stay(connection, JANUARY))[0]
    await bound_age(bench)
    assert await reasons_to_stay(connection, JANUARY) == []
    pricing = await make_pricing(connection, bench.tenant, [(world.meter, PER_UNIT)])
    await make_contract(connection, world.customer, [pricing], end=date(2024, 1, 31))
    assert await reasons_to_stay(connection, JANUARY) == [
        "past usage is being rated for 1 contracts"
    ]
    async with bench.rater():
        await await_tasks(connection)
    (reason,) = await reasons_to_stay(connection, JANUARY)
    assert reason.startswith("1 of its billing periods are not closed")


@pytest.mark.parametrize(
    "point",
    [
        pytest.param("archive.after_fence", marks=pytest.mark.long),
        "archive.after_file",
        pytest.param("archive.after_drop", marks=pytest.mark.long),
    ],
)
async def test_an_archiving_that_is_killed_is_run_again(
    bench: Bench, tmp_path: Path, point: str
) -> None:
    await make_world(bench)
    await bound_age(bench)

    async def run(**more: str) -> tuple[int, str]:
        env = os.environ | {"METERLINE_KAFKA": bench.kafka, "METERLINE_POSTGRES": bench.database}
        command = (sys.executable, "-m", "deploy.cli", "archive", str(tmp_path), "--json")
        ended = await asyncio.to_thread(
            subprocess.run, command, env=env | more, capture_output=True, text=True, timeout=120
        )
        return ended.returncode, ended.stdout

    assert (await run(METERLINE_CRASHPOINT=point))[0] == -9
    code, text = await run()
    assert code == 0
    archived = [one["month"] for one in json.loads(text)["archived"]]
    assert archived == (["2024-02"] if point == "archive.after_drop" else ["2024-01", "2024-02"])
    assert min(await list_months(bench.connection)) > FEBRUARY
    report = await check(bench, tmp_path)
    assert report.is_good, report.failed


async def test_months_to_come_have_their_tables(bench: Bench) -> None:
    async with bench.rater():
        await eventually(lambda: has_months_ahead(bench), "the tables of three months")


async def has_months_ahead(bench: Bench) -> bool:
    now = datetime.now(UTC)
    this = read_month(f"{now:%Y-%m}")
    return {this, this + 1, this + 2} <= set(await list_months(bench.connection))
