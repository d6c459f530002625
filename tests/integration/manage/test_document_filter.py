"""Lists of documents: cursors that nothing moves, along indexes, and totals."""

import json
from datetime import date, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest

from gateway.manage.context import queries
from tests.integration.manage.clients import Client
from tests.integration.manage.papers import write_document
from tests.integration.manage.shop import contract_body, make_shop
from tests.integration.manage.test_contracts_command import run

ROWS = 20_000
_LAST = "ffffffff-ffff-ffff-ffff-ffffffffffff"


async def four_papers(client: Client) -> tuple[str, list[str]]:
    """Write documents, two of them of one day; the contract and their refs, newest first."""
    shop = make_shop(client)
    contract_ref = client.ok("POST", "/api/contracts", contract_body(shop))["contract_ref"]
    days = [date(2023, 2, 1), date(2023, 3, 1), date(2023, 3, 1), date(2023, 4, 1)]
    papers = [
        (day, (await write_document(client, shop, contract_ref, number=n, issue_date=day)).ref)
        for n, day in enumerate(days, start=1)
    ]
    return contract_ref, [ref for _, ref in sorted(papers, reverse=True)]


def walk(client: Client, **query: str) -> list[list[str]]:
    """Follow the links of pages to the end."""
    pages, asked = [], {"page": "0", **query}
    while True:
        answer = client.send("GET", "/api/documents/filter", query=asked)
        pages.append([one["invoice_ref"] for one in answer.json()])
        following = answer.links.get("next")
        if following is None:
            return pages
        parts = urlsplit(following["url"])
        assert parts.path == "/api/documents/filter"
        asked = {name: value for name, (value,) in parse_qs(parts.query).items()}


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5])
async def test_links_lead_through_all_documents_once(client: Client, limit: int) -> None:
    contract_ref, refs = await four_papers(client)
    for query in ({}, {"contract_refs": contract_ref}, {"state": "ISSUED"}):
        pages = walk(client, limit=str(limit), **query)
        assert [ref for page in pages for ref in page] == refs
        assert all(len(page) == limit for page in pages[:-1])


async def test_a_newer_document_moves_no_page_behind_a_cursor(client: Client) -> None:
    shop = make_shop(client)
    contract_ref = client.ok("POST", "/api/contracts", contract_body(shop))["contract_ref"]
    old = [
        await write_document(client, shop, contract_ref, number=n, issue_date=date(2023, n, 1))
        for n in (1, 2)
    ]
    first = client.send("GET", "/api/documents/filter", query={"limit": "1", "page": "0"})
    await write_document(client, shop, contract_ref, number=3, issue_date=date(2023, 3, 1))
    cursor = parse_qs(urlsplit(first.links["next"]["url"]).query)["cursor"][0]
    answer = client.ok("GET", "/api/documents/filter", limit="1", cursor=cursor)
    assert [one["invoice_ref"] for one in answer] == [old[0].ref]


def test_a_cursor_that_is_none_and_one_beside_a_page_are_refused(client: Client) -> None:
    path = "/api/documents/filter"
    wrong = client.refused("GET", path, None, limit="1", cursor="x")
    assert wrong == {"/cursor": "cursor_malformed"}
    cursor = "A" * 27
    wrong = client.refused("GET", path, None, limit="1", cursor=cursor, page="2")
    assert wrong == {"/cursor": "cursor_malformed", "/page": "page_and_cursor"}


async def test_totals_are_by_currency_and_state_and_of_one_tenant(
    client: Client, stranger: Client
) -> None:
    contract_ref, _ = await four_papers(client)
    expected = {
        "currency": "USD",
        "state": "ISSUED",
        "accounting_event_type": "INVOICE",
        "documents": 4,
        "total": 4621.92,
    }
    assert client.ok("GET", "/api/documents/totals") == {"totals": [expected]}
    of_march = client.ok(
        "GET", "/api/documents/totals", **{"from": "2023-03-01", "to": "2023-03-31"}
    )
    assert of_march["totals"] == [expected | {"documents": 2, "total": 2310.96}]
    mine = {"contract_refs": contract_ref}
    assert client.ok("GET", "/api/documents/totals", **mine)["totals"] == [expected]
    assert client.ok("GET", "/api/documents/totals", state="VOID") == {"totals": []}
    assert stranger.ok("GET", "/api/documents/totals", **mine) == {"totals": []}
    assert walk(stranger, limit="1", contract_refs=contract_ref) == [[]]


