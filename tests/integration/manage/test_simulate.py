"""Prices simulated over HTTP: exact, for whoever may read, and without a trace."""

from tests.integration.manage.clients import Client
from tests.integration.manage.shop import TIERS

PATH = "/api/pricings/simulate"


def test_quantities_are_priced_to_the_last_digit(client: Client) -> None:
    item = {"item": "Bytes", "model": "PER_UNIT", "price": "0.000000000000000001"}
    answer = client.send("POST", PATH, {"line_item": item, "quantities": ["0.000000000000000003"]})
    assert answer.content == (
        b'{"results":[{"quantity":0.000000000000000003,'
        b'"amount":0.000000000000000000000000000000000003,"tiers":[]}]}'
    )


def test_tiers_say_what_they_add(client: Client) -> None:
    item = {"model": "GRADUATED", "tiers": TIERS}
    results = client.ok("POST", PATH + "/", {"line_item": item, "quantities": [0, 101]})["results"]
    assert [result["amount"] for result in results] == [5, 1014.5]
    assert [tier["amount"] for tier in results[1]["tiers"]] == [1005, 9.5]


def test_all_that_is_wrong_is_named(client: Client) -> None:
    body = {"line_item": {"model": "VOLUME", "tiers": [{}]}, "quantities": ["x"], "quantity": 1}
    assert client.refused("POST", PATH, body) == {
        "/line_item/tiers/0/unit_price": "required",
        "/quantities/0": "number_malformed",
        "/quantity": "field_unknown",
    }
    assert client.refused("POST", PATH) == {"/line_item": "required", "/quantities": "required"}


def test_nothing_is_written(client: Client) -> None:
    body = {"line_item": {"model": "PER_UNIT", "price": 1}, "quantities": [1]}
    assert client.ok("POST", PATH, body)["results"][0]["amount"] == 1
    assert client.ok("GET", "/api/products", include_drafts="true") == []
