"""Formats over HTTP: kept by name, tried with samples, a tenant's own."""

from typing import Any

from tests.integration.manage.clients import Client, codes
from tests.integration.manage.shop import make_shop
from tests.rating import eventually

PATH = "/api/usage/formats"
FIELDS: dict[str, Any] = {
    "timestamp": {
        "path": "Datum",
        "date_format": "dd.MM.yyyy HH:mm",
        "timezone": "Europe/Berlin",
    },
    "customer_ref": {"expression": "customer_by('external_id', trim(Kunde))"},
    "usage_product_name": {"constant": "Units"},
    "quantity": {"path": "Wh", "factor": 0.001},
    "additional_report_data": {"keys": {"z": {"path": "Zone"}, "a": {"path": "site.region"}}},
}
SAMPLE = {
    "Datum": "05.02.2024 13:15",
    "Kunde": " K-7 ",
    "Wh": "12500",
    "Zone": 1.50,
    "site": {"region": "eu"},
}


def make_format(client: Client, name: str = "Readings", **rules: object) -> str:
    made = client.ok("POST", PATH, {"name": name, "fields": FIELDS | rules})
    assert list(made) == ["format_ref"]
    return str(made["format_ref"])


async def made_shop(client: Client, external_id: str = "K-7") -> str:
    """Make a customer and a meter; the customer's ref."""
    return make_shop(client, external_id=external_id).customer_ref


async def test_a_format_is_kept_as_it_was_made(client: Client) -> None:
    ref = make_format(client)
    shown = client.send("GET", f"{PATH}/{ref}")
    assert shown.json()["fields"] == FIELDS
    assert '"factor":0.001' in shown.text, "its digits"
    assert list(shown.json()["fields"]["additional_report_data"]["keys"]) == ["z", "a"], "its order"
    assert shown.json()["name"] == "Readings"
    assert shown.json()["is_default"] is False
    again = client.ok("PUT", f"{PATH}/{ref}", shown.json() | {"name": "Other"})
    assert again | {"updated_at": 0} == shown.json() | {"name": "Other", "updated_at": 0}


async def test_every_tenant_has_the_default_format_and_keeps_it(client: Client) -> None:
    (default,) = client.ok("GET", PATH)["formats"]
    assert default["name"] == "Default Format"
    assert default["is_default"] is True
    assert default["fields"]["quantity"] == {"path": "quantity"}
    path = f"{PATH}/{default['format_ref']}"
    changed = client.send("PUT", path, {"name": "Mine", "fields": FIELDS})
    deleted = client.send("DELETE", path)
    assert [changed.status_code, deleted.status_code] == [409, 409]
    assert deleted.json()["code"] == "format_is_default"
    taken = client.send("POST", PATH, {"name": "default format", "fields": FIELDS})
    assert (taken.status_code, taken.json()["code"]) == (409, "name_taken")


async def test_a_name_belongs_to_one_format_whatever_its_case(client: Client) -> None:
    first = make_format(client, "Readings")
    second = make_format(client, "Others")
    assert client.send("POST", PATH, {"name": "READINGS", "fields": FIELDS}).status_code == 409
    body = {"name": "readings", "fields": FIELDS}
    assert client.send("PUT", f"{PATH}/{second}", body).status_code == 409
    assert client.ok("DELETE", f"{PATH}/{first}") == {"format_ref": first}
    assert client.send("GET", f"{PATH}/{first}").status_code == 404
    assert client.send("DELETE", f"{PATH}/{first}").status_code == 404
    assert client.ok("PUT", f"{PATH}/{second}", body)["name"] == "readings"


async def test_what_is_wrong_with_a_format_is_said_field_by_field(client: Client) -> None:
    fields = {"timestamp": {"path": "t", "zone": "UTC"}, "quantity": {"expression": "1 +"}}
    refusal = client.send("POST", PATH, {"fields": fields, "colour": "red"})
    assert codes(refusal) == {
        "/name": "required",
        "/fields/timestamp/zone": "unknown_field",
        "/fields/quantity/expression": "expression_malformed",
        "/fields/customer_ref": "required",
        "/fields/usage_product_ref": "required",
        "/colour": "unknown_field",
    }
    assert "at character 4" in refusal.text
    assert client.refused("POST", PATH, {"name": "a", "fields": 7}) == {"/fields": "type_object"}


