"""A period that closes by itself, what comes late for it, and the proof of both, from outside."""

import asyncio
import csv
import hashlib
import io
import json
import os
import sys
import time
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import asyncpg

from deploy.demo import catalogue
from deploy.demo.story import Shop, make_shop
from deploy.local.bootstrap import Credentials
from deploy.verify.replay.checks import replay_checks
from deploy.verify.report import run_checks
from invoicer.delivery.issued import load_issued
from invoicer.usage_list import UsageLists
from schemas.event_ref import shard_key_of
from tests.e2e.installation import Installation, installed

AT_ONCE = {
    "METERLINE_RATER_CLOSING_GRACE_SECONDS": "0",
    "METERLINE_RATER_CLOSING_LOOK_SECONDS": "0.1",
    "METERLINE_RATER_LATE_SECONDS": "0",
}


async def test_a_month_closes_by_itself_and_a_late_event_is_a_debit(
    stack_env: Mapping[str, str], credentials: Credentials, tmp_path: Path
) -> None:
    async with installed({**stack_env, **AT_ONCE}, credentials, tmp_path) as installation:
        client = installation.client
        shop = await make_shop(client)
        name = catalogue.customer_names()[0]
        customer = shop.names.customers[name]
        # The usage is there before the contract, which therefore closes what has ended, once.
        first = [use(shop, customer, number) for number in range(38)]
        thousands, refunds = await make_feeds(installation, shop)
        first += [
            use(shop, customer, 38) | {"usage_product_ref": thousands, "quantity": 3},
            use(shop, customer, 39) | {"usage_product_ref": refunds},
        ]
        for event in first:
            await client.request("POST", "/api/usage/event", event)
        signed = october(customer, shop.pricing_ref) | {"closing": "AUTOMATIC"}
        await client.request("POST", "/api/contracts/", signed)
        [invoice] = await documents(installation, customer, 1)
        assert invoice["accounting_event_type"] == "INVOICE"
        # 490.00 for the platform and 40,000 × 0.004 for the calls, with 21 % tax.
        assert Decimal(str(invoice["total"])) == Decimal("786.50")

        late = use(shop, customer, 99) | {"usage_product_ref": thousands, "quantity": 1}
        await client.request("POST", "/api/usage/event", late)
        invoice, debit = await documents(installation, customer, 2)
        assert debit["accounting_event_type"] == "DEBIT"
        assert debit["parent_document_ref"] == invoice["invoice_ref"]
        assert Decimal(str(debit["total"])) == Decimal("4.84")

        for document, count in ((invoice, 40), (debit, 41)):
            line = next(i for i in lines(document) if i["event_count"])
            rows = await usage_of(installation, document, line)
            assert len(rows.splitlines()) == count + 1
            assert hashlib.sha256(rows).hexdigest() == line["events_digest"]
            await check_proof(installation, document, line, rows)
            counted = [Decimal(row.split(b",")[2].decode()) for row in rows.splitlines()[1:]]
            assert sorted(set(counted)) == [-1000, 1000, 3000]
            await check_usage_for_people(installation, document, line, rows)
        by_hand = october(customer, shop.pricing_ref)
        ref = (await client.request("POST", "/api/contracts/", by_hand))["contract_ref"]
        [closed] = await close(installation, credentials, "--contract", ref)
        assert (closed["state"], closed["periods_closed"]) == ("DONE", 1)
        report = await run_checks(installation.address, replay=replay_checks())
        assert report.is_good, [str(result) for result in report.results]


def october(customer_ref: str, pricing_ref: str) -> dict[str, Any]:
    """Return the request for a contract of one month, so that no later one closes, too."""
    asked = catalogue.contract(customer_ref, pricing_ref)
    [product] = asked["products"]
    return asked | {"products": [product | {"billing_end_date": "2026-10-31"}]}


