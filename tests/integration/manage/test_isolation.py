"""One tenant never sees another: over HTTP, and in the database by itself."""

from collections.abc import Iterator
from datetime import date

import asyncpg
import pytest
from aiohttp import web

from gateway.manage.routes import ROUTES
from runtime.postgres import open_pool, tenant_transaction
from tests.integration.manage.clients import Client, Gateway, make_tenant
from tests.integration.manage.papers import write_document, write_file
from tests.integration.manage.shop import contract_body, make_shop, product_body

#: Every route that shows or changes what exists, and what a stranger is answered.
NAMED = {
    ("GET", "/api/entities/{entity_ref}"): 404,
    ("GET", "/api/customers/{customer_ref}"): 404,
    ("PUT", "/api/entities/{entity_ref}"): 404,
    ("PUT", "/api/customers/{customer_ref}"): 404,
    ("PUT", "/api/usage/products/{usage_product_ref}"): 404,
    ("PUT", "/api/products/{product_ref}"): 404,
    ("GET", "/api/usage/products/{usage_product_ref}"): 404,
    ("POST", "/api/pricings/{pricing_ref}/publish"): 404,
    ("GET", "/api/contracts/{contract_ref}"): 404,
    ("GET", "/api/contracts/history/{contract_ref}"): 404,
    ("GET", "/api/contracts/credits/{contract_ref}"): 404,
    ("GET", "/api/contracts/balances/{contract_ref}"): 404,
    ("POST", "/api/contracts/close/{contract_ref}"): 404,
    ("GET", "/api/contracts/close/{contract_ref}"): 404,
    ("GET", "/api/invoices/{invoice_ref}"): 404,
    ("GET", "/api/invoices/{invoice_ref}/pdf"): 404,
    ("GET", "/api/invoices/{invoice_ref}/html"): 404,
    ("GET", "/api/invoices/{invoice_ref}/proof"): 404,
    ("GET", "/api/invoices/{invoice_ref}/events"): 404,
}
#: What a PUT of each says, so that it is not refused for what it says.
PUT_BODIES = {
    "/api/entities/{entity_ref}": {"name": "Mine"},
    "/api/customers/{customer_ref}": {"name": "Mine", "email": "a@b.example"},
    "/api/usage/products/{usage_product_ref}": {"name": "Mine"},
    "/api/products/{product_ref}": {"product_name": "Mine"},
}
LISTS = {
    "/api/entities/names",
    "/api/customers/names",
    "/api/customers/names/filter",
    "/api/usage/products",
    "/api/products",
    "/api/contracts/filter",
    "/api/documents/filter",
}
CREATES = {
    "/api/entities",
    "/api/customers",
    "/api/usage/products",
    "/api/products",
    "/api/contracts",
}
#: Tested where they are told of: in tests/integration/reports.
REPORTS = {
    ("GET", "/api/usage/event/{event_ref}"),
    ("POST", "/api/usage/event/update"),
    ("DELETE", "/api/usage/event/{event_ref}"),
    ("GET", "/api/usage/events"),
    ("GET", "/api/usage/summary"),
    ("GET", "/api/usage/dead"),
    ("POST", "/api/usage/dead/{id}/retry"),
}
#: Tested in tests/integration/reports/test_alerts.py.
ALERTS = {
    ("POST", "/api/alerts"),
    ("GET", "/api/alerts"),
    ("GET", "/api/alerts/{alert_ref}"),
    ("PUT", "/api/alerts/{alert_ref}"),
    ("DELETE", "/api/alerts/{alert_ref}"),
}
#: Tested in tests/integration/gateway/test_uploads.py.
UPLOADS = {
    ("POST", "/api/usage/uploads"),
    ("GET", "/api/usage/uploads"),
    ("GET", "/api/usage/uploads/{upload_ref}"),
    ("GET", "/api/usage/uploads/{upload_ref}/rejected.csv"),
}
#: Tested in test_formats.py, and in tests/integration/reports.
FORMATS = {
    ("POST", "/api/usage/formats"),
    ("GET", "/api/usage/formats"),
    ("GET", "/api/usage/formats/{format_ref}"),
    ("PUT", "/api/usage/formats/{format_ref}"),
    ("DELETE", "/api/usage/formats/{format_ref}"),
    ("POST", "/api/usage/formats/{format_ref}/try"),
    ("POST", "/api/usage/event/formatted/update"),
}
#: Tested in tests/e2e/test_closing.py.
LINES = {("GET", "/api/invoices/{invoice_ref}/usage.csv")}
#: Tested in test_settings.py.
SETTINGS = {("GET", "/api/settings"), ("PUT", "/api/settings")}
#: Tested in test_document_requests.py.
DEEDS = {
    ("POST", f"/api/invoices/{{invoice_ref}}/{deed}")
    for deed in ("approve", "reject", "review", "void", "write-off", "send", "credit")
}
#: Tested in test_reconciling.py.
PAYMENTS = {
    ("GET", "/api/invoices/reconcile"),
    ("POST", "/api/invoices/reconcile"),
    ("POST", "/api/invoices/{invoice_ref}/payments/{payment_ref}/reverse"),
}
#: Tested in test_journal.py.
JOURNAL = {("GET", "/api/reports/trial-balance")}
#: Tested in test_document_filter.py.
TOTALS = {("GET", "/api/documents/totals")}
#: Tested in test_webhooks.py.
WEBHOOKS = {("POST", "/api/webhooks"), ("GET", "/api/webhooks")} | {
    (verb, f"/api/webhooks/{{webhook_ref}}{rest}")
    for verb, rest in (
        *(("GET", ""), ("PUT", ""), ("DELETE", ""), ("GET", "/deliveries")),
        *(("POST", "/rotate"), ("POST", "/test"), ("POST", "/replay")),
    )
}
#: Tested in test_pricings.py.
PRICINGS = {
    ("POST", "/api/products/{product_ref}/pricings"),
    ("PUT", "/api/pricings/{pricing_ref}"),
    ("POST", "/api/pricings/{pricing_ref}/duplicate"),
    ("GET", "/api/pricings/templates"),
}
#: Asks of what it is told alone.
COMPUTED = {("POST", "/api/pricings/simulate")}
LATER = {
    ("POST", "/api/contracts/subscriptions"),
    ("POST", "/api/contracts/cancel/{contract_ref}"),
    ("POST", "/api/contracts/edit/{contract_ref}"),
    ("POST", "/api/contracts/publish/{contract_ref}"),
    ("GET", "/api/contracts/invoices/current/{contract_ref}"),
    ("GET", "/api/contracts/invoices/next/{contract_ref}"),
}


