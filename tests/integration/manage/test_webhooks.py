"""Webhooks from the change of a document to a real receiver, which verifies every signature."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from datetime import date
from functools import partial
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from invoicer.delivery.webhook_client import PublicResolver, post
from invoicer.settings import InvoicerSettings
from invoicer.webhooks import WebhookWorker
from runtime.postgres import open_pool
from tests.integration.manage.clients import Client, Gateway, codes, make_tenant
from tests.integration.manage.papers import write_document
from tests.integration.manage.shop import contract_body, make_shop

SECONDS_MAX = 15.0


class Receiver:
    """A server of a customer's. Paths say how it behaves."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, dict[str, str], bytes]] = []
        self.statuses: list[int] = []
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        path = request.path
        if path == "/slow":
            await asyncio.sleep(60)
        if path == "/away":
            return web.Response(status=307, headers={"Location": "http://169.254.169.254/"})
        if path == "/fails":
            return web.Response(status=500, text="no\0pe")
        if path == "/endless":
            return web.Response(status=400, body=b"x" * 10_000_000)
        status = self.statuses.pop(0) if self.statuses else 204
        if status < 300:
            self.taken.append((path, dict(request.headers), body))
        return web.Response(status=status)


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[Receiver]:
    own = Receiver()
    app = web.Application()
    app.router.add_post("/{path:.*}", own.take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    own.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield own
    await runner.cleanup()


@pytest_asyncio.fixture
async def worker(gateway: Gateway) -> AsyncIterator[WebhookWorker]:
    stopping = asyncio.Event()
    settings = InvoicerSettings(
        kafka="", postgres="", webhook_loopback=True, webhook_seconds=1, outbox_poll_seconds=0.05
    )
    async with open_pool(gateway.postgres, service="test") as pool:
        own = WebhookWorker(pool, settings, stopping)
        task = asyncio.create_task(own.run())
        yield own
        stopping.set()
        await task


async def until(what: Callable[[], Any]) -> Any:  # noqa: ANN401
    async with asyncio.timeout(SECONDS_MAX):
        while not (found := await asyncio.to_thread(what)):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.02)
        return found


async def add(client: Client, url: str, *events: str) -> Any:  # noqa: ANN401
    body = {"url": url, "events": list(events)}
    return await asyncio.to_thread(client.ok, "POST", "/api/webhooks", body)


def deliveries(client: Client, hook: Any) -> Any:  # noqa: ANN401
    return client.ok("GET", f"/api/webhooks/{hook['webhook_ref']}/deliveries")["deliveries"]


def tried(client: Client, hook: Any) -> Any:  # noqa: ANN401
    return [one for one in deliveries(client, hook) if one["attempts"]]


async def issue(client: Client) -> str:
    shop = await asyncio.to_thread(make_shop, client)
    body = contract_body(shop)
    contract = await asyncio.to_thread(client.ok, "POST", "/api/contracts", body)
    paper = await write_document(
        client, shop, contract["contract_ref"], issue_date=date(2023, 2, 1)
    )
    return paper.ref


@pytest.mark.usefixtures("worker")
async def test_what_happens_is_told_once_signed_and_in_order(
    client: Client, receiver: Receiver
) -> None:
    hook = await add(client, f"{receiver.url}/all")
    narrow = await add(client, f"{receiver.url}/paid", "invoice.paid")
    receiver.statuses = [500, 204]
    ref = await issue(client)
    await client.fetch("UPDATE document SET state = 'PAID' WHERE document_ref = $1", ref)
    await client.fetch("UPDATE webhook_delivery SET due_at = now() WHERE attempts > 0")
    await until(partial(tried, client, hook))
    await client.fetch("UPDATE webhook_delivery SET due_at = now() WHERE state = 'PENDING'")
    await until(lambda: len(receiver.taken) == 4)
    told = {}
    for path, headers, body in receiver.taken:
        secret = {"/all": hook, "/paid": narrow}[path]["secret"]
        event = Webhook(secret).verify(body, headers)
        told[path, event["type"]] = event["data"]
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(body + b" ", headers)
    assert set(told) == {
        ("/all", "invoice.created"),
        ("/all", "invoice.issued"),
        ("/all", "invoice.paid"),
        ("/paid", "invoice.paid"),
    }
    assert told["/all", "invoice.issued"]["invoice_ref"] == ref
    assert told["/all", "invoice.issued"]["document_number"] == "INV/2023-001"
    assert told["/paid", "invoice.paid"]["total"] == 1155.48
    assert {d["state"] for d in deliveries(client, hook)} == {"DELIVERED"}
    assert sum(d["attempts"] for d in deliveries(client, hook)) >= 3


