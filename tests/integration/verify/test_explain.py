"""`meterline explain` on the world: every document that was issued, as a person would check it."""

import asyncio
import hashlib
import json
import os
import sys
from decimal import Decimal
from typing import Any

import asyncpg

from deploy.local.find import StackAddress
from gateway.reports.proof import Asked, Place, load_rows, page_of, read_place
from schemas.proof import prove
from schemas.usage_csv import HEADER, usage_row


async def explain(address: StackAddress, *arguments: str) -> tuple[int, str, str]:
    """Run the command; its exit code and what it wrote."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "deploy.cli", "explain", *arguments),
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


async def documents(connection: asyncpg.Connection) -> list[asyncpg.Record]:
    # But credits of amounts: these have no lines.
    statement = (
        "SELECT tenant_id, document_ref, document_number FROM document WHERE kind <> 'CREDIT' "
        "ORDER BY number"
    )
    rows: list[asyncpg.Record] = await connection.fetch(statement)
    return rows


async def test_every_document_of_the_real_services_is_explained_and_agrees(
    world: StackAddress,
) -> None:
    connection = await asyncpg.connect(world.postgres)
    models, steps = set(), set()
    try:
        for row in await documents(connection):
            rows = await load_rows(connection, row["tenant_id"], row["document_ref"])
            assert rows is not None
            proof = prove(rows)
            lines = [line for product in proof["products"] for line in product["lines"]]
            assert proof["agrees"], row["document_number"]
            assert [line["position"] for line in lines] == list(range(1, len(lines) + 1))
            models |= {line["model"] for line in lines}
            steps |= {step["step"] for line in lines for step in line["steps"]}
    finally:
        await connection.close()
    assert models >= {"FLAT", "PER_UNIT", "GRADUATED", "VOLUME", "PACKAGE", "FORMULA", "MATRIX"}
    assert steps >= {"USAGE", "MINIMUM_FEE", "DISCOUNT", "PRORATION", "ROUNDING", "CELLS"}


async def test_the_events_of_a_line_by_pages_have_its_digest(world: StackAddress) -> None:
    connection = await asyncpg.connect(world.postgres)
    try:
        row = (await documents(connection))[0]
        place = (row["tenant_id"], row["document_ref"])
        rows = await load_rows(connection, *place)
        assert rows is not None
        line = next(
            line
            for product in prove(rows)["products"]
            for line in product["lines"]
            if line["event_count"] > 5
        )
        events: list[Any] = []
        at: Place | None = Place()
        while at is not None:
            page = await page_of(connection, *place, Asked(line["line_item_ref"], at, 3))
            assert page is not None
            events += page["events"]
            at = None if page["next_cursor"] is None else read_place(page["next_cursor"])
    finally:
        await connection.close()
    assert len(events) == line["event_count"]
    digest = hashlib.sha256(HEADER)
    for event in events:
        data = event["additional_report_data"]
        quantity = bytes(event["quantity"]).decode()
        text = None if data is None else bytes(data).decode()
        digest.update(
            usage_row(str(event["event_ref"]), event["timestamp"], quantity, text).encode()
        )
    assert digest.hexdigest() == line["events_digest"]


async def test_a_document_is_told_from_its_lines_to_its_total(world: StackAddress) -> None:
    code, output, errors = await explain(world, "INV-2026-001")
    assert (code, errors) == (0, "")
    assert "\x1b" not in output, "plain when it is piped"
    for said in (
        "price version",
        "rounded",
        "SHA-256",
        "sha256sum",
        "cut 1, at offset",
        "19 % tax",
    ):
        assert said in output, output
    code, output, errors = await explain(world, "INV-2026-001", "2", "--json")
    proof = json.loads(output, parse_float=Decimal)
    assert (code, errors) == (0, "")
    [line] = [line for product in proof["products"] for line in product["lines"]]
    assert line["position"] == 2
    listed = await explain(world, proof["invoice_ref"].upper(), line["line_item_ref"], "--events")
    assert (listed[0], listed[2]) == (0, "")
    assert "page 1" in listed[1]


async def test_what_is_not_there_is_said_with_what_is(world: StackAddress) -> None:
    for arguments, said in (
        (("INV-1999-001",), "there is no document INV-1999-001"),
        (("INV-2026-001", "99"), "no line 99; it has 1 ("),
        (("INV-2026-001", "--events", "--page", "999"), "pages of events, and no page 999"),
    ):
        code, output, errors = await explain(world, *arguments)
        assert (code, output) == (2, "")
        assert said in errors
