"""The page of a document: whoever has its link reads that one document, and nobody else any."""

import asyncio
import time
from datetime import date, timedelta
from pathlib import Path
from uuid import UUID

import pytest
import requests

from schemas.link_token import Linked, seal
from tests.browser import chromium, page
from tests.integration.manage.clients import Client, Gateway, make_tenant
from tests.integration.manage.deeds import ask, invoicer, paper_of
from tests.integration.manage.papers import Paper, write_file

BROWSER = chromium()
HTML = (
    b'<!DOCTYPE html><html lang="en"><head><meta name="viewport" content="width=device-width, '
    b'initial-scale=1"><title>Invoice</title></head><body style="margin:0;background:#e9edf2">'
    b"<main style='max-width:54rem;margin:2rem auto;padding:3rem;background:#fff;"
    b"box-sizing:border-box'><h1>Invoice</h1><p>Platform 1,155.48</p></main></body></html>"
)
PDF = b"%PDF-1.7 a file"
PEOPLE = {"Accept": "text/html,application/xhtml+xml"}
__all__ = ["invoicer"]


async def linked(client: Client) -> tuple[Paper, str]:
    """Return an issued document with its files, and its link."""
    paper, _ = await paper_of(client)
    await write_file(client, paper, "HTML", HTML)
    await write_file(client, paper, "PDF", PDF)
    return paper, client.ok("GET", f"/api/invoices/{paper.ref}")["hosted_url"]


def read(url: str, headers: dict[str, str] = PEOPLE) -> requests.Response:
    """Open a link as a browser does, without a login."""
    return requests.get(url, headers=headers, timeout=30)


async def due_on(client: Client, paper: Paper, days: int) -> date:
    """Let a document be due so many days from today."""
    due = date.today() + timedelta(days=days)  # noqa: DTZ011 - far from any zone's midnight
    await client.fetch(
        "UPDATE document SET state = 'SENT', submission_date = now(), due_date = $2 "
        "WHERE document_ref = $1",
        UUID(paper.ref),
        due,
    )
    return due


async def test_a_document_is_read_by_its_link_alone(client: Client) -> None:
    _, url = await linked(client)
    assert url.startswith(f"{client.url}/i/")
    answer = read(url)
    assert answer.status_code == 200
    assert "Platform 1,155.48" in answer.text
    assert "Amount due: $1,155.48" in answer.text
    assert "Late: was due on March 3, 2023" in answer.text
    file = read(f"{url}/pdf")
    assert (file.content, file.headers["Content-Type"]) == (PDF, "application/pdf")
    assert "INV%2F2023-001.pdf" in file.headers["Content-Disposition"]


async def test_no_answer_is_kept_indexed_framed_or_told_of(client: Client) -> None:
    _, url = await linked(client)
    for address in (url, f"{url}/pdf", f"{client.url}/i/nothing"):
        headers = read(address).headers
        assert headers["Cache-Control"] == "no-store"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["X-Robots-Tag"].startswith("noindex")
        assert headers["X-Content-Type-Options"] == "nosniff"
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'")
        assert "script-src" not in policy
        assert "frame-ancestors 'none'" in policy
        assert "Set-Cookie" not in headers


async def test_what_is_no_link_leads_nowhere(client: Client, stranger: Client) -> None:
    paper, url = await linked(client)
    base, token = url.rsplit("/", 1)
    ref = UUID(paper.ref)
    [key] = await client.fetch("SELECT secret FROM link_key")
    other = seal(Linked(stranger.tenant_id, 0, ref), key["secret"])
    later = seal(Linked(client.tenant_id, 1, ref), key["secret"])
    guessed = seal(Linked(client.tenant_id, 0, ref), bytes(32))
    assert token == seal(Linked(client.tenant_id, 0, ref), key["secret"])
    changed = token[:-1] + ("A" if token[-1] != "A" else "B")
    wrong = [other, later, guessed, changed, "x", token + "A", token[:-4], "é" * 60, paper.ref]
    bodies = set()
    for one in wrong:
        for tail in ("", "/pdf"):
            answer = read(f"{base}/{one}{tail}")
            assert answer.status_code == 404, one
            assert answer.headers["Content-Type"].startswith("text/html")
            bodies.add(answer.text)
    assert len(bodies) == 1, "all are told the same"
    problem = read(f"{base}/x", {"Accept": "*/*"})
    assert problem.headers["Content-Type"] == "application/problem+json"
    assert problem.json()["code"] == "link_unknown"