@pytest.mark.usefixtures("worker")
async def test_a_rotated_secret_signs_beside_the_old_one_and_is_shown_once(
    client: Client, receiver: Receiver
) -> None:
    hook = await add(client, f"{receiver.url}/")
    at = f"/api/webhooks/{hook['webhook_ref']}"
    new = await asyncio.to_thread(client.ok, "POST", f"{at}/rotate")
    assert new["secret"] != hook["secret"]
    assert new["old_secret_until"] is not None
    assert "secret" not in client.ok("GET", at)
    assert "secret" not in client.ok("GET", "/api/webhooks")["webhooks"][0]
    await asyncio.to_thread(client.ok, "POST", f"{at}/test")
    await until(lambda: receiver.taken)
    [(_, headers, body)] = receiver.taken
    for secret in (hook["secret"], new["secret"]):
        assert Webhook(secret).verify(body, headers)["type"] == "webhook.test"
    key: dict[str, Any] = {"Idempotency-Key": "one"}
    made = [client.send("POST", "/api/webhooks", {"url": "https://a.example/"}, **key).json()
            for _ in range(2)]  # fmt: skip
    assert made[0]["secret"] is not None
    assert made[1] == made[0] | {"secret": None}


@pytest.mark.usefixtures("worker")
async def test_one_that_is_slow_fails_or_leads_away_holds_nobody_else(
    client: Client, receiver: Receiver
) -> None:
    bad = {
        path: await add(client, receiver.url + path)
        for path in ("/slow", "/away", "/fails", "/endless")
    }
    good = await add(client, f"{receiver.url}/good")
    for hook in (*bad.values(), good):
        await asyncio.to_thread(client.ok, "POST", f"/api/webhooks/{hook['webhook_ref']}/test")
    await until(lambda: receiver.taken)
    said = {}
    for path, hook in bad.items():
        [one] = await until(partial(tried, client, hook))
        assert one["state"] == "PENDING"
        said[path] = (one["last_status"], one["last_error"])
    assert said["/slow"] == (None, "no answer within 1 s")
    assert said["/away"] == (307, "a redirect, which is not followed")
    assert said["/fails"] == (500, "nope")
    assert len(said["/endless"][1]) <= 1_024


@pytest.mark.usefixtures("worker")
async def test_what_is_given_up_is_seen_and_sent_again_with_the_same_id(
    client: Client, receiver: Receiver
) -> None:
    hook = await add(client, f"{receiver.url}/")
    at = f"/api/webhooks/{hook['webhook_ref']}"
    receiver.statuses = [503]
    await client.fetch(
        "UPDATE webhook_endpoint SET failing_since = now() - interval '4 days' "
        "WHERE tenant_id = $1", client.tenant_id
    )  # fmt: skip
    event = "INSERT INTO webhook_event (tenant_id, type, subject_ref, payload) VALUES ($1, "
    [row] = await client.fetch(
        event + "'invoice.late', gen_random_uuid(), '{}') RETURNING event_ref", client.tenant_id
    )
    await client.fetch(
        "INSERT INTO webhook_delivery (tenant_id, endpoint_ref, event_ref, attempts) "
        "VALUES ($1, $2, $3, 11)",
        *(client.tenant_id, hook["webhook_ref"], row["event_ref"]),
    )
    [dead] = await until(lambda: [d for d in deliveries(client, hook) if d["state"] == "DEAD"])
    shown = client.ok("GET", at)
    assert not shown["enabled"]
    assert "status 503" in shown["disabled_reason"]

    client.ok("PUT", at, {"url": hook["url"], "enabled": True})
    assert client.ok("GET", at)["disabled_reason"] is None
    client.ok("POST", f"{at}/replay", {"delivery_id": dead["delivery_id"]})
    await until(lambda: [d for d in deliveries(client, hook) if d["state"] == "DELIVERED"])
    client.ok("POST", f"{at}/replay", {"from": "2020-01-01T00:00:00Z"})
    await until(lambda: len(receiver.taken) == 2)
    ids = {headers["webhook-id"] for _, headers, _ in receiver.taken}
    assert ids == {str(row["event_ref"])}


