"""Entities over HTTP."""

import pytest

from tests.drawn_documents import LOGO
from tests.integration.manage.clients import Client

FULL = {
    "name": "EU Entity",
    "legal_name": "EU Entity GmbH",
    "email": "billing@entity.example",
    "registration_number": "HRB 1",
    "timezone": "Europe/Berlin",
    "currency": "EUR",
    "net_terms": 14,
    "document_number_format": "EU-{number}",
    "billing_details": {
        "billing_accounts": [
            {
                "billing_account_id": "account-1",
                "bank_name": "Bank",
                "iban": "DE89 3704 0044 0532 0130 00",
            },
            {"bank_name": "Other"},
        ],
        "payment_gateways": [{"provider": "STRIPE", "account_name": "main"}],
    },
    "country": "Germany",
    "country_state": "BE",
    "city": "Berlin",
    "address": "Unter den Linden 1",
    "phone": {"countryCode": "49", "phone": "3012345678"},
    "zip_code": "10117",
    "logo": LOGO,
    "accent_colour": "#0b6e4f",
    "locale": "de-DE",
}


def test_every_field_comes_back(client: Client) -> None:
    ref = client.ok("POST", "/api/entities", FULL)["entity_ref"]
    entity = client.ok("GET", f"/api/entities/{ref}/")
    details = entity["billing_details"]
    plain = {name: value for name, value in FULL.items() if name != "billing_details"}
    assert {name: entity[name] for name in plain} == plain
    assert details["billing_accounts"][0]["billing_account_id"] == "account-1"
    assert details["billing_accounts"][0]["iban"] == "DE89 3704 0044 0532 0130 00"
    assert details["billing_accounts"][1]["billing_account_id"]
    assert details["payment_gateways"][0]["provider"] == "STRIPE"
    assert details["payment_gateways"][0]["payment_gateway_id"]


def test_what_is_left_out_is_as_in_the_tenants_default_entity(client: Client) -> None:
    ref = client.ok("POST", "/api/entities", {"name": "Small"})["entity_ref"]
    entity = client.ok("GET", f"/api/entities/{ref}")
    assert entity["legal_name"] == "Small"
    assert (entity["timezone"], entity["currency"]) == ("America/New_York", "USD")
    assert entity["net_terms"] == 30
    assert entity["document_number_format"] == "INV-{year}-{number:03}"
    assert entity["billing_details"] == {"billing_accounts": [], "payment_gateways": []}


def test_names_are_listed_in_order(client: Client) -> None:
    ref = client.ok("POST", "/api/entities", FULL)["entity_ref"]
    entities = client.ok("GET", "/api/entities/names")["entities"]
    assert [entity["entity_name"] for entity in entities] == ["EU Entity", "US Entity"]
    assert entities[0] == {
        "entity_ref": ref,
        "entity_name": "EU Entity",
        "entity_legal_name": "EU Entity GmbH",
    }


def test_a_name_is_given_once(client: Client) -> None:
    answer = client.send("POST", "/api/entities", {"name": "us entity"})
    assert answer.status_code == 409
    assert answer.json()["code"] == "name_taken"


def test_one_answer_names_every_wrong_field_and_the_unknown_ones(client: Client) -> None:
    wrong = client.refused(
        "POST",
        "/api/entities",
        {
            "timezone": "Mars/Olympus",
            "net_terms": "DUE_UPON_USAGE",
            "document_number_format": "{number.real}",
            "billing_details": {"payment_gateways": [{"provider": "OTHER"}]},
            "tmezone": "UTC",
        },
    )
    assert wrong == {
        "/name": "required",
        "/timezone": "timezone_unknown",
        "/net_terms": "net_terms_malformed",
        "/document_number_format": "number_format_malformed",
        "/billing_details/payment_gateways/0/provider": "value_unknown",
        "/tmezone": "unknown_field",
    }


def test_banks_and_telephones_are_judged_by_those_who_know_them(client: Client) -> None:
    accounts = [
        {"billing_account_id": "one", "iban": "DE89 3704 0044 0532 0130 01"},
        {"billing_account_id": "one", "swift": "NWBKXX2L"},
        {"iban": "GB29 NWBK 6016 1331 9268 19", "swift": "NWBKGB2L"},
    ]
    gateways = [{"payment_gateway_id": "g"}, {"payment_gateway_id": "g"}]
    body = {
        "name": "Wrong",
        "billing_details": {"billing_accounts": accounts, "payment_gateways": gateways},
        "phone": {"countryCode": "49", "phone": "12345678901234567890"},
    }
    assert client.refused("POST", "/api/entities", body) == {
        "/billing_details/billing_accounts/0/iban": "iban_malformed",
        "/billing_details/billing_accounts/1/swift": "swift_malformed",
        "/billing_details/billing_accounts/1/billing_account_id": "id_repeated",
        "/billing_details/payment_gateways/1/payment_gateway_id": "id_repeated",
        "/phone/phone": "phone_impossible",
    }


def test_what_documents_look_like_is_looked_into(client: Client) -> None:
    bad = {"name": "Loud", "logo": "iVBORw0KGgo=", "accent_colour": "red", "locale": "xx-nowhere"}
    answer = client.send("POST", "/api/entities", bad)
    assert answer.status_code in {400, 422}
    problems = {error["pointer"]: error["code"] for error in answer.json()["errors"]}
    assert problems == {
        "/logo": "logo_malformed",
        "/accent_colour": "colour_malformed",
        "/locale": "locale_unknown",
    }


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({}, {"/country": "required", "/vat_id": "required"}),
        ({"country": "Germany"}, {"/vat_id": "required"}),
        ({"country": "Germany", "vat_id": "DE136695977"}, {"/vat_id": "vat_id_malformed"}),
        ({"country": "Germany", "vat_id": "136695976"}, {"/vat_id": "vat_id_malformed"}),
    ],
)
def test_an_entity_with_e_invoices_says_where_it_is_taxed(
    client: Client, fields: dict[str, str], wrong: dict[str, str]
) -> None:
    body = {"name": "Taxed", "e_invoice": "FACTUR_X", **fields}
    found = client.refused("POST", "/api/entities", body)
    assert found.items() >= wrong.items()
    good = {**body, "country": "DE", "vat_id": "de 136.695 976"}
    ref = client.ok("POST", "/api/entities", good)["entity_ref"]
    shown = client.ok("GET", f"/api/entities/{ref}")
    assert {name: shown[name] for name in good} == good
