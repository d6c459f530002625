"""Every request that the reference's clients send, sent as they send it.

The examples are data (`tests/reference_examples.json`). Each is sent with `requests`, its body
through json.dumps and without a content type; its placeholder refs are replaced by refs that exist.
"""

import asyncio
import json
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.integration.manage.clients import Client
from tests.integration.manage.deeds import invoicer
from tests.integration.manage.papers import write_document, write_event
from tests.integration.manage.shop import contract_body, make_shop

EXAMPLES: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[2] / "reference_examples.json").read_text()
)["examples"]

#: Stands for an event in the fields that the format knows.
ANY_EVENT = {"any": "keys", "the": "format", "knows": 1}

__all__ = ["invoicer"]
"""A fixture that works by being here."""


async def existing_refs(client: Client) -> dict[str, str]:
    """Make what the placeholders stand for; the refs by placeholder and by name in a path."""
    shop = make_shop(client, name="Northwind", currency="USD")
    contract_ref = client.ok("POST", "/api/contracts", contract_body(shop))["contract_ref"]
    paper = await write_document(client, shop, contract_ref, issue_date=date(2024, 2, 1))
    entity_ref = client.ok("GET", "/api/entities/names")["entities"][0]["entity_ref"]
    event_ref = await write_event(client, shop)
    numbered = {
        1: shop.customer_ref,
        2: shop.meter_ref,
        3: entity_ref,
        4: event_ref,
        7: shop.pricing_ref,
        8: shop.line_refs["Calls"],
        9: contract_ref,
        10: paper.ref,
    }
    placeholders = {
        f"00000000-0000-4000-8000-{number:012}": ref for number, ref in numbered.items()
    }
    return placeholders | {
        json.dumps(ANY_EVENT): json.dumps(
            {
                "timestamp": "2024-02-05T09:02:27.279Z",
                "customer_ref": shop.customer_ref,
                "usage_product_ref": shop.meter_ref,
                "quantity": 10,
            }
        ),
        "{entity_ref}": entity_ref,
        "{contract_ref}": contract_ref,
        "{invoice_ref}": paper.ref,
        "{event_ref}": event_ref,
        "{api_key_ref}": client.ok("POST", "/auth/keys/generate", {})["api_key_ref"],
        "key-1": client.api_key,
        "pw-1": client.password,
        "admin@example.com": f"{client.api_key}@example.com",
        "pw-2": client.password,
    }


def send(client: Client, example: Mapping[str, Any], refs: Mapping[str, str]) -> requests.Response:
    """Send an example with its placeholders replaced."""
    text = json.dumps({name: example.get(name) for name in ("path", "body", "query")})
    for placeholder, ref in refs.items():
        text = text.replace(placeholder, ref)
    request = json.loads(text)
    return requests.request(
        example["verb"],
        client.url + request["path"],
        params=request["query"],
        data=None if request["body"] is None else json.dumps(request["body"]),
        headers=client.headers if example["headers"] else {},
        timeout=30,
    )


def assert_shape(answer: object, shape: object, place: str = "") -> None:
    """Assert that an answer has every member that the clients read, of the kind they expect."""
    if answer is None:
        return
    if isinstance(shape, dict):
        assert isinstance(answer, dict), place
        for name, inner in shape.items():
            assert name in answer, f"{place}/{name}"
            assert_shape(answer[name], inner, f"{place}/{name}")
    elif isinstance(shape, list):
        assert isinstance(answer, list), place
        for item in answer if shape else []:
            assert_shape(item, shape[0], f"{place}/0")
    elif isinstance(shape, bool):
        assert isinstance(answer, bool), place
    elif isinstance(shape, int | float):
        assert isinstance(answer, int | float), place


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: str(example["name"]))
async def test_an_example_is_answered_in_the_shape_that_its_clients_expect(
    client: Client, example: dict[str, Any]
) -> None:
    refs = await existing_refs(client)
    answer = await asyncio.to_thread(lambda: send(client, example, refs))
    assert answer.ok, answer.text
    shape = example.get("answer_shape")
    if isinstance(shape, str):
        kinds = {"string": str, "list of documents": list}
        assert isinstance(answer.json(), kinds.get(shape.split(" (")[0], dict))
    else:
        assert_shape(answer.json(), shape)
    if isinstance(answer.json(), dict):
        assert "warnings" not in answer.json(), answer.text


async def test_lists_of_the_examples_are_not_empty(client: Client) -> None:
    refs = await existing_refs(client)
    lists = (
        "products and pricings",
        "contracts of a customer",
        "documents of customers and contracts",
    )
    for example in [example for example in EXAMPLES if example["name"] in lists]:
        assert send(client, example, refs).json(), example["name"]
