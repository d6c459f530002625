"""Customers over HTTP: what is kept, what is answered, and what is left to the entity."""

import json
from decimal import Decimal
from uuid import UUID

import asyncpg
import pytest
import requests

from tests.integration.manage.clients import Client

SMALLEST = {"name": "Northwind", "email": "ap@northwind.example, cfo@northwind.example"}


def test_the_smallest_customer_takes_entity_and_currency_from_its_tenant(client: Client) -> None:
    made = client.ok("POST", "/api/customers", SMALLEST)
    assert list(made) == ["customer_ref"]
    customer = client.ok("GET", f"/api/customers/{made['customer_ref']}")
    assert customer["name"] == "Northwind"
    assert customer["email"] == SMALLEST["email"]
    assert (customer["entity_name"], customer["currency"]) == ("US Entity", "USD")
    assert customer["net_terms"] is None
    assert customer["created_at"].endswith("Z")


def test_every_field_comes_back_as_it_was_sent(client: Client) -> None:
    sent = {
        "name": "Northwind",
        "legal_name": "Northwind Inc.",
        "email": "ap@northwind.example",
        "ein": "12-3456789",
        "phone": {"countryCode": "1", "phone": "2121234567"},
        "country": "United States",
        "country_state": "NY",
        "city": "New York",
        "zip_code": "10001",
        "billing_address": "1 Main St",
        "shipping_address": "2 Main St",
        "currency": "EUR",
        "tax": 17,
        "entity_name": "us entity",
        "net_terms": 45,
        "billing_bank_transfer_details": {"billing_account_id": "account-1"},
        "billing_online_payment_details": {
            "auto_charge": True,
            "payment_gateway_id": "gateway-1",
            "payment_gateway_card_id": "card_1",
        },
        "billing_crypto_details": {"address": "0xaa", "tokens": ["BTC", "ETH"]},
        "settings": {"attach_usage_logs_csv": False, "attach_usage_logs_pdf": True},
        "icon_data": "string",
        "external_id": "crm-7",
        "timezone": "Europe/Dublin",
        "locale": "en-IE",
        "is_partner": True,
        "partner_kind": "reseller",
    }
    made = client.ok("POST", "/api/customers", sent)
    customer = client.ok("GET", f"/api/customers/{made['customer_ref']}")
    shown = {name: customer[name] for name in sent}
    assert shown == sent | {"entity_name": "US Entity"}


def test_numbers_are_answered_as_texts_where_the_api_says_text(client: Client) -> None:
    sent = SMALLEST | {"ein": 123456789, "zip-code": 10001, "phone": 2121234567, "country_code": 1}
    made = client.ok("POST", "/api/customers", sent)
    customer = client.ok("GET", f"/api/customers/{made['customer_ref']}")
    assert (customer["ein"], customer["zip_code"]) == ("123456789", "10001")
    assert customer["phone"] == {"phone": "2121234567", "countryCode": "1"}


def test_the_misspelt_names_of_settings_are_taken(client: Client) -> None:
    settings = {"attach_useage_logs_csv": "true", "attach_useage_logs_pdf": False}
    made = client.ok("POST", "/api/customers", SMALLEST | {"settings": settings})
    assert "warnings" not in made
    customer = client.ok("GET", f"/api/customers/{made['customer_ref']}")
    assert customer["settings"] == {"attach_usage_logs_csv": True, "attach_usage_logs_pdf": False}


def test_a_tax_keeps_every_digit(client: Client) -> None:
    body = b'{"name": "N", "email": "a@b.example", "tax": 8.875000000000000001}'
    made = requests.post(
        client.url + "/api/customers", data=body, headers=client.headers, timeout=30
    ).json()
    path = f"/api/customers/{made['customer_ref']}"
    assert b'"tax":8.875000000000000001,' in client.send("GET", path).content


def test_a_form_makes_a_customer_too(client: Client) -> None:
    answer = requests.post(
        client.url + "/api/customers",
        data={
            "name": "Northwind",
            "email": "ap@northwind.example",
            "phone[countryCode]": "1",
            "phone[phone]": "2121234567",
            "billing_crypto_details[address]": "0xaa",
            "billing_crypto_details[tokens][]": ["BTC", "ETH"],
            "settings": '{"attach_usage_logs_csv": true}',
        },
        headers=client.headers,
        timeout=30,
    )
    assert answer.ok, answer.text
    customer = client.ok("GET", f"/api/customers/{answer.json()['customer_ref']}")
    assert customer["phone"] == {"phone": "2121234567", "countryCode": "1"}
    assert customer["billing_crypto_details"] == {"address": "0xaa", "tokens": ["BTC", "ETH"]}
    assert customer["settings"]["attach_usage_logs_csv"] is True


