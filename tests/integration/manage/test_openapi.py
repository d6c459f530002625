"""The description as it is served, beside what the gateway really answers."""

import json
import re
from datetime import date
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import requests

from tests.browser import chromium, page
from tests.integration.manage.clients import Client
from tests.integration.manage.papers import write_document
from tests.integration.manage.shop import contract_body, make_shop

BROWSER = chromium()


def closed(schema: Any) -> Any:  # noqa: ANN401 - any JSON
    """Return a schema whose objects have no fields but those it names."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    known = {name: closed(part) for name, part in schema.items()}
    return known | ({"additionalProperties": False} if "properties" in schema else {})


async def test_answers_have_the_form_that_the_description_gives_them(client: Client) -> None:
    document = client.ok("GET", "/openapi.json")
    shop = make_shop(client)
    contract_ref = client.ok("POST", "/api/contracts", contract_body(shop))["contract_ref"]
    client.ok("POST", f"/api/contracts/close/{contract_ref}", {"through": "2023-01-31"})
    paper = await write_document(client, shop, contract_ref, issue_date=date(2023, 2, 1))
    refs = {
        "entity_ref": client.ok("GET", "/api/entities/names")["entities"][0]["entity_ref"],
        "customer_ref": shop.customer_ref,
        "usage_product_ref": shop.meter_ref,
        "contract_ref": contract_ref,
        "invoice_ref": paper.ref,
    }
    queries = {
        "/api/contracts/filter": {"customer_ref": shop.customer_ref, "pageSize": "9"}
        | {"pageNumber": "0"},
        "/api/documents/filter": {"limit": "9", "page": "0"},
        "/api/usage/events": {"customer_ref": shop.customer_ref},
        "/api/usage/summary": {"customer_ref": shop.customer_ref},
    }
    checked, wrong = 0, []
    for path, methods in document["paths"].items():
        described = methods.get("get", {}).get("responses", {}).get("200", {})
        schema = described.get("content", {}).get("application/json", {}).get("schema")
        is_known = set(re.findall(r"\{([a-z_]+)\}", path)) <= set(refs)
        if schema is None or not path.startswith("/api/") or not is_known:
            continue
        answer = client.send("GET", path.format(**refs), query=queries.get(path))
        if answer.ok:
            found = jsonschema.Draft202012Validator(closed(schema)).iter_errors(answer.json())
            wrong += [f"{path} {error.json_path}: {error.message}"[:300] for error in found]
            checked += 1
    assert not wrong
    assert checked >= 12


def test_the_page_is_served_packed_and_plain_with_a_strict_policy(client: Client) -> None:
    for name in ("", "start.js", "swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png"):
        url = f"{client.url}/swagger/{name}"
        packed = requests.get(url, timeout=30)
        plain = requests.get(url, headers={"Accept-Encoding": "identity"}, timeout=30)
        assert packed.content == plain.content
        assert "default-src 'none'" in packed.headers["Content-Security-Policy"]
    assert requests.get(f"{client.url}/swagger", timeout=30).url.endswith("/swagger/")
    for name in ("VENDORED.md", "..%2froutes.py", "%2e%2e/routes.py"):
        assert requests.get(f"{client.url}/swagger/{name}", timeout=30).status_code == 404


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
async def test_an_event_can_be_sent_from_the_page(client: Client, tmp_path: Path) -> None:
    assert BROWSER is not None
    shop = make_shop(client)
    event = {
        "timestamp": "2024-02-05T12:00:00Z",
        "customer_ref": shop.customer_ref,
        "usage_product_ref": shop.meter_ref,
        "quantity": "12.50",
    }
    token = client.headers["Authorization"].removeprefix("Bearer ")
    async with page(BROWSER) as browser:
        await browser.open(f"{client.url}/swagger/")
        await browser.click(".auth-wrapper .authorize")
        await browser.type(".auth-container input", token)
        await browser.click(".auth-btn-wrapper .authorize")
        await browser.click(".auth-btn-wrapper .btn-done")
        operation = "#operations-usage-post_event"
        await browser.click(f"{operation} .opblock-summary-control")
        await browser.type(f"{operation} textarea.body-param__text", json.dumps(event))
        await browser.click(f"{operation} .execute")
        live = f"{operation} .live-responses-table .response"
        await browser.wait(f"!!document.querySelector('{live} .response-col_status')")
        status = await browser.evaluate(
            f"document.querySelector('{live} .response-col_status').innerText"
        )
        shown = await browser.evaluate(f"document.querySelector('{live}').innerText")
        await browser.evaluate(f"document.querySelector('{live}').scrollIntoView()")
        await browser.screenshot(tmp_path / "swagger.png")
        assert status.strip().startswith("202"), shown
        assert '"event_ref"' in shown
        assert "12.5" in shown
        assert browser.complaints == []
        assert all(u.startswith((client.url, "data:")) for u in browser.requested)