async def check_proof(
    installation: Installation, document: dict[str, Any], line: dict[str, Any], rows: bytes
) -> None:
    """Read a document's proof as its customer would, and its events by pages."""
    path = f"/api/invoices/{document['invoice_ref']}"
    proof = await installation.client.request("GET", f"{path}/proof")
    assert proof["agrees"]
    assert Decimal(str(proof["total"])) == Decimal(str(document["total"]))
    [own] = [i for i in lines(proof) if i["line_item_ref"] == line["line_item_ref"]]
    assert own["events_digest"] == line["events_digest"]
    answer = await installation.client.fetch("GET", own["usage"])
    assert answer.body == rows
    is_debit = document["accounting_event_type"] == "DEBIT"
    assert [bool(proof["corrects"]), bool(own["issued"])] == [is_debit] * 2
    # 41,000 calls at 0.004, less the 40,000 that the invoice has.
    assert Decimal(str(own["redrawn"])) == Decimal(164 if is_debit else 160)
    assert Decimal(str(own["amount"])) == Decimal(4 if is_debit else 160)
    found: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = await installation.client.request("GET", f"{path}/events", limit="7", **cursor)
        found += [event["event_ref"] for event in page["events"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert found == [row.split(",")[0] for row in rows.decode().splitlines()[1:]]


async def make_feeds(installation: Installation, shop: Shop) -> tuple[str, str]:
    """Make a meter of thousands of calls, and one of calls that are taken back."""
    calls = shop.names.meters["API calls"]
    made = [
        await installation.client.request("POST", "/api/usage/products", body)
        for body in (
            {"name": "Thousands", "parent_ref": calls, "parent_factor": 1_000},
            {"name": "Taken back", "relation": "CREDIT", "offsets_ref": calls},
        )
    ]
    thousands, refunds = (answer["usage_product_ref"] for answer in made)
    return thousands, refunds


async def close(
    installation: Installation, credentials: Credentials, *arguments: str
) -> list[dict[str, Any]]:
    """Run `meterline close`."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "deploy.cli", "close", "--json", *arguments),
        stdout=asyncio.subprocess.PIPE,
        env={
            **os.environ,
            "METERLINE_URL": installation.gateway.url,
            "METERLINE_API_KEY": credentials.api_key,
            "METERLINE_PASSWORD": credentials.api_password,
        },
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    closed: list[dict[str, Any]] = json.loads(output)
    return closed


def use(shop: Shop, customer_ref: str, number: int) -> dict[str, Any]:
    return {
        "timestamp": f"2026-10-15T12:00:{number % 60:02}Z",
        "customer_ref": customer_ref,
        "usage_product_ref": shop.names.meters["API calls"],
        "quantity": 1_000,
        "idempotency_key": f"call {number}",
        "additional_report_data": {"region": "eu", "batch": number},
    }


async def documents(
    installation: Installation, customer_ref: str, count: int
) -> list[dict[str, Any]]:
    """Wait for so many documents, and return them in the order of their numbers."""
    query = {"customer_refs": customer_ref, "limit": "10", "page": "0"}
    deadline = time.monotonic() + 120
    while True:
        shown = await installation.client.request("GET", "/api/documents/filter", **query)
        found = [document for document in shown if document["document_number"] is not None]
        if len(found) >= count:
            assert len(found) == count
            return sorted(found, key=lambda document: document["number_in_contract"])
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.1)


def lines(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [line for product in document["products"] for line in product["lines"]]


async def check_usage_for_people(
    installation: Installation, document: dict[str, Any], line: dict[str, Any], rows: bytes
) -> None:
    """The list for spreadsheets has the line's events, at the time of the issuer's clocks."""
    path = f"/api/invoices/{document['invoice_ref']}/usage.csv"
    answer = await installation.client.fetch("GET", path)
    assert answer.status == 200, answer
    assert answer.body.startswith(b"\xef\xbb\xbfProduct,Item,Time,Time zone,Quantity,Event,")
    shown = list(csv.DictReader(io.StringIO(answer.body.decode("utf-8-sig"), newline="")))
    listed = list(csv.DictReader(io.StringIO(rows.decode(), newline="")))
    assert [(row["Event"], row["Quantity"]) for row in shown] == [
        (row["event_ref"], row["quantity"]) for row in listed
    ]
    for row, event in zip(shown, listed, strict=True):
        at = datetime.fromisoformat(row["Time"] + row["Time zone"].removeprefix("UTC"))
        assert at == datetime.fromisoformat(event["timestamp"])
        assert row["Item"] == line["item"]
    await check_usage_elsewhere(installation, document, answer.body)
    nobody = f"/api/invoices/{uuid4()}/usage.csv"
    assert (await installation.client.fetch("GET", nobody)).status == 404
    of_no_line = f"{path}?charge_ref={uuid4()}"
    assert (await installation.client.fetch("GET", of_no_line)).status == 422


async def check_usage_elsewhere(
    installation: Installation, document: dict[str, Any], rows: bytes
) -> None:
    """The mail brings the same list, and the document's page leads to it, where that is wanted."""
    connection = await asyncpg.connect(installation.env["METERLINE_POSTGRES"])
    place = (shard_key_of(UUID(document["invoice_ref"]).int), UUID(document["invoice_ref"]))
    page = f"{document['hosted_url']}/usage.csv"
    try:
        [issued] = (await load_issued(connection, [place])).values()
        tenant_id = await connection.fetchval(
            "SELECT tenant_id FROM document WHERE document_ref = $1", place[1]
        )
        lists = UsageLists(asyncio.Event(), "")
        mailed = await lists.load(connection, tenant_id, place, issued, ["CSV"])
        assert [one.content for one in mailed.files] == [rows]
        wanted = "UPDATE customer SET details = jsonb_set(details, '{settings}', $1)"
        async with aiohttp.ClientSession() as session:
            for attach in ("false", "true"):
                await connection.execute(wanted, f'{{"attach_usage_logs_csv": {attach}}}')
                async with session.get(page) as answer:
                    assert answer.status == (200 if attach == "true" else 404)
                    assert answer.headers["Cache-Control"] == "no-store"
                    assert (await answer.read() == rows) == (attach == "true")
    finally:
        await connection.close()


async def usage_of(
    installation: Installation, document: dict[str, Any], line: dict[str, Any]
) -> bytes:
    path = f"/api/invoices/{document['invoice_ref']}/usage.csv?line={line['line_item_ref']}"
    answer = await installation.client.fetch("GET", path)
    assert answer.status == 200, answer
    return answer.body