def routes() -> Iterator[tuple[str, str]]:
    for route in ROUTES:
        assert isinstance(route, web.RouteDef)
        yield route.method, route.path.rstrip("/")


async def refs_of(client: Client) -> dict[str, str]:
    """Make one of everything; the refs by the names that paths use."""
    shop = make_shop(client)
    contract_ref = client.ok("POST", "/api/contracts", contract_body(shop))["contract_ref"]
    paper = await write_document(client, shop, contract_ref, issue_date=date(2023, 2, 1))
    for kind in ("PDF", "HTML"):
        await write_file(client, paper, kind, b"private")
    return {
        "entity_ref": client.ok("GET", "/api/entities/names")["entities"][0]["entity_ref"],
        "customer_ref": shop.customer_ref,
        "usage_product_ref": shop.meter_ref,
        "pricing_ref": shop.pricing_ref,
        "product_ref": client.ok("GET", "/api/products")[0]["product_ref"],
        "contract_ref": contract_ref,
        "invoice_ref": paper.ref,
        "line_item_ref": shop.line_refs["Seats"],
    }


def test_the_matrix_below_names_every_route() -> None:
    creates = {("POST", path) for path in CREATES}
    lists = {("GET", path) for path in LISTS}
    elsewhere = COMPUTED | REPORTS | ALERTS | UPLOADS | FORMATS | LINES | SETTINGS | LATER | DEEDS
    elsewhere |= WEBHOOKS | PAYMENTS | PRICINGS | JOURNAL | TOTALS
    assert set(routes()) == set(NAMED) | lists | creates | elsewhere


async def test_what_is_named_by_its_ref_exists_for_its_own_tenant_alone(
    client: Client, stranger: Client
) -> None:
    refs = await refs_of(client)
    for (verb, template), status in NAMED.items():
        path = template.format(**refs)
        is_close = "close" in path and verb == "POST"
        body = {"through": "2023-01-31"} if is_close else PUT_BODIES.get(template)
        theirs = stranger.send(verb, path, body)
        assert theirs.status_code == status, path
        assert theirs.headers["Content-Type"] == "application/problem+json"
        assert client.send(verb, path, body).ok, path


async def test_lists_show_what_the_tenant_has_made_itself(client: Client, stranger: Client) -> None:
    refs = await refs_of(client)
    query = {
        "customer_ref": refs["customer_ref"],
        "customer_refs": refs["customer_ref"],
        "contract_refs": refs["contract_ref"],
        "pageSize": "9",
        "pageNumber": "0",
        "page": "0",
        "limit": "9",
    }
    needed = {
        "/api/usage/products": {"limit"},
        "/api/contracts/filter": {"customer_ref", "pageSize", "pageNumber"},
        "/api/documents/filter": {"customer_refs", "contract_refs", "limit", "page"},
    }
    own = client.tenant_id
    for path in LISTS:
        names = needed.get(path, set())
        sent = {name: value for name, value in query.items() if name in names}
        mine = client.send("GET", path, query=sent).text
        theirs = stranger.send("GET", path, query=sent)
        assert theirs.ok, theirs.text
        shown = [ref for ref in refs.values() if ref in mine]
        assert shown, (path, own)
        assert not [ref for ref in refs.values() if ref in theirs.text], path


