"""The history of a contract over HTTP: who changed what, with the fields before and after."""

from typing import Any

import asyncpg
import pytest

from schemas.contract_lifecycle import TRANSITIONS
from tests.integration.manage.clients import Client
from tests.integration.manage.shop import contract_body, make_shop

NOWHERE = "00000000-0000-4000-8000-00000000dead"


def history(client: Client, ref: str, **query: str) -> dict[str, Any]:
    answer: dict[str, Any] = client.ok("GET", f"/api/contracts/history/{ref}", **query)
    return answer


def told(entry: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {one["pointer"]: (one["before"], one["after"]) for one in entry["changes"]}


def test_a_contract_tells_who_changed_what_from_its_draft_to_its_end(client: Client) -> None:
    shop = make_shop(client, tax="8.875")
    body = contract_body(shop, discount="10.50") | {"draft": True, "po_number": "PO-1"}
    ref = client.ok("POST", "/api/contracts", body)["contract_ref"]
    product = {"pricing_ref": shop.pricing_ref, "billing_start_date": "2023-01-01"}
    client.ok("POST", f"/api/contracts/edit/{ref}", {"po_number": "PO-2"})
    assert history(client, ref)["state"] == "DRAFT"
    client.ok("POST", f"/api/contracts/publish/{ref}", {})
    client.ok(
        "POST", f"/api/contracts/edit/{ref}", {"products": [product | {"discount": "12.125"}]}
    )
    client.ok("POST", f"/api/contracts/cancel/{ref}", {})
    found = history(client, ref)
    assert (found["contract_ref"], found["state"], found["phase"]) == (ref, "CANCELLED", "ENDED")
    newest_last = found["entries"][::-1]
    assert [(one["action"], one["version"], one["state"]) for one in newest_last] == [
        ("drafted", None, "DRAFT"),
        ("draft_edited", None, "DRAFT"),
        ("published", 1, "ACTIVE"),
        ("edited", 2, "ACTIVE"),
        ("cancelled", 3, "CANCELLED"),
    ]
    drafted, draft_edited, published, edited, cancelled = map(told, newest_last)
    assert drafted["/po_number"] == (None, "PO-1")
    assert drafted["/products/0"][1]["discount"] == 10.5
    assert draft_edited == {"/po_number": ("PO-1", "PO-2")}
    assert published == {"/state": ("DRAFT", "ACTIVE")}
    assert edited == {"/products/0/discount": (10.5, 12.125)}
    assert cancelled["/state"] == ("ACTIVE", "CANCELLED")
    assert {one["made_by"] for one in newest_last} == {f"key {client.api_key}"}


def test_pages_of_a_history_are_the_whole_of_it(client: Client) -> None:
    shop = make_shop(client)
    ref = client.ok("POST", "/api/contracts", contract_body(shop))["contract_ref"]
    for number in range(4):
        client.ok("POST", f"/api/contracts/edit/{ref}", {"po_number": f"PO-{number}"})
    whole = history(client, ref)["entries"]
    page = history(client, ref, limit="2")
    pages = [page]
    while page["next_cursor"]:
        page = history(client, ref, limit="2", cursor=page["next_cursor"])
        pages.append(page)
    assert [len(one["entries"]) for one in pages] == [2, 2, 1]
    assert [entry for one in pages for entry in one["entries"]] == whole
    assert told(whole[0]) == {"/po_number": ("PO-2", "PO-3")}


def test_a_draft_that_was_dropped_keeps_its_history(client: Client) -> None:
    body = contract_body(make_shop(client)) | {"draft": True}
    ref = client.ok("POST", "/api/contracts", body)["contract_ref"]
    client.ok("POST", f"/api/contracts/cancel/{ref}", {})
    found = history(client, ref)
    assert (found["state"], found["phase"]) == ("CANCELLED", None)
    assert [one["action"] for one in found["entries"]] == ["draft_dropped", "drafted"]


def test_another_tenant_finds_nothing_there(client: Client, stranger: Client) -> None:
    shop = make_shop(client)
    ref = client.ok("POST", "/api/contracts", contract_body(shop))["contract_ref"]
    for caller, path in ((stranger, ref), (client, NOWHERE), (client, "nonsense")):
        assert caller.send("GET", f"/api/contracts/history/{path}").status_code == 404


async def test_the_database_knows_the_same_ways_and_lets_nothing_else_pass(client: Client) -> None:
    shop = make_shop(client)
    ref = client.ok("POST", "/api/contracts", contract_body(shop))["contract_ref"]
    connection = await asyncpg.connect(client.postgres)
    try:
        rows = await connection.fetch("SELECT * FROM contract_transition")
        assert {tuple(row) for row in rows} == {tuple(map(str, way)) for way in TRANSITIONS}
        change = "UPDATE contract SET state = $2, version = version + $3 WHERE contract_ref = $1"
        for state, step in (("ACTIVE", 0), ("ACTIVE", 2), ("CANCELLED", -1)):
            with pytest.raises(asyncpg.RestrictViolationError, match="version"):
                await connection.execute(change, ref, state, step)
        await connection.execute(change, ref, "CANCELLED", 1)
        for state in ("ACTIVE", "CANCELLED"):
            with pytest.raises(asyncpg.RestrictViolationError, match="cannot go"):
                await connection.execute(change, ref, state, 1)
    finally:
        await connection.close()


async def test_the_log_is_searched_by_an_index_under_row_level_security(client: Client) -> None:
    connection = await asyncpg.connect(client.postgres)
    try:
        async with connection.transaction():
            await connection.execute("SET LOCAL enable_seqscan = off")
            await connection.execute("SET LOCAL ROLE meterline_tenant")
            plan = await connection.fetch(
                "EXPLAIN SELECT number FROM audit_entry WHERE tenant_id = 1 AND subject = 'x' "
                "AND number <= 7 ORDER BY number DESC LIMIT 2"
            )
    finally:
        await connection.close()
    text = "\n".join(row[0] for row in plan)
    assert "audit_entry_subject" in text
    assert "Sort" not in text
