"""Events changed by new values in a tenant's own fields."""

from typing import Any

import pytest

from tests.integration.manage.clients import codes
from tests.integration.reports.conftest import Reader
from tests.integration.reports.test_amendments import amended, delete, rated

UPDATE = "/api/usage/event/formatted/update"
FIELDS: dict[str, Any] = {
    "timestamp": {"path": "Datum", "date_format": "dd.MM.yyyy HH:mm", "timezone": "UTC"},
    "customer_name": {"path": "Kunde"},
    "usage_product_name": {"constant": "Units"},
    "quantity": {"path": "Wh", "factor": "0.001"},
    "idempotency_key": {"expression": "concat(Zaehler, Datum)"},
    "additional_report_data": {"keys": {"region": {"path": "Ort"}}, "rest": True},
}


def update(reader: Reader, event_ref: str, event: object, **fields: object) -> dict[str, Any]:
    body = {"event_ref": event_ref, "format_name": "Readings", "event": event} | fields
    answer = reader.client.send("POST", UPDATE, body)
    assert answer.status_code == 202, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


@pytest.fixture
def formatter(reader: Reader) -> Reader:
    """Give a client that has a format."""
    reader.client.ok("POST", "/api/usage/formats", {"name": "Readings", "fields": FIELDS})
    return reader


def test_what_is_sent_changes_and_the_rest_stays(formatter: Reader) -> None:
    ref = rated(formatter, quantity=10, additional_report_data={"region": "eu"})
    answer = update(formatter, ref, {"Wh": "12500"}, note="read again")
    assert (answer["event_ref"], answer["quantity"]) == (ref, 12.5)
    assert answer["timestamp"] == "2023-03-15T12:00:00Z"
    assert answer["additional_report_data"] == {"region": "eu"}
    event = amended(formatter, ref, 2)
    assert event["quantity"] == 12.5
    assert event["versions"][1]["note"] == "read again"
    answer = update(
        formatter, ref, {"Datum": "02.05.2023 06:30", "Zone": "b", "Kunde": "NORTHWIND"}
    )
    assert answer["timestamp"] == "2023-05-02T06:30:00Z"
    assert answer["additional_report_data"] == {"Zone": "b"}, "replaced whole"
    event = amended(formatter, ref, 3)
    assert (event["quantity"], event["timestamp"][:16]) == (12.5, "2023-05-02T06:30")


def test_an_event_without_fields_changes_nothing_and_sends_nothing(formatter: Reader) -> None:
    ref = rated(formatter, quantity=10)
    for event in ({}, {"Wh": None}, {"Kunde": "Northwind"}, "{}"):
        answer = update(formatter, ref, event)
        assert (answer["event_ref"], answer["quantity"], answer["receipt"]) == (ref, 10, None)
    later = update(formatter, ref, {"Wh": 1000})
    assert later["receipt"]["offset"] > 0
    assert [version["quantity"] for version in amended(formatter, ref, 2)["versions"]] == [10, 1]


def test_the_default_format_changes_an_event_by_the_apis_own_fields(reader: Reader) -> None:
    ref = rated(reader, quantity=10)
    fields = {"quantity": "2.50", "customer_ref": reader.shop.customer_ref, "validations": None}
    answer = update(reader, ref, fields, format_name="Default Format")
    assert answer["quantity"] == 2.5
    assert amended(reader, ref, 2)["quantity"] == 2.5


def test_what_can_not_be_changed_or_read_is_refused_at_the_senders_field(
    formatter: Reader,
) -> None:
    ref = rated(formatter)

    def refused(body: dict[str, object]) -> dict[str, str]:
        form = {"event_ref": ref, "format_name": "Readings"}
        answer = formatter.client.send("POST", UPDATE, form | body)
        assert answer.status_code == 422, answer.text
        return codes(answer)

    assert refused({"event": {"Kunde": "Somebody", "Wh": 1}}) == {"/event/Kunde": "event_differs"}
    assert refused({"event": {"Wh": "much"}}) == {"/event/Wh": "number_malformed"}
    assert refused({"event": {"Datum": "01.01.1999 00:00"}}) == {
        "/event/Datum": "timestamp_too_old"
    }
    assert refused({"event": {}, "note": "x" * 1_001}) == {"/note": "text_too_long"}
    assert refused({"event": {}, "format_name": "Other"}) == {"/format_name": "format_unknown"}
    assert refused({"event_ref": None}) == {"/event_ref": "required", "/event": "required"}


def test_an_event_that_is_unknown_or_deleted_is_not_changed(
    formatter: Reader, stranger: Reader
) -> None:
    ref = rated(formatter)
    body = {"event_ref": ref, "format_name": "Default Format", "event": {}}
    assert stranger.client.send("POST", UPDATE, body).status_code == 404
    assert formatter.client.send("POST", UPDATE, body | {"event_ref": "x"}).status_code == 404
    assert delete(formatter, ref).status_code == 202
    amended(formatter, ref, 2)
    assert formatter.client.send("POST", UPDATE, body).status_code == 409
