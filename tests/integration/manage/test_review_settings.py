"""Who says whether documents wait for a person: entities and contracts, over HTTP."""

import pytest

from tests.integration.manage.clients import Client
from tests.integration.manage.shop import contract_body, make_shop


def test_a_contract_keeps_its_word_through_edits_and_tells_of_it(client: Client) -> None:
    body = contract_body(make_shop(client)) | {"review": "REQUIRED"}
    ref = client.ok("POST", "/api/contracts", body)["contract_ref"]
    assert client.ok("GET", f"/api/contracts/{ref}")["review"] == "REQUIRED"
    edited = client.ok("POST", f"/api/contracts/edit/{ref}", {"po_number": "PO-2"})
    assert edited["review"] == "REQUIRED"
    edited = client.ok("POST", f"/api/contracts/edit/{ref}", {"review": "INHERITED"})
    assert (edited["review"], edited["version"]) == ("INHERITED", 3)
    newest = client.ok("GET", f"/api/contracts/history/{ref}")["entries"][0]
    assert [(c["pointer"], c["before"], c["after"]) for c in newest["changes"]] == [
        ("/review", "REQUIRED", "INHERITED")
    ]
    assert client.ok("POST", f"/api/contracts/cancel/{ref}", {})["review"] == "INHERITED"


def test_a_draft_takes_its_word_along_when_it_is_published(client: Client) -> None:
    body = contract_body(make_shop(client)) | {"review": "NONE", "draft": True}
    ref = client.ok("POST", "/api/contracts", body)["contract_ref"]
    assert client.ok("POST", f"/api/contracts/publish/{ref}", {})["review"] == "NONE"


def test_an_entity_is_made_and_changed_with_its_word(client: Client) -> None:
    made = {"name": "Second", "review": "REQUIRED"}
    ref = client.ok("POST", "/api/entities", made)["entity_ref"]
    assert client.ok("GET", f"/api/entities/{ref}")["review"] == "REQUIRED"
    assert client.ok("PUT", f"/api/entities/{ref}", {"name": "Second"})["review"] == "INHERITED"


@pytest.mark.parametrize("path", ["/api/contracts", "/api/entities"])
def test_any_other_word_is_refused(client: Client, path: str) -> None:
    body = contract_body(make_shop(client)) if path == "/api/contracts" else {"name": "Third"}
    assert "/review" in client.refused("POST", path, body | {"review": "MAYBE"})
