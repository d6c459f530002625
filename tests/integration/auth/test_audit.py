"""The audit log: every change over HTTP leaves who made it, and from where."""

import json
from typing import Any
from urllib.parse import urlencode

from tests.integration.auth.conftest import Office, Site, make_office


async def entries(office: Office) -> list[dict[str, Any]]:
    rows = await office.fetch(
        "SELECT entry FROM audit_entry WHERE tenant_id = $1 ORDER BY number", office.tenant_id
    )
    return [json.loads(row["entry"]) for row in rows]


async def test_what_an_admin_does_is_written_down_in_order(office: Office) -> None:
    session = office.admin()
    made = office.send(
        "POST",
        "/auth/keys/generate",
        {"api_key": office.api_key + "2"},
        session=session,
        headers={"X-Request-Id": "request-7"},
    ).json()
    office.send("DELETE", f"/auth/user/{made['api_key_ref']}", session=session)
    office.send("POST", "/auth/logout", session=session)
    found = await entries(office)
    assert [entry["action"] for entry in found] == [
        "session.begun", "api_key.made", "api_key.deleted", "session.ended"
    ]  # fmt: skip
    assert {entry["actor"].split()[0] for entry in found} == {"admin"}
    assert {entry["address"] for entry in found} == {office.address}
    assert found[1]["subject"] == made["api_key_ref"]
    assert found[1]["request_id"] == "request-7"
    assert found[1]["after"]["api_key"] == office.api_key + "2"
    assert found[2]["before"] == {"api_key": office.api_key + "2"}


async def test_what_a_key_does_is_written_down_with_what_was_asked_for(office: Office) -> None:
    token = office.log_in()
    body = {"name": "Northwind", "email": "ap@northwind.example"}
    made = office.send("POST", "/api/customers", body, token=token).json()
    office.send("POST", "/auth/logout", token=token)
    found = await entries(office)
    assert [entry["action"] for entry in found] == [
        "token.issued",
        "customer.made",
        "token.revoked",
    ]
    assert {entry["actor"] for entry in found} == {f"key {office.api_key_ref}"}
    assert (found[1]["subject"], found[1]["after"]) == (made["customer_ref"], body)


async def test_what_is_refused_leaves_no_entry(office: Office) -> None:
    token = office.log_in()
    for _ in range(2):
        office.send("POST", "/api/usage/products", {"name": "Units"}, token=token)
    office.send("POST", "/api/customers", {"name": "N"}, token=token)
    assert [entry["action"] for entry in await entries(office)] == [
        "token.issued",
        "usage_product.made",
    ]


def read(office: Office, **query: str) -> dict[str, Any]:
    """Read a page of the audit log."""
    path = "/api/audit?" + urlencode(query)
    answer = office.send("GET", path, session=office.admin())
    assert answer.ok, answer.text
    page: dict[str, Any] = answer.json()
    return page


def actions(page: dict[str, Any]) -> list[str]:
    return [entry["action"] for entry in page["entries"]]


async def test_an_admin_reads_it_page_by_page_the_newest_first(office: Office) -> None:
    token = office.log_in()
    for name in ("A", "B", "C"):
        office.send("POST", "/api/usage/products", {"name": name}, token=token)
    first = read(office, limit="2")
    assert actions(first) == ["session.begun", "usage_product.made"]
    assert first["entries"][1]["after"] == {"name": "C"}
    second = read(office, limit="2", cursor=first["next_cursor"])
    assert [entry["after"] for entry in second["entries"]] == [{"name": "B"}, {"name": "A"}]
    rest = read(office, cursor=second["next_cursor"])
    assert (actions(rest), rest["next_cursor"]) == (["token.issued"], None)


async def test_it_is_read_by_actor_and_time(office: Office) -> None:
    token = office.log_in()
    office.send("POST", "/api/usage/products", {"name": "A"}, token=token)
    actor = f"key {office.api_key_ref}"
    mine = read(office, actor=actor)
    assert actions(mine) == ["usage_product.made", "token.issued"]
    made_at = mine["entries"][0]["at"]
    assert actions(read(office, actor=actor, **{"from": made_at})) == ["usage_product.made"]
    assert actions(read(office, to=made_at))[-1] == "token.issued"
    assert "usage_product.made" not in actions(read(office, to=made_at))
    day = made_at[:10]
    assert actions(read(office, actor=actor, **{"from": day, "to": day})) == actions(mine)
    assert read(office, **{"from": "2299-01-01"})["entries"] == []


async def test_what_is_read_is_chained(office: Office) -> None:
    office.log_in()
    entries = read(office)["entries"]
    rows = await office.fetch(
        "SELECT number, hash FROM audit_entry WHERE tenant_id = $1", office.tenant_id
    )
    hashes = {row["number"]: row["hash"].hex() for row in rows}
    assert [entry["number"] for entry in entries] == sorted(hashes, reverse=True)
    assert all(entry["hash"] == hashes[entry["number"]] for entry in entries)


async def test_nobody_reads_another_tenant_s_nor_without_the_scope(
    site: Site, office: Office
) -> None:
    office.log_in()
    stranger = await make_office(site)
    assert actions(read(stranger)) == ["session.begun"]
    body = {"scopes": ["billing:read", "usage:read"]}
    key = office.send("POST", "/auth/keys/generate", body, session=office.admin()).json()
    token = office.log_in(key["api_key"], key["password"])
    assert office.send("GET", "/api/audit", token=token).status_code == 403
    answer = office.send("GET", "/api/audit?limit=0&until=1", token=office.log_in())
    assert {p["pointer"] for p in answer.json()["errors"]} == {"/limit", "/until"}
