"""Contracts over HTTP: settled terms, what the rater is told, and closing at a call."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID
from zoneinfo import ZoneInfo

import asyncpg
import pytest

from schemas.event_ref import shard_key, shard_key_of
from tests.conftest import TEST_PARTITIONS
from tests.integration.manage.clients import PAID_AT, Client
from tests.integration.manage.shop import Shop, contract_body, make_shop, product_body

NOWHERE = "00000000-0000-4000-8000-00000000dead"


def sign(client: Client, shop: Shop, **product: object) -> str:
    body = contract_body(shop, **product)
    ref: str = client.ok("POST", "/api/contracts/", body)["contract_ref"]
    return ref


def today_in(zone: str) -> date:
    return datetime.now(UTC).astimezone(ZoneInfo(zone)).date()


def test_a_short_contract_takes_its_terms_from_customer_and_entity(client: Client) -> None:
    shop = make_shop(client, tax="8.875", currency="EUR")
    contract = client.ok("GET", f"/api/contracts/{sign(client, shop)}")
    assert contract["customer_ref"] == shop.customer_ref
    assert contract["contract_number"] == 1
    assert (contract["state"], contract["closing"]) == ("ACTIVE", "AUTOMATIC")
    (product,) = contract["products"]
    assert product["pricing_ref"] == shop.pricing_ref
    assert product["billing_cycle"] == {"unit": "MONTHLY", "cycle": 1}
    assert (product["currency"], product["timezone"]) == ("EUR", "America/New_York")
    assert (product["tax"], product["discount"], product["net_terms"]) == (8.875, 0, 30)
    assert [line["item"] for line in product["line_items"]] == ["Seats", "Calls", "Units"]


def test_every_field_comes_back(client: Client) -> None:
    shop = make_shop(client)
    entity = {"name": "EU Entity", "timezone": "Europe/Berlin", "net_terms": 14} | PAID_AT
    entity_ref = client.ok("POST", "/api/entities", entity)["entity_ref"]
    sent = {
        "billing_end_date": "2024-01-31",
        "line_items": [{"line_item_ref": shop.line_refs["Calls"], "item": "Calls"}],
        "entity_ref": entity_ref,
        "billing_cycle": {"unit": "QUARTERLY", "cycle": 2},
        "issue_day": "2023-02-10",
        "payment_time": "AFTER_USE",
        "tax": 17,
        "discount": 10.5,
        "net_terms": "DUE_UPON_RECEIPT",
        "minimum_fee": 99.95,
        "note": "special offer",
        "commitments": [{"over": "PERIOD", "amount": 20.5}, {"over": "CONTRACT", "amount": 1000}],
        "credits": [
            {"amount": 50, "every": "ONCE"},
            {
                "name": "each month",
                "amount": 5.25,
                "priority": 7,
                "starts": "2023-02-01",
                "expires": "2023-12-31",
                "every": "PERIOD",
                "roll_over": 1,
            },
        ],
        "billing_bank_transfer_details": {"billing_account_id": "account-1"},
        "billing_online_payment_details": {
            "auto_charge": True,
            "payment_gateway_id": "gateway-1",
            "payment_gateway_card_id": "card_1",
        },
        "billing_crypto_details": {"address": "0xaa", "tokens": ["USDC"]},
    }
    contract = client.ok("GET", f"/api/contracts/{sign(client, shop, **sent)}")
    (product,) = contract["products"]
    assert {name: product[name] for name in sent} == sent
    assert product["timezone"] == "Europe/Berlin"
    path = f"/api/contracts/credits/{contract['contract_ref']}"
    once, renewed = client.ok("GET", path)["credits"]
    assert (once["starts"], once["expires"], once["draws"]) == ("2023-01-01", None, [])
    assert (once["granted"], once["drawn"], once["expired"], once["left"]) == (50, 0, 0, 50)
    # Three periods: of each one's 5.25, and of what has come with it, 1 goes into the next.
    assert (renewed["granted"], renewed["expired"], renewed["left"]) == (15.75, 9.5, 6.25)
    assert client.send("GET", path.replace("-", "0")).status_code == 404


def test_a_tiers_ref_selects_the_whole_item(client: Client) -> None:
    shop = make_shop(client)
    tier = client.ok("GET", "/api/products")[0]["line_items"][3]
    assert tier["parent_line_item_ref"] == shop.line_refs["Units"]
    lines = [{"line_item_id": tier["line_item_ref"]}, {"line_item_id": shop.line_refs["Seats"]}]
    contract = client.ok("GET", f"/api/contracts/{sign(client, shop, line_items=lines)}")
    assert [line["item"] for line in contract["products"][0]["line_items"]] == ["Seats", "Units"]


def test_a_pricings_minimum_fee_holds_unless_the_contract_has_its_own(client: Client) -> None:
    shop = make_shop(client)
    made = client.ok(
        "POST", "/api/products", product_body(shop.meter_ref, product_name="X", minimum_fee="50")
    )
    for own, settled in ((None, 50), (0, 0), ("70.5", 70.5)):
        ref = sign(client, shop, product_pricing_ref=made["pricing_ref"], minimum_fee=own)
        contract = client.ok("GET", f"/api/contracts/{ref}")
        assert contract["products"][0]["minimum_fee"] == settled


def test_a_full_time_stands_for_the_day_in_the_entitys_zone(client: Client) -> None:
    shop = make_shop(client)
    ref = sign(client, shop, billing_start_date="2023-02-01T03:00:00Z")
    contract = client.ok("GET", f"/api/contracts/{ref}")
    assert contract["products"][0]["billing_start_date"] == "2023-01-31"


@pytest.mark.parametrize(
    ("mode", "groups"), [("COLLECTIVE", [0, 1, 0, 0]), ("PER_PRODUCT", [0, 1, 2, 3])]
)
async def test_products_share_a_document_when_all_that_it_has_once_is_equal(
    client: Client, mode: str, groups: list[int]
) -> None:
    wire = {"billing_account_id": "account-1"}
    shop = make_shop(client, billing_bank_transfer_details=wire)
    body = contract_body(shop)
    (terms,) = body["products"]
    body["invoice_mode"] = mode
    body["products"] = [
        terms,
        terms | {"net_terms": 45},
        terms | {"net_terms": "30"},
        terms | {"billing_bank_transfer_details": wire},
    ]
    client.ok("POST", "/api/contracts", body)
    rows = await client.fetch(
        "SELECT document_group FROM contract_product WHERE tenant_id = $1 ORDER BY position",
        client.tenant_id,
    )
    assert [row["document_group"] for row in rows] == groups


def test_one_answer_names_everything_that_does_not_exist(client: Client) -> None:
    shop = make_shop(client)
    draft = product_body(shop.meter_ref, product_name="Draft", publish=False)
    draft_ref = client.ok("POST", "/api/products", draft)["pricing_ref"]
    body = contract_body(shop)
    (terms,) = body["products"]
    body["products"] = [
        terms | {"product_pricing_ref": NOWHERE, "entity_ref": NOWHERE},
        terms
        | {"line_items": [{"line_item_id": shop.line_refs["Seats"]}, {"line_item_id": NOWHERE}]},
        terms | {"product_pricing_ref": draft_ref},
        terms | {"billing_end_date": "2022-12-31"},
    ]
    assert client.refused("POST", "/api/contracts", body) == {
        "/products/0/pricing_ref": "pricing_unknown",
        "/products/0/entity_ref": "entity_unknown",
        "/products/1/line_items/1/line_item_ref": "line_item_unknown",
        "/products/2/pricing_ref": "pricing_not_published",
        "/products/3/billing_end_date": "dates_crossed",
    }


def test_a_price_in_another_currency_cannot_be_sold(client: Client) -> None:
    shop = make_shop(client)
    line = {"item": "Fee", "model": "FLAT", "price": "1", "currency": "GBP"}
    product = product_body("", product_name="British", line_items=[line])
    pricing_ref = client.ok("POST", "/api/products", product)["pricing_ref"]
    body = contract_body(shop, product_pricing_ref=pricing_ref)
    assert client.refused("POST", "/api/contracts", body) == {
        "/products/0/pricing_ref": "currency_mismatch"
    }


def test_a_contract_needs_a_customer_that_exists(client: Client) -> None:
    shop = make_shop(client)
    body = contract_body(shop) | {"customer_ref": NOWHERE}
    assert client.refused("POST", "/api/contracts", body) == {"/customer_ref": "customer_unknown"}


async def test_refs_live_where_the_customer_does(client: Client) -> None:
    shop = make_shop(client)
    contract_ref = sign(client, shop)
    place = shard_key(shop.customer_ref)
    rows = await client.fetch(
        "SELECT contract_product_ref AS ref FROM contract_product WHERE contract_ref = $1 "
        "UNION ALL SELECT contract_line_ref FROM contract_line WHERE shard_key = $2",
        UUID(contract_ref),
        place,
    )
    refs = [UUID(contract_ref), *(row["ref"] for row in rows)]
    assert len(refs) == 5
    assert {shard_key_of(ref.int) for ref in refs} == {place}


async def test_the_partitions_owner_is_told_of_every_contract_in_order(client: Client) -> None:
    shop = make_shop(client)
    refs = [UUID(sign(client, shop)) for _ in range(3)]
    changes = await client.fetch(
        "SELECT * FROM partition_change WHERE tenant_id = $1 ORDER BY reference_version",
        client.tenant_id,
    )
    assert [change["contract_ref"] for change in changes] == refs
    assert {change["kind"] for change in changes} == {"CONTRACT"}
    assert {change["recorded_offset"] for change in changes} == {0}
    (partition,) = {change["partition"] for change in changes}
    assert partition == shard_key(shop.customer_ref) % TEST_PARTITIONS
    (row,) = await client.fetch(
        "SELECT reference_version FROM rater_partition WHERE partition = $1", partition
    )
    assert row["reference_version"] == changes[-1]["reference_version"]


async def test_a_contract_waits_for_the_poll_that_is_being_rated(client: Client) -> None:
    shop = make_shop(client)
    partition = shard_key(shop.customer_ref) % TEST_PARTITIONS
    rater = await asyncpg.connect(client.postgres)
    try:
        async with rater.transaction():
            await rater.execute(
                "UPDATE rater_partition SET next_offset = next_offset + 7, rated = rated + 7 "
                "WHERE partition = $1",
                partition,
            )
            signing = asyncio.ensure_future(asyncio.to_thread(sign, client, shop))
            waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            async with asyncio.timeout(10):
                while (await client.fetch(waiting))[0][0] == 0:
                    assert not signing.done()
        contract_ref = await signing
    finally:
        await rater.close()
    (change,) = await client.fetch(
        "SELECT recorded_offset FROM partition_change WHERE contract_ref = $1", UUID(contract_ref)
    )
    assert change["recorded_offset"] >= 7


async def test_contracts_made_at_once_are_numbered_without_gap_or_repeat(client: Client) -> None:
    shop = make_shop(client)
    async with asyncio.TaskGroup() as group:
        for _ in range(12):
            group.create_task(asyncio.to_thread(sign, client, shop))
    rows = await client.fetch(
        "SELECT contract_number FROM contract WHERE tenant_id = $1 ORDER BY 1", client.tenant_id
    )
    assert [row["contract_number"] for row in rows] == list(range(1, 13))


def test_a_refused_contract_leaves_nothing_behind(client: Client) -> None:
    shop = make_shop(client)
    client.refused("POST", "/api/contracts", contract_body(shop, billing_end_date="2022-01-01"))
    page = {"customer_ref": shop.customer_ref, "pageSize": "20", "pageNumber": "0"}
    assert client.ok("GET", "/api/contracts/filter", None, **page) == []
    sign(client, shop)
    (contract,) = client.ok("GET", "/api/contracts/filter", None, **page)
    assert contract["contract_number"] == 1


def test_a_customers_contracts_come_page_by_page(client: Client) -> None:
    shop, other = (
        make_shop(client),
        client.ok("POST", "/api/customers", {"name": "Other", "email": "o@o.example"}),
    )
    refs = [sign(client, shop) for _ in range(3)]
    path = "/api/contracts/filter"
    page = {"customer_ref": shop.customer_ref, "pageSize": "2"}
    first = client.ok("GET", path, None, **page, pageNumber="0")
    second = client.ok("GET", path, None, **page, pageNumber="1")
    assert [contract["contract_ref"] for contract in first + second] == refs
    assert len(first) == 2
    theirs = {"customer_ref": other["customer_ref"], "pageSize": "2", "pageNumber": "0"}
    assert client.ok("GET", path, None, **theirs) == []
    assert client.refused("GET", path) == {
        "/customer_ref": "required",
        "/pageSize": "required",
        "/pageNumber": "required",
    }


# ---------------------------------------------------------------- closing


async def test_a_close_is_passed_on_and_its_progress_told(client: Client) -> None:
    shop = make_shop(client)
    contract_ref = sign(client, shop)
    path = f"/api/contracts/close/{contract_ref}"
    idle = client.ok("GET", path)
    assert (idle["state"], idle["requests"]) == ("DONE", [])
    answer = client.send("POST", path, {"through": "2023-01-31"})
    assert answer.status_code == 202
    progress = answer.json()
    assert (progress["state"], progress["periods_closed"]) == ("PENDING", 0)
    assert progress["requests"][0]["through"] == "2023-01-31"
    assert client.ok("GET", path) == progress
    await report_done(client, contract_ref, periods_closed=1)
    progress = client.ok("GET", path + "/")
    assert (progress["state"], progress["periods_closed"]) == ("DONE", 1)
    assert progress["requests"][0]["finished_at"].endswith("Z")


async def report_done(client: Client, contract_ref: str, periods_closed: int) -> None:
    """Say what the rater says when it has closed the periods."""
    await client.fetch(
        "INSERT INTO partition_task (partition, reference_version, kind, state, shard_key, "
        "tenant_id, customer_id, contract_ref, periods_closed, finished_at) "
        "SELECT partition, reference_version, kind, 'DONE', shard_key, tenant_id, customer_id, "
        "contract_ref, $2, now() FROM partition_change "
        "WHERE contract_ref = $1 AND kind = 'CLOSE'",
        UUID(contract_ref),
        periods_closed,
    )


def test_only_days_that_are_over_can_be_closed(client: Client) -> None:
    shop = make_shop(client)
    path = f"/api/contracts/close/{sign(client, shop)}"
    today = today_in("America/New_York")
    tomorrow = str(today + timedelta(days=1))
    assert client.refused("POST", path, {"through": tomorrow}) == {"/through": "date_in_future"}
    progress = client.ok("POST", path, {"through": str(today)})
    assert progress["requests"][0]["through"] == str(today - timedelta(days=1))


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({}, {"/through": "required"}),
        ({"through": "soon"}, {"/through": "date_malformed"}),
        ({"through": "2023-01-31", "force": True}, {"/force": "unknown_field"}),
    ],
)
def test_a_close_that_makes_no_sense_is_refused(
    client: Client, body: dict[str, object], wrong: dict[str, str]
) -> None:
    path = f"/api/contracts/close/{sign(client, make_shop(client))}"
    assert client.refused("POST", path, body) == wrong


async def test_tax_and_discount_are_stored_exactly(client: Client) -> None:
    shop = make_shop(client)
    contract_ref = sign(client, shop, tax="8.875", discount="33.333333333333333333")
    (row,) = await client.fetch(
        "SELECT tax, discount FROM contract_product WHERE contract_ref = $1", UUID(contract_ref)
    )
    assert tuple(row) == (Decimal("8.875"), Decimal("33.333333333333333333"))


@pytest.mark.long
async def test_a_contract_does_not_wait_for_ever_for_a_rater_that_hangs(client: Client) -> None:
    shop = make_shop(client)
    rater = await asyncpg.connect(client.postgres)
    try:
        async with rater.transaction():
            await rater.execute("SELECT FROM rater_partition FOR UPDATE")
            body = contract_body(shop)
            answer = await asyncio.to_thread(client.send, "POST", "/api/contracts", body)
        assert answer.status_code == 503
        assert answer.json()["code"] == "partition_busy"
        assert int(answer.headers["Retry-After"]) > 0
    finally:
        await rater.close()
    sign(client, shop)


@pytest.mark.parametrize(
    ("said", "closes_after"),
    [({}, True), ({"closing": "AUTOMATIC"}, False), ({"closing": "MANUAL"}, False)],
)
async def test_what_had_ended_is_closed_by_the_clock_only_when_that_is_said(
    client: Client, said: dict[str, str], closes_after: bool
) -> None:
    body = contract_body(make_shop(client)) | said
    contract_ref = client.ok("POST", "/api/contracts/", body)["contract_ref"]
    (row,) = await client.fetch(
        "SELECT closing, closes_after = created_at AS is_now FROM contract WHERE contract_ref = $1",
        UUID(contract_ref),
    )
    assert tuple(row) == (said.get("closing", "AUTOMATIC"), True if closes_after else None)


def test_a_contract_is_paid_where_its_entity_is_paid(client: Client) -> None:
    shop = make_shop(client)
    entity_ref = client.ok("POST", "/api/entities", {"name": "Elsewhere"})["entity_ref"]
    ways = {
        "billing_bank_transfer_details": {"billing_account_id": "account-1"},
        "billing_online_payment_details": {"payment_gateway_id": "gateway-1"},
    }
    client.ok("POST", "/api/contracts", contract_body(shop, **ways))
    body = contract_body(shop, entity_ref=entity_ref, **ways)
    assert client.refused("POST", "/api/contracts", body) == {
        "/products/0/billing_bank_transfer_details/billing_account_id": "billing_account_unknown",
        "/products/0/billing_online_payment_details/payment_gateway_id": "payment_gateway_unknown",
    }