def test_one_answer_names_every_wrong_field(client: Client) -> None:
    wrong = client.refused(
        "POST",
        "/api/customers",
        {
            "email": "nobody",
            "currency": "usd",
            "tax": "-1",
            "country": "Atlantis",
            "net_terms": 0,
            "phone": {"phone": "12"},
            "entity_ref": "x",
        },
    )
    assert wrong == {
        "/name": "required",
        "/email": "email_malformed",
        "/currency": "currency_unknown",
        "/tax": "percent_out_of_range",
        "/country": "country_unknown",
        "/net_terms": "net_terms_malformed",
        "/phone/phone": "phone_malformed",
        "/entity_ref": "ref_malformed",
    }


@pytest.mark.parametrize(
    ("named", "pointer"),
    [
        ({"entity_ref": "00000000-0000-4000-8000-00000000dead"}, "/entity_ref"),
        ({"entity_name": "Nobody Ltd"}, "/entity_name"),
    ],
)
def test_an_entity_that_does_not_exist_is_refused(
    client: Client, named: dict[str, str], pointer: str
) -> None:
    wrong = client.refused("POST", "/api/customers", SMALLEST | named)
    assert wrong == {pointer: "entity_unknown"}


def test_an_unknown_field_is_a_warning_unless_the_client_is_strict(client: Client) -> None:
    sent = SMALLEST | {"curency": "USD"}
    answer = client.ok("POST", "/api/customers", sent)
    (warning,) = answer["warnings"]
    assert warning["pointer"] == "/curency"
    assert warning["detail"] == "is unknown; did you mean 'currency'?"
    strict = client.send("POST", "/api/customers", sent, Prefer='return=minimal, Handling="strict"')
    assert strict.status_code == 400
    assert strict.json()["errors"][0]["pointer"] == "/curency"


def test_names_are_listed_and_filtered_ignoring_case(client: Client) -> None:
    refs = {
        name: client.ok("POST", "/api/customers", SMALLEST | {"name": name})["customer_ref"]
        for name in ("Northwind", "Acme", "north star")
    }
    everyone = client.ok("GET", "/api/customers/names")["customers"]
    assert [row["customer_name"] for row in everyone] == ["Acme", "north star", "Northwind"]
    assert everyone[0] == {
        "customer_ref": refs["Acme"],
        "customer_name": "Acme",
        "customer_legal_name": None,
    }
    path = "/api/customers/names/filter"
    found = client.ok("GET", path, customer_name="NORTH", orderBy="name", order="DESC")
    assert [row["customer_name"] for row in found["customers"]] == ["Northwind", "north star"]
    assert (found["count"], found["total"]) == (2, 2)
    page = client.ok("GET", path, customer_name="north", pageSize="1", pageNumber="1")
    assert [row["customer_name"] for row in page["customers"]] == ["Northwind"]
    assert (page["count"], page["total"]) == (1, 2)
    assert client.refused("GET", path, orderBy="email") == {"/orderBy": "value_unknown"}


@pytest.mark.parametrize("ref", ["00000000-0000-4000-8000-00000000dead", "names-of-nobody"])
def test_a_customer_that_does_not_exist_is_not_found(client: Client, ref: str) -> None:
    answer = client.send("GET", f"/api/customers/{ref}")
    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/problem+json"


async def test_what_is_stored_can_be_read_with_psql(client: Client) -> None:
    made = client.ok("POST", "/api/customers", SMALLEST | {"tax": "8.875"})
    (row,) = await client.fetch(
        "SELECT name, tax, currency FROM customer WHERE customer_ref = $1",
        UUID(made["customer_ref"]),
    )
    assert tuple(row) == ("Northwind", Decimal("8.875"), "USD")


WAYS_TO_PAY = {
    "billing_bank_transfer_details": {"billing_account_id": "account-1"},
    "billing_online_payment_details": {"payment_gateway_id": "gateway-1"},
}
UNKNOWN_WAYS = {
    "/billing_bank_transfer_details/billing_account_id": "billing_account_unknown",
    "/billing_online_payment_details/payment_gateway_id": "payment_gateway_unknown",
}


def test_a_customer_pays_where_its_entity_is_paid(client: Client) -> None:
    client.ok("POST", "/api/entities", {"name": "Elsewhere"})
    made = client.ok("POST", "/api/customers", SMALLEST | WAYS_TO_PAY)
    moved = SMALLEST | WAYS_TO_PAY | {"entity_name": "Elsewhere"}
    assert client.refused("POST", "/api/customers", moved) == UNKNOWN_WAYS
    path = f"/api/customers/{made['customer_ref']}"
    assert client.refused("PUT", path, moved) == UNKNOWN_WAYS
    unknown = SMALLEST | {"billing_bank_transfer_details": {"billing_account_id": "account-2"}}
    assert list(client.refused("PUT", path, unknown).values()) == ["billing_account_unknown"]
    client.ok("PUT", path, client.ok("GET", path))
    assert client.ok("PUT", path, SMALLEST | {"entity_name": "Elsewhere"})["entity_name"] == (
        "Elsewhere"
    )