async def test_nobody_builds_on_what_belongs_to_another_tenant(
    client: Client, stranger: Client
) -> None:
    refs = await refs_of(client)
    own = make_shop(stranger)
    customer = {"name": "N", "email": "a@b.example", "entity_ref": refs["entity_ref"]}
    wrong = stranger.refused("POST", "/api/customers", customer)
    assert wrong == {"/entity_ref": "entity_unknown"}
    product = product_body(refs["usage_product_ref"], product_name="Mine")
    assert set(stranger.refused("POST", "/api/products", product).values()) == {
        "usage_product_unknown"
    }
    body = contract_body(own) | {"customer_ref": refs["customer_ref"]}
    assert stranger.refused("POST", "/api/contracts", body) == {"/customer_ref": "customer_unknown"}
    body = contract_body(
        own, product_pricing_ref=refs["pricing_ref"], entity_ref=refs["entity_ref"]
    )
    assert stranger.refused("POST", "/api/contracts", body) == {
        "/products/0/pricing_ref": "pricing_unknown",
        "/products/0/entity_ref": "entity_unknown",
    }
    lines = [{"line_item_ref": refs["line_item_ref"]}]
    assert stranger.refused("POST", "/api/contracts", contract_body(own, line_items=lines)) == {
        "/products/0/line_items/0/line_item_ref": "line_item_unknown"
    }


@pytest.mark.parametrize(
    ("scope", "verb", "path", "status"),
    [
        ("usage:write", "GET", "/api/customers/names", 403),
        ("billing:read", "POST", "/api/customers", 403),
        ("billing:read", "POST", "/api/contracts", 403),
        ("billing:read", "GET", "/api/customers/names", 200),
        ("billing:read", "GET", "/api/usage/products", 403),
        ("usage:read", "GET", "/api/usage/products", 200),
    ],
)
async def test_a_key_does_what_its_scopes_allow(
    gateway: Gateway, scope: str, verb: str, path: str, status: int
) -> None:
    body = {"name": "N", "email": "a@b.example"} if path == "/api/customers" else None
    if path == "/api/contracts":
        ref = "00000000-0000-4000-8000-000000000001"
        terms = {
            "pricing_ref": ref,
            "billing_start_date": "2023-01-01",
            "billing_end_date": "2023-12-31",
        }
        body = {"customer_ref": ref, "products": [terms]}  # type: ignore[dict-item]
    limited = await make_tenant(gateway, scope)
    assert limited.send(verb, path, body).status_code == status


def test_nothing_is_answered_without_a_token(client: Client) -> None:
    for verb, template in routes():
        path = template.replace("{", "").replace("}", "")
        answer = client.send(verb, path, {}, Authorization="Bearer forged")
        assert answer.status_code == 401, path


async def test_the_database_hides_other_tenants_from_a_query_that_forgets_to(
    client: Client, stranger: Client
) -> None:
    await refs_of(client)
    await refs_of(stranger)
    tables = await client.fetch(
        "SELECT DISTINCT relname::text AS name FROM pg_class JOIN pg_attribute "
        "ON attrelid = pg_class.oid WHERE relnamespace = 'public'::regnamespace "
        "AND relkind IN ('r', 'p') AND NOT relispartition AND attname = 'tenant_id' "
        "AND relname NOT IN ('rater_outbox')"
    )
    async with open_pool(client.postgres, service="test") as pool:
        for table in tables:
            count = f'SELECT count(*) FROM "{table["name"]}" WHERE tenant_id <> $1'
            async with tenant_transaction(pool, client.tenant_id) as connection:
                assert await connection.fetchval(count, client.tenant_id) == 0, table["name"]
        async with tenant_transaction(pool, client.tenant_id) as connection:
            assert await connection.fetchval("SELECT count(*) FROM customer") == 1


async def test_the_database_takes_no_row_of_another_tenant(
    client: Client, stranger: Client
) -> None:
    statement = (
        "INSERT INTO meter (tenant_id, usage_product_ref, name, aggregation) "
        "VALUES ($1, gen_random_uuid(), 'smuggled', 'SUM')"
    )
    async with open_pool(client.postgres, service="test") as pool:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with tenant_transaction(pool, client.tenant_id) as connection:
                await connection.execute(statement, stranger.tenant_id)