async def test_the_command_shows_a_page_and_the_totals(client: Client) -> None:
    contract_ref, refs = await four_papers(client)
    tenant = str(await _tenant_ref(client))
    only = ("--contract", contract_ref, "--tenant", tenant, "--limit", "3")
    shown = json.loads(run(client, "documents", *only, "--json").stdout)
    assert [one["document_ref"] for one in shown["documents"]] == refs[:3]
    assert [(one["documents"], one["total"]) for one in shown["totals"]] == [(4, 4621.92)]
    rest = run(client, "documents", *only, "--cursor", shown["next_cursor"])
    assert (rest.returncode, rest.stderr) == (0, "")
    assert refs[3] in rest.stdout
    assert refs[2] not in rest.stdout


async def _tenant_ref(client: Client) -> object:
    ((ref,),) = await client.fetch(
        "SELECT tenant_ref FROM tenant WHERE tenant_id = $1", client.tenant_id
    )
    return ref


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for child in plan.get("Plans", ()) for node in nodes(child))]


async def multiply(connection: asyncpg.Connection, ref: str) -> None:
    """Copy a document many times, one a day."""
    columns = await connection.fetch(
        "SELECT attname FROM pg_attribute WHERE attrelid = 'document'::regclass AND attnum > 0"
    )
    own = {"document_ref": "gen_random_uuid()", "issue_date": "issue_date + n % 700"}
    own |= {"number_in_contract": "1000 + n"}
    own |= {"state": "CASE WHEN n % 100 = 0 THEN 'LATE' ELSE 'ISSUED' END"}
    names = [row[0] for row in columns]
    values = ", ".join(own.get(name, name) for name in names)
    await connection.execute("ALTER TABLE document DISABLE TRIGGER USER")
    await connection.execute(
        f"INSERT INTO document ({', '.join(names)}) SELECT {values} "
        f"FROM document, generate_series(1, {ROWS}) n WHERE document_ref = '{ref}'"
    )
    await connection.execute("ANALYZE document")


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
async def test_a_page_deep_in_the_list_is_read_along_an_index(client: Client, mode: str) -> None:
    contract_ref, refs = await four_papers(client)
    customer_ref = client.ok("GET", f"/api/contracts/{contract_ref}")["customer_ref"]
    connection = await asyncpg.connect(client.postgres)
    changed = connection.transaction()
    await changed.start()
    try:
        await multiply(connection, refs[0])
        shard = await connection.fetchval(
            "SELECT shard_key FROM contract WHERE contract_ref = $1", contract_ref
        )
        await connection.execute("SET LOCAL ROLE meterline_tenant")
        await connection.execute(
            "SELECT set_config('meterline.tenant_id', $1, true)", str(client.tenant_id)
        )
        await connection.execute(f"SET LOCAL plan_cache_mode = {mode}")
        deep = (date(2023, 4, 1) + timedelta(days=350), _LAST)
        shared = (client.tenant_id, date.min, date.max, *deep, 10, 0)
        for name, more in (
            ("list_documents", ()),
            ("list_documents_in_state", ("LATE",)),
            ("list_documents_of", (None, [shard], [customer_ref], [])),
            ("list_documents_of", (None, [shard], [], [contract_ref])),
        ):
            plan = await explain(connection, getattr(queries, name), *shared, *more)
            assert plan["Actual Rows"] == 10, name
            assert_bounded(plan, name)
    finally:
        await changed.rollback()
        await connection.close()


def assert_bounded(plan: dict[str, Any], name: str) -> None:
    """Show that a page's rows of documents, and no others, were read and sorted."""
    found = nodes(plan)
    read = [node for node in found if node.get("Relation Name") == "document"]
    assert read, name
    assert all(node["Node Type"] == "Index Scan" for node in read), (name, read)
    assert all(node.get("Rows Removed by Filter", 0) == 0 for node in read), (name, read)
    busy = read + [node for node in found if "Sort" in node["Node Type"]]
    assert all(node["Actual Rows"] * node["Actual Loops"] <= 20 for node in busy), (name, busy)


async def explain(
    connection: asyncpg.Connection, statement: str, *arguments: object
) -> dict[str, Any]:
    """Run a statement, and return how that was done."""
    text = await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", *arguments)
    plan: dict[str, Any] = json.loads(text)[0]["Plan"]
    return plan