class Rebinding(PublicResolver):
    """A name that is public when it is looked at, and inside when it is used."""

    def __init__(self, *answers: list[str]) -> None:
        super().__init__("https", allows_loopback=False)
        self.answers = list(answers)
        self.looked = 0

    async def _look_up(
        self, host: str, port: int, family: socket.AddressFamily
    ) -> list[tuple[int, str]]:
        assert host
        self.looked += 1
        return [(socket.AF_INET, one) for one in self.answers.pop(0)]


async def test_a_name_that_leads_inside_is_refused_and_looked_up_once(receiver: Receiver) -> None:
    port = receiver.url.rpartition(":")[2]
    url = f"https://rebinding.example:{port}/"

    async def go(*answers: list[str]) -> tuple[Rebinding, str]:
        resolver = Rebinding(*answers)
        attempt = await post(
            url, "{}", {}, seconds=0.5, allows_loopback=False, resolver=resolver
        )  # fmt: skip
        assert attempt.status is None
        return resolver, str(attempt.error)

    for inside in ("127.0.0.1", "10.0.0.1", "169.254.169.254", "::ffff:127.0.0.1"):
        _, said = await go([inside])
        assert "is not public" in said
        _, said = await go(["8.8.8.8", inside])
        assert "is not public" in said, "all of its addresses have to be"
    resolver, said = await go(["203.0.114.1"], ["127.0.0.1"])
    assert resolver.looked == 1, "the connection goes to what was looked at"
    assert "is not public" not in said
    assert receiver.taken == []


async def test_endpoints_are_checked_and_belong_to_their_tenant(
    client: Client, stranger: Client, gateway: Gateway
) -> None:
    hook = client.ok("POST", "/api/webhooks", {"url": "https://a.example/"})
    at = f"/api/webhooks/{hook['webhook_ref']}"
    for url, code in (
        ("http://a.example/", "url_not_https"),
        ("https://169.254.169.254/", "url_not_public"),
        ("https://[::ffff:10.0.0.1]/", "url_not_public"),
    ):
        assert codes(client.send("POST", "/api/webhooks", {"url": url})) == {"/url": code}
    wrong = {"url": "https://a.example/", "events": ["invoice.eaten"]}
    assert codes(client.send("POST", "/api/webhooks", wrong)) == {"/events/0": "value_unknown"}
    reader = await make_tenant(gateway, "billing:read")
    for verb, path, body in (
        ("GET", at, None),
        ("PUT", at, {"url": "https://b.example/"}),
        ("POST", f"{at}/rotate", None),
        ("POST", f"{at}/test", None),
        ("POST", f"{at}/replay", {"from": "2024-01-01T00:00:00Z"}),
        ("GET", f"{at}/deliveries", None),
        ("DELETE", at, None),
    ):
        assert stranger.send(verb, path, body).status_code == 404
        assert reader.send(verb, path, body).status_code == (404 if verb == "GET" else 403)
    assert stranger.ok("GET", "/api/webhooks") == {"webhooks": []}
    assert client.ok("DELETE", at) == {"webhook_ref": hook["webhook_ref"]}
    assert client.send("GET", at).status_code == 404
