"""`meterline journal` on the world, whose second customer has paid in parts and too much."""

import asyncio
import json
import os
import sys
from decimal import Decimal
from typing import Any

import asyncpg

from deploy.local.find import StackAddress

DINARS = "7be2d1aa-93c4-4c3b-8f6e-222222222222"
PAYER = "c0000000-0000-4000-8000-000000000002"


async def journal(address: StackAddress, *arguments: str) -> tuple[int, str, str]:
    """Run the command; its exit code and what it wrote."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "deploy.cli", "journal", *arguments),
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


async def as_json(address: StackAddress, *arguments: str) -> dict[str, Any]:
    code, output, errors = await journal(address, *arguments, "--json")
    assert (code, errors) == (0, "")
    found: dict[str, Any] = json.loads(output, parse_float=Decimal, parse_int=Decimal)
    return found


def balances(found: dict[str, Any]) -> dict[str, Decimal]:
    return {row["account"]: row["balance"] for row in found["balance"] if row["balance"]}


async def test_the_journal_adds_up_and_its_entries_are_its_sums(world: StackAddress) -> None:
    found = await as_json(world, "--tenant", DINARS)
    assert {row["currency"] for row in found["balance"]} == {"KWD"}
    assert sum(row["balance"] for row in found["balance"]) == 0
    summed: dict[str, Decimal] = {}
    for entry in found["entries"]:
        assert sum(line["amount"] for line in entry["lines"]) == 0
        for line in entry["lines"]:
            summed[line["account"]] = summed.get(line["account"], Decimal(0)) + line["amount"]
    assert {name: amount for name, amount in summed.items() if amount} == balances(found)
    assert [entry["kind"] for entry in found["entries"]].count("PAYMENT") == 4
    assert balances(await as_json(world, "--customer", PAYER)) == balances(found)


async def test_what_is_received_of_a_document_is_what_is_due(world: StackAddress) -> None:
    connection = await asyncpg.connect(world.postgres)
    try:
        rows = await connection.fetch(
            "SELECT document_number, document_ref, tenant_ref, entity_ref, "
            "document_due(shard_key, document_ref, total) AS due "
            "FROM document JOIN tenant USING (tenant_id) JOIN entity USING (entity_id)"
        )
    finally:
        await connection.close()
    too_much = 0
    for row in rows:
        whose = ("--tenant", str(row["tenant_ref"]), "--entity", str(row["entity_ref"]))
        named = ("--document", str(row["document_ref"]), *whose)
        booked = balances(await as_json(world, *named, "--entries", "0"))
        left = booked.get("RECEIVABLE", Decimal(0)) + booked.get("CUSTOMER_CREDIT", Decimal(0))
        assert left == row["due"], row["document_number"]
        too_much += "CUSTOMER_CREDIT" in booked
    assert too_much == 1


async def test_tables_are_aligned_and_plain_when_piped(world: StackAddress) -> None:
    code, output, errors = await journal(world, "--document", "K1")
    assert (code, errors) == (0, "")
    assert "\x1b" not in output
    assert "Trial balance, KWD" in output
    cash = next(line for line in output.splitlines() if line.split()[:1] == ["CASH"])
    assert cash.split()[1:] == ["1,000,007.500", "7.000", "1,000,000.500"]
    kinds = [line.split()[2] for line in output.splitlines() if " K1 " in line]
    assert kinds == ["ISSUE", "PAYMENT", "PAYMENT", "PAYMENT", "REVERSAL"]
    rows = output[output.index("Entries") :].splitlines()[1:]
    assert len({len(row.rstrip()) for row in rows if row.rstrip().endswith("KWD")}) == 1
    empty = await journal(world, "--document", "K1", "--to", "2000-01-01")
    assert empty == (0, "Nothing is booked.\n", "")


async def test_what_is_not_there_is_told(world: StackAddress) -> None:
    for arguments, said in (
        ((), "say which tenant"),
        (("--document", "X-1"), "there is no document X-1"),
        (("--customer", "x"), "'x' is no ref"),
        (("--customer", DINARS), "there is no customer"),
        (("--entity", DINARS), "there is no entity"),
        (("--document", "K1", "--tenant", "0a6f1c52-2f8f-4a5e-9d0b-111111111111"), "several"),
    ):
        code, output, errors = await journal(world, *arguments)
        assert (code != 0, output) == (True, "")
        assert said in errors