async def test_a_hundred_formats_are_kept_and_pages_list_them(client: Client) -> None:
    refs = [make_format(client, f"Format {number}") for number in range(99)]
    full = client.send("POST", PATH, {"name": "One more", "fields": FIELDS})
    assert (full.status_code, full.json()["code"]) == (409, "formats_too_many")
    found: list[str] = []
    query: dict[str, str] = {"limit": "40"}
    while True:
        page = client.ok("GET", PATH, **query)
        found += [one["format_ref"] for one in page["formats"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert found[1:] == refs


async def test_a_sample_shows_what_it_becomes_and_nothing_is_published(client: Client) -> None:
    customer_ref = await made_shop(client)
    ref = make_format(client)
    tried = client.send("POST", f"{PATH}/{ref}/try", {"event": SAMPLE})
    assert tried.ok, tried.text
    answer = tried.json()
    assert answer["values"] == {
        "timestamp": "2024-02-05T12:15:00Z",
        "customer_ref": customer_ref,
        "usage_product_name": "Units",
        "quantity": 12.5,
        "additional_report_data": {"z": 1.5, "a": "eu"},
    }
    assert answer["event"]["customer_name"] == "Northwind"
    assert answer["event"]["quantity"] == 12.5
    assert (answer["errors"], answer["warnings"]) == ([], [])


async def test_a_bad_sample_is_told_of_by_pointers_into_it(client: Client) -> None:
    await made_shop(client)
    ref = make_format(client)
    bad = SAMPLE | {"Datum": "2024-02-05", "Kunde": "K-8", "Wh": "much"}
    answer = client.ok("POST", f"{PATH}/{ref}/try", {"event": bad})
    assert answer["event"] is None
    assert answer["values"].keys() == {"usage_product_name", "additional_report_data"}
    assert [(error["pointer"], error["code"]) for error in answer["errors"]] == [
        ("/event/Datum", "timestamp_malformed"),
        ("/event", "customer_unknown"),
        ("/event/Wh", "number_malformed"),
    ]
    late = client.ok("POST", f"{PATH}/{ref}/try", {"event": SAMPLE | {"Datum": "05.02.1999 00:00"}})
    assert [(error["pointer"], error["code"]) for error in late["errors"]] == [
        ("/event/Datum", "timestamp_too_old")
    ]
    assert client.refused("POST", f"{PATH}/{ref}/try", {"event": {}}) == {"/event": "required"}
    assert client.refused("POST", f"{PATH}/{ref}/try", {}) == {"/event": "required"}


async def test_the_default_format_can_be_tried_too(client: Client) -> None:
    customer_ref = await made_shop(client)
    (default,) = client.ok("GET", PATH)["formats"]
    event = {
        "timestamp": "2024-02-05T12:00:00Z",
        "customer_ref": customer_ref,
        "usage_product_name": "units",
        "quantity": "1.50",
        "quantty": 2,
    }
    answer = client.ok("POST", f"{PATH}/{default['format_ref']}/try", {"event": event})
    assert answer["event"]["quantity"] == 1.5
    assert [warning["pointer"] for warning in answer["warnings"]] == ["/event/quantty"]


async def test_an_external_id_that_changes_hands_is_looked_up_anew(client: Client) -> None:
    first = await made_shop(client, external_id="K-7")
    ref = make_format(client)
    path = f"{PATH}/{ref}/try"
    assert client.ok("POST", path, {"event": SAMPLE})["values"]["customer_ref"] == first
    body = {"name": "Second", "email": "a@b.example"}
    await client.fetch(
        "UPDATE customer SET external_id = 'k-7' WHERE customer_ref = $1 RETURNING 1", first
    )
    second = client.ok("POST", "/api/customers", body | {"external_id": "K-7"})["customer_ref"]

    async def is_second() -> bool:
        tried = client.ok("POST", path, {"event": SAMPLE})
        return bool(tried["values"].get("customer_ref") == second)

    await eventually(is_second, "the new owner of the id is found")
    client.ok("POST", "/api/customers", body | {"external_id": "K-7", "name": "Third"})

    async def is_ambiguous() -> bool:
        errors = client.ok("POST", path, {"event": SAMPLE})["errors"]
        return [error["code"] for error in errors] == ["customer_ambiguous"]

    await eventually(is_ambiguous, "the id of two customers is refused")


async def test_a_strangers_format_does_not_exist(client: Client, stranger: Client) -> None:
    ref = make_format(client)
    for verb, path, body in (
        ("GET", f"{PATH}/{ref}", None),
        ("PUT", f"{PATH}/{ref}", {"name": "Mine", "fields": FIELDS}),
        ("DELETE", f"{PATH}/{ref}", None),
        ("POST", f"{PATH}/{ref}/try", {"event": SAMPLE}),
    ):
        assert stranger.send(verb, path, body).status_code == 404, verb
    assert ref not in stranger.send("GET", PATH).text
    assert make_format(stranger), "its name is free for another tenant"


async def test_changes_of_formats_are_in_the_audit_log(client: Client) -> None:
    ref = make_format(client)
    client.ok("PUT", f"{PATH}/{ref}", {"name": "Other", "fields": FIELDS})
    client.ok("DELETE", f"{PATH}/{ref}")
    rows = await client.fetch(
        "SELECT entry::json->>'action' AS action FROM audit_entry WHERE tenant_id = $1 "
        "AND entry::json->>'subject' = $2 ORDER BY number",
        *(client.tenant_id, ref),
    )
    assert [row["action"] for row in rows] == ["format.made", "format.changed", "format.deleted"]
