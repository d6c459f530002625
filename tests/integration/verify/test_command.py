"""`meterline verify` as people and scripts meet it."""

import asyncio
import os
import re
import sys
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from urllib.parse import urlsplit

import asyncpg
import msgspec
import pytest
import pytest_asyncio

from deploy.local.find import StackAddress
from deploy.local.ports import free_port
from deploy.local.servers import Servers
from deploy.verify.check import CannotCheck
from deploy.verify.report import CHECKS, run_checks
from tests.conftest import temporary_database

LOG_CHECKS = {"log-end", "log-digest", "skipped"}


async def verify(address: StackAddress, *arguments: str) -> tuple[int, str, str]:
    """Run the command; its exit code and what it wrote."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "deploy.cli", "verify", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={
            **os.environ,
            "METERLINE_KAFKA": address.kafka,
            "METERLINE_POSTGRES": address.postgres,
        },
    )
    output, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode(), errors.decode()


@pytest_asyncio.fixture
async def spoilt(world: StackAddress, servers: Servers) -> AsyncIterator[StackAddress]:
    """Copy the world and alter one event in the copy."""
    name = f"spoilt_{uuid.uuid4().hex}"
    template = urlsplit(world.postgres).path.removeprefix("/")
    async with temporary_database(servers.postgres, name, template=template) as dsn:
        connection = await asyncpg.connect(dsn)
        await connection.execute(
            "UPDATE charge SET quantity = quantity + 1e-18 "
            "WHERE charge_ref = (SELECT charge_ref FROM charge JOIN pricing_line "
            "USING (pricing_line_id) JOIN meter USING (meter_id) "
            "WHERE price ->> 'model' = 'PER_UNIT' AND aggregation = 'SUM' AND formula IS NULL "
            "LIMIT 1)"
        )
        await connection.close()
        yield replace(world, postgres=dsn)


async def test_right_books_are_one_line_an_invariant_and_exit_code_0(world: StackAddress) -> None:
    code, output, errors = await verify(world)
    lines = output.strip().splitlines()
    assert (code, errors) == (0, "")
    # Notes stand under their invariants, set in.
    said = [line.split()[:2] for line in lines[:-1] if line.strip() and not line.startswith(" ")]
    assert said == [["OK", check.name] for check in CHECKS]
    assert "\x1b" not in output, "plain when it is piped"
    assert " accepted = " in lines[-1]
    assert lines[-1].endswith("difference 0")


async def test_broken_books_are_exit_code_1_and_the_broken_thing_is_named(
    spoilt: StackAddress,
) -> None:
    code, output, _ = await verify(spoilt, "--json")
    report = msgspec.json.decode(output)
    assert code == 1
    assert report["status"] == "FAIL"
    broken = {check["name"]: check for check in report["checks"] if check["status"] == "FAIL"}
    assert set(broken) == {"charges", "charge-prices"}
    assert broken["charges"]["difference"] == 1
    (witness,) = broken["charges"]["witnesses"]
    stored, made = re.findall(r"(-?[\d.]+) of \d+", witness)
    assert Decimal(stored) - Decimal(made) == Decimal("1e-18")


async def test_the_same_books_give_the_same_json(world: StackAddress) -> None:
    first, second = await verify(world, "--json"), await verify(world, "--json")
    assert first == second


async def test_without_a_broker_the_books_are_checked_and_the_log_is_not(
    world: StackAddress,
) -> None:
    code, output, errors = await verify(replace(world, kafka=f"127.0.0.1:{free_port()}"), "--json")
    report = msgspec.json.decode(output)
    assert (code, errors) == (2, "")
    unchecked = {check["name"] for check in report["checks"] if check["status"] == "UNCHECKED"}
    assert unchecked == LOG_CHECKS
    assert all(check["reason"] for check in report["checks"] if check["name"] in LOG_CHECKS)


async def test_without_a_database_nothing_is_checked_and_the_reason_is_said(
    world: StackAddress,
) -> None:
    dsn = f"postgresql://nobody@127.0.0.1:{free_port()}/nowhere"
    code, output, errors = await verify(replace(world, postgres=dsn))
    assert (code, output) == (2, "")
    assert "the database can't be read" in errors


async def test_a_database_without_the_schema_is_not_taken_for_right_books(
    servers: Servers,
) -> None:
    name = f"empty_{uuid.uuid4().hex}"
    async with temporary_database(servers.postgres, name, template="template1") as dsn:
        with pytest.raises(CannotCheck, match="meterline migrate"):
            await run_checks(StackAddress(kafka=servers.kafka, postgres=dsn))


async def test_a_role_that_sees_one_tenant_only_can_not_prove_anything(
    world: StackAddress,
) -> None:
    role, password = f"reader_{uuid.uuid4().hex}", uuid.uuid4().hex
    parts = urlsplit(world.postgres)
    place = f"{role}:{password}@{parts.hostname}:{parts.port}"
    connection = await asyncpg.connect(world.postgres)
    try:
        await connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{password}'")
        await connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
        weak = replace(world, postgres=parts._replace(netloc=place).geturl())
        report = await run_checks(weak)
        reasons = {r.check.name: r.reason for r in report.results}
        assert report.exit_code == 2
        assert "row-level security" in reasons["charges"]
    finally:
        await connection.execute(f"REVOKE SELECT ON ALL TABLES IN SCHEMA public FROM {role}")
        await connection.execute(f"DROP ROLE {role}")
        await connection.close()


async def test_one_tenant_can_be_looked_at_alone(world: StackAddress) -> None:
    connection = await asyncpg.connect(world.postgres)
    try:
        tenants = await connection.fetch(
            "SELECT tenant_ref::text AS ref, count(*) AS events FROM tenant "
            "JOIN usage_event USING (tenant_id) GROUP BY 1"
        )
    finally:
        await connection.close()
    for tenant in tenants:
        report = await run_checks(world, tenant_ref=tenant["ref"])
        assert report.is_good
        counted = {r.check.name: r.finding.counted for r in report.results}
        assert counted["coverage"] == tenant["events"]


async def test_an_unknown_tenant_is_said_to_be_unknown(world: StackAddress) -> None:
    with pytest.raises(CannotCheck, match="there is no tenant"):
        await run_checks(world, tenant_ref=str(uuid.uuid4()))