def test_a_tax_id_that_cannot_be_is_refused_where_the_country_says_so(client: Client) -> None:
    wrong = SMALLEST | {"country": "Germany", "ein": "DE136695978"}
    assert client.refused("POST", "/api/customers", wrong) == {"/ein": "tax_id_malformed"}
    client.ok("POST", "/api/customers", wrong | {"ein": "HRB 1"})


@pytest.mark.parametrize(
    ("part", "names"),
    [
        ("%", ["50% Off"]),
        ("_", ["under_score"]),
        ("\\", ["back\\slash"]),
        ("ÉCLA", ["Éclair"]),
        ("0% o", ["50% Off"]),
        ("o", ["50% Off", "under_score"]),
        ("'", []),
    ],
)
def test_a_part_of_a_name_is_plain_text(client: Client, part: str, names: list[str]) -> None:
    for name in ("50% Off", "under_score", "back\\slash", "Éclair"):
        client.ok("POST", "/api/customers", SMALLEST | {"name": name})
    path = "/api/customers/names/filter"
    for order, expected in (("ASC", names), ("DESC", names[::-1])):
        found = client.ok("GET", path, None, customer_name=part, order=order)
        assert [row["customer_name"] for row in found["customers"]] == expected
        assert (found["count"], found["total"]) == (len(names), len(names))


async def test_a_name_is_found_by_index_however_many_customers_there_are(
    client: Client, stranger: Client
) -> None:
    await client.fetch(
        "INSERT INTO customer (shard_key, customer_ref, tenant_id, entity_id, name, email, "
        "currency) SELECT number, gen_random_uuid(), tenant_id, entity_id, "
        "'Customer ' || md5(number::text), 'a@b.example', 'USD' "
        "FROM entity, generate_series(1, 20000) AS number WHERE tenant_id = $1",
        client.tenant_id,
    )
    await client.fetch("ANALYZE customer")
    client.ok("POST", "/api/customers", SMALLEST)
    stranger.ok("POST", "/api/customers", SMALLEST)
    found = client.ok("GET", "/api/customers/names/filter", None, customer_name="ORTHWI")
    assert [row["customer_name"] for row in found["customers"]] == ["Northwind"]
    assert (found["count"], found["total"]) == (1, 1)
    pages = await client.fetch("SELECT relpages FROM pg_class WHERE relname = 'customer'")
    for call in ("count_customers_named('orthwi')", "customers_named('orthwi', 'ASC', 9, 0)"):
        assert await blocks_read(client, call) < pages[0]["relpages"] / 4, call


async def blocks_read(client: Client, call: str) -> int:
    """Return how many blocks a call reads, as its tenant calls it, once it has been planned."""
    connection = await asyncpg.connect(client.postgres)
    try:
        async with connection.transaction():
            tenant = str(client.tenant_id)
            await connection.execute("SELECT set_config('meterline.tenant_id', $1, true)", tenant)
            await connection.execute("SET LOCAL ROLE meterline_tenant")
            await connection.fetch(f"SELECT * FROM {call}")
            plan = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT * FROM {call}"
            (found,) = json.loads(await connection.fetchval(plan))
            return int(found["Plan"]["Shared Hit Blocks"] + found["Plan"]["Shared Read Blocks"])
    finally:
        await connection.close()


@pytest.mark.parametrize(
    ("sent", "pointer"),
    [
        ({"phone": {"countryCode": "999", "phone": "2121234567"}}, "/phone/countryCode"),
        ({"phone": {"country_code": "999", "phone": "2121234567"}}, "/phone/country_code"),
        ({"phone": "2121234567", "country_code": 999}, "/country_code"),
    ],
)
def test_a_calling_code_that_is_none_is_named_where_it_was_sent(
    client: Client, sent: dict[str, object], pointer: str
) -> None:
    wrong = client.refused("POST", "/api/customers", SMALLEST | sent)
    assert wrong == {pointer: "country_code_unknown"}


@pytest.mark.parametrize(
    ("country", "state", "hint"),
    [
        ("United States", "New Yrok", "did you mean 'New York'?"),
        ("AU", "Ontario", "is no state or territory of AU"),
        ("US", "NY", None),
        ("US", "us-ny", None),
        ("Canada", "québec", None),
        ("Germany", "Bavaria", None),
        (None, "Anywhere", None),
    ],
)
def test_a_state_that_its_country_does_not_have_is_a_warning(
    client: Client, country: str | None, state: str, hint: str | None
) -> None:
    body = {"name": "Acme", "email": "a@acme.example", "country": country, "country_state": state}
    answer = client.ok("POST", "/api/customers", body)
    shown = client.ok("GET", f"/api/customers/{answer['customer_ref']}")
    assert shown["country_state"] == state
    found = [(one["pointer"], one["detail"]) for one in answer.get("warnings", [])]
    if hint is None:
        assert found == []
    else:
        assert found[0][0] == "/country_state"
        assert hint in found[0][1]