async def test_a_revoked_link_is_dead_and_the_next_one_lives(
    client: Client, stranger: Client
) -> None:
    paper, url = await linked(client)
    _, untouched = await linked(stranger)
    path = f"/api/invoices/{paper.ref}/link/revoke"
    assert stranger.send("POST", path, {}).status_code == 404
    reader = await make_tenant(Gateway(client.url, client.postgres), "billing:read")
    assert reader.send("POST", path, {}).status_code == 403
    assert read(url).status_code == 200
    for _ in range(2):
        new = client.ok("POST", path, {})["hosted_url"]
        assert new == client.ok("GET", f"/api/invoices/{paper.ref}")["hosted_url"]
        assert (read(url).status_code, read(new).status_code) == (404, 200)
        assert read(f"{url}/pdf").status_code == 404
        url = new
    assert read(untouched).status_code == 200
    rows = await client.fetch(
        "SELECT FROM audit_entry WHERE tenant_id = $1 "
        "AND entry::jsonb->>'action' = 'document.link_revoked'",
        client.tenant_id,
    )
    assert len(rows) == 2


async def test_a_draft_has_no_link(client: Client) -> None:
    paper, _ = await paper_of(client, is_held=True)
    assert client.ok("GET", f"/api/invoices/{paper.ref}")["hosted_url"] is None
    answer = client.send("POST", f"/api/invoices/{paper.ref}/link/revoke", {})
    assert (answer.status_code, answer.json()["code"]) == (409, "document_not_issued")
    [key] = await client.fetch("SELECT secret FROM link_key")
    token = seal(Linked(client.tenant_id, 0, UUID(paper.ref)), key["secret"])
    assert read(f"{client.url}/i/{token}").status_code == 404


async def test_the_header_follows_the_document(client: Client) -> None:
    paper, url = await linked(client)
    await due_on(client, paper, 10)
    assert "<b>Due on " in read(url).text
    body = {"invoice_ref": paper.ref, "paid_date": "2023-02-20", "amount": "155.48"}
    await asyncio.to_thread(client.ok, "POST", "/api/invoices/reconcile", body)
    shown = read(url).text
    assert "Amount due: $1,000.00" in shown
    assert "paid in part" in shown
    rest = {"invoice_ref": paper.ref, "paid_date": "2023-02-21"}
    await asyncio.to_thread(client.ok, "POST", "/api/invoices/reconcile", rest)
    assert "Paid on February 21, 2023" in read(url).text


async def test_a_void_document_says_so(client: Client) -> None:
    paper, url = await linked(client)
    assert (await ask(client, paper, "void", {"reason": "sent to the wrong company"})).ok
    shown = read(url).text
    assert "nothing to pay" in shown
    assert "Amount due" not in shown


async def test_a_file_that_is_still_made_is_asked_for_again(client: Client) -> None:
    paper, _ = await paper_of(client)
    url = client.ok("GET", f"/api/invoices/{paper.ref}")["hosted_url"]
    answer = read(url)
    assert answer.status_code == 404
    assert "try again in a few seconds" in answer.text


async def test_tenants_can_not_read_the_key(client: Client) -> None:
    [row] = await client.fetch(
        "SELECT has_table_privilege('meterline_tenant', 'link_key', 'SELECT')"
    )
    assert row[0] is False


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
async def test_people_read_it_on_a_desk_and_on_a_telephone(client: Client, tmp_path: Path) -> None:
    assert BROWSER is not None
    paper, url = await linked(client)
    await due_on(client, paper, -3)
    async with page(BROWSER) as browser:
        for width in (1280, 390):
            await browser.call(
                "Emulation.setDeviceMetricsOverride",
                width=width, height=800, deviceScaleFactor=1, mobile=False,
            )  # fmt: skip
            await browser.open(url)
            await browser.wait("!!document.querySelector('main h1')")
            assert await browser.evaluate("document.documentElement.scrollWidth") <= width
            assert "Amount due: $1,155.48" in await browser.evaluate("document.body.innerText")
            target = await browser.evaluate("document.querySelector('.hosted a').href")
            assert target == f"{url}/pdf"
            await browser.screenshot(tmp_path / f"page-{width}.png")
        assert browser.complaints == []
        own = (url, f"{client.url}/favicon.ico")
        assert all(one.startswith(own) for one in browser.requested)


async def test_the_page_leads_to_the_usage_where_the_customer_is_to_have_it(client: Client) -> None:
    _, url = await linked(client)
    address = f"{url}/usage.csv"
    assert read(address).status_code == 404
    assert "usage.csv" not in read(url).text
    await client.fetch(
        "UPDATE customer SET details = details || "
        """'{"settings": {"attach_usage_logs_pdf": true}}' WHERE tenant_id = $1""",
        client.tenant_id,
    )
    assert f"./{url.rpartition('/')[2]}/usage.csv" in read(url).text


async def test_an_address_that_tries_many_links_has_to_wait(client: Client) -> None:
    _, url = await linked(client)
    deadline = time.monotonic() + 60
    with requests.Session() as session:
        while (answer := session.get(f"{client.url}/i/guess", headers=PEOPLE)).status_code == 404:
            assert time.monotonic() < deadline
        assert answer.status_code == 429
        assert int(answer.headers["Retry-After"]) >= 1
        assert answer.headers["Content-Type"].startswith("text/html")
        while session.get(url, headers=PEOPLE).status_code != 200:
            assert time.monotonic() < deadline
