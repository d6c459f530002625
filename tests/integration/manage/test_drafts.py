"""A document is there to be read from the first event on, as it would be drawn up now."""

from datetime import date
from uuid import UUID, uuid4

import asyncpg

from schemas.document_ref import document_ref
from schemas.event_ref import shard_key_of
from tests.integration.manage.clients import Client
from tests.integration.manage.shop import Shop, contract_body, make_shop

CALLS_SO_FAR = "INSERT INTO charge (shard_key, charge_ref, tenant_id, period_ref, \
contract_line_ref, pricing_line_id, quantity, event_count, amount) \
SELECT l.shard_key, $3, l.tenant_id, $2, l.contract_line_ref, l.pricing_line_id, 1250, 7, 5 \
FROM contract_line l JOIN contract_product p USING (shard_key, contract_product_ref) \
JOIN pricing_line i ON i.tenant_id = l.tenant_id AND i.pricing_line_id = l.pricing_line_id \
WHERE p.contract_ref = $1 AND i.item = 'Calls'"


async def use_calls(client: Client, contract: UUID) -> UUID:
    """Write what the rater would for 1,250 calls in February; the ref of the charge."""
    period, charge = uuid4(), uuid4()
    connection = await asyncpg.connect(client.postgres)
    try:
        await connection.execute(
            "INSERT INTO billing_period (shard_key, period_ref, tenant_id, contract_product_ref, "
            "period_index, start_at, end_at, start_date, end_date, full_start_date, "
            "full_end_date, issue_date, is_partial) "
            "SELECT shard_key, $2, tenant_id, contract_product_ref, 1, "
            "timestamp '2023-02-01' AT TIME ZONE timezone, "
            "timestamp '2023-03-01' AT TIME ZONE timezone, "
            "'2023-02-01', '2023-03-01', '2023-02-01', '2023-03-01', "
            "'2023-03-01', false FROM contract_product WHERE contract_ref = $1",
            *(contract, period),
        )
        await connection.execute(CALLS_SO_FAR, contract, period, charge)
    finally:
        await connection.close()
    return charge


async def expected_ref(client: Client, contract: UUID, issue_date: date) -> UUID:
    connection = await asyncpg.connect(client.postgres)
    try:
        tenant_ref = await connection.fetchval(
            "SELECT tenant_ref FROM tenant WHERE tenant_id = $1", client.tenant_id
        )
    finally:
        await connection.close()
    return document_ref(str(tenant_ref), contract, 0, issue_date)


def make_contract(client: Client) -> tuple[Shop, UUID]:
    shop = make_shop(client, tax=10)
    body = contract_body(shop, discount=50)
    return shop, UUID(client.ok("POST", "/api/contracts", body)["contract_ref"])


async def test_a_draft_says_what_the_document_would(client: Client, stranger: Client) -> None:
    shop, contract = make_contract(client)
    ref = await expected_ref(client, contract, date(2023, 3, 1))
    path = f"/api/invoices/{ref}"
    before = client.ok("GET", path)  # two seats, and the flat fee of the first tier
    assert (before["state"], before["sub_total"], before["total"]) == ("DRAFT", 6005, 3302.75)
    charge = await use_calls(client, contract)
    draft = client.ok("GET", path)
    assert draft["invoice_ref"] == str(ref)
    assert draft["document_number"] is None
    assert draft["period"] == {"start": "2023-02-01", "end": "2023-03-01"}
    assert (draft["issue_date"], draft["customer"]["customer_name"]) == ("2023-03-01", "Northwind")
    assert draft["contract"]["contract_ref"] == str(contract)
    money = ("sub_total", "total_discount", "total_tax", "total")
    assert [draft[name] for name in money] == [6010, 3005, 300.5, 3305.5]
    (product,) = draft["products"]
    calls = next(line for line in product["lines"] if line["item"] == "Calls")
    assert (calls["quantity"], calls["amount"], calls["event_count"]) == (1250, 5, 7)
    assert (calls["charge_ref"], calls["line_item_ref"]) == (str(charge), shop.line_refs["Calls"])
    assert stranger.send("GET", path).status_code == 404


async def test_an_event_names_a_document_that_can_be_read(client: Client) -> None:
    shop, contract = make_contract(client)
    event = {
        "timestamp": "2023-02-10T12:00:00Z",
        "customer_ref": shop.customer_ref,
        "usage_product_ref": shop.meter_ref,
        "quantity": 3,
    }
    related = None
    while related is None:  # memory learns of the contract within moments
        related = client.ok("POST", "/api/usage/event", event)["related_document_ref"]
    assert related == str(await expected_ref(client, contract, date(2023, 3, 1)))
    assert client.ok("GET", f"/api/invoices/{related}")["state"] == "DRAFT"


async def test_there_is_no_draft_of_a_day_on_which_nothing_is_due(client: Client) -> None:
    _, contract = make_contract(client)
    for day in (date(2023, 3, 2), date(2024, 2, 1), date(2022, 12, 1)):
        ref = await expected_ref(client, contract, day)
        assert client.send("GET", f"/api/invoices/{ref}").status_code == 404
    ref = await expected_ref(client, uuid_in(contract), date(2023, 3, 1))
    assert client.send("GET", f"/api/invoices/{ref}").status_code == 404


def uuid_in(contract: UUID) -> UUID:
    """Return a ref that no contract has, of the same customer."""
    other = UUID(int=contract.int ^ 1)
    assert shard_key_of(other.int) == shard_key_of(contract.int)
    return other
