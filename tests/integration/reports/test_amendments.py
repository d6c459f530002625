"""Events changed and deleted after they were sent: how that is answered, and how it reads back."""

import asyncio
import random
import uuid
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import requests

from schemas.event_ref import with_digest
from tests.integration.reports.conftest import Reader, once_rated, until
from tests.processes import Service, running
from tests.rating import eventually

UPDATE = "/api/usage/event/update"


def update(reader: Reader, event_ref: str, **fields: object) -> dict[str, Any]:
    body = {"event_ref": event_ref} | fields
    answer = once_rated(lambda: reader.client.send("POST", UPDATE, body))
    assert answer.status_code == 202, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


def delete(reader: Reader, event_ref: str, body: object = None) -> requests.Response:
    return reader.client.send("DELETE", f"/api/usage/event/{event_ref}", body)


def amended(reader: Reader, event_ref: str, versions: int) -> dict[str, Any]:
    """Read an event once it has so many versions."""
    until(lambda: len(reader.read(event_ref)["versions"]) >= versions, "it is amended")
    return reader.read(event_ref)


def rated(reader: Reader, **fields: object) -> str:
    """Send an event and wait until it is rated; its ref."""
    event_ref: str = reader.send(**fields)["event_ref"]
    reader.read(event_ref)
    return event_ref


def test_a_change_is_answered_with_the_event_as_it_will_be_and_reads_back_with_its_history(
    reader: Reader,
) -> None:
    contract_ref = reader.sign()
    sent = reader.send(quantity="10.5", additional_report_data={"b": 1, "a": 2})
    ref = sent["event_ref"]
    answer = update(reader, ref, quantity="12.50", note="counted again")
    assert answer["event_ref"] == ref
    assert (answer["quantity"], answer["timestamp"]) == (12.5, "2023-03-15T12:00:00Z")
    assert list(answer["additional_report_data"].items()) == [("b", 1), ("a", 2)]
    assert answer["related_document_ref"] == sent["related_document_ref"] is not None
    assert answer["receipt"]["partition"] == sent["receipt"]["partition"]
    event = amended(reader, ref, 2)
    assert (event["quantity"], event["outcome"]) == (12.5, "RATED")
    first, second = event["versions"]
    assert (first["kind"], first["quantity"]) == ("USAGE", 10.5)
    assert (second["kind"], second["quantity"]) == ("UPDATE", 12.5)
    assert second["additional_report_data"] == {"b": 1, "a": 2}
    assert (second["note"], second["made_by"]) == ("counted again", f"key {reader.client.api_key}")
    assert second["receipt"]["offset"] == answer["receipt"]["offset"]
    assert second["recorded_at"] > "2024"
    assert {charge["contract_ref"] for charge in event["charges"]} == {contract_ref}
    assert {charge["quantity"] for charge in event["charges"]} == {12.5}
    assert reader.list()["events"][0]["quantity"] == 12.5


def test_data_is_replaced_whole_and_emptied_by_an_empty_object(reader: Reader) -> None:
    ref = rated(reader, additional_report_data={"a": 1, "b": 2})
    answer = update(reader, ref, additional_report_data={"c": "3.10"}, quantity=None, timestamp="")
    assert answer["additional_report_data"] == {"c": "3.10"}
    assert amended(reader, ref, 2)["additional_report_data"] == {"c": "3.10"}
    assert update(reader, ref, additional_report_data={})["additional_report_data"] == {}
    assert amended(reader, ref, 3)["additional_report_data"] == {}


def test_an_event_moved_to_another_month_keeps_its_ref_and_counts_there(reader: Reader) -> None:
    reader.sign()
    ref = rated(reader)
    answer = update(reader, ref, timestamp="2023-05-02T00:00:00+02:00")
    assert answer["event_ref"] == ref
    assert answer["timestamp"] == "2023-05-02T00:00:00+02:00"
    event = amended(reader, ref, 2)
    assert event["timestamp"] == "2023-05-01T22:00:00Z"
    assert event["charges"][0]["period"]["start"] == "2023-05-01"
    march, may = ({"from": f"2023-0{m}-01", "to": f"2023-0{m + 1}-01"} for m in (3, 5))
    assert reader.list(**march)["events"] == []
    assert [event["event_ref"] for event in reader.list(**may)["events"]] == [ref]
    assert reader.list("/api/usage/summary", **march)["rows"] == []
    (row,) = reader.list("/api/usage/summary", **may)["rows"]
    assert (row["start"], row["quantity"]) == ("2023-05-01T00:00:00Z", 10)


def test_a_deleted_event_counts_no_more_and_its_history_stays(reader: Reader) -> None:
    reader.sign()
    ref = rated(reader, idempotency_key="once")
    answer = delete(reader, ref, {"note": "sent twice"})
    assert answer.status_code == 202, answer.text
    assert (answer.json()["event_ref"], answer.json()["deleted"]) == (ref, True)
    event = amended(reader, ref, 2)
    assert event["outcome"] == "DELETED"
    assert (event["versions"][1]["kind"], event["versions"][1]["note"]) == ("DELETE", "sent twice")
    assert {charge["quantity"] for charge in event["charges"]} <= {0}
    assert reader.list()["events"] == []
    assert reader.list("/api/usage/summary")["rows"] == []
    for refused in (
        reader.client.send("POST", UPDATE, {"event_ref": ref, "quantity": 1}),
        delete(reader, ref),
    ):
        assert refused.status_code == 409
        assert refused.json()["code"] == "event_deleted"
    again = reader.send(idempotency_key="once")
    assert again["event_ref"] == ref
    rated(reader)
    assert reader.read(ref)["outcome"] == "DELETED", "a retry brings nothing back"


def test_a_deletion_needs_no_body(reader: Reader) -> None:
    ref = rated(reader)
    assert delete(reader, ref).status_code == 202
    assert amended(reader, ref, 2)["versions"][1]["note"] is None


@pytest.mark.parametrize(
    ("fields", "status", "codes"),
    [
        ({}, 400, dict.fromkeys(("/timestamp", "/quantity", "/additional_report_data"))),
        ({"quantity": None, "note": "x"}, 400, {"/timestamp": "nothing_to_change"}),
        ({"quantity": "NaN"}, 422, {"/quantity": "number_malformed"}),
        ({"timestamp": "2023-03-15"}, 422, {"/timestamp": "timestamp_malformed"}),
        ({"timestamp": "2999-01-01T00:00:00Z"}, 422, {"/timestamp": "timestamp_in_future"}),
        ({"timestamp": "1999-12-31T23:59:59Z"}, 422, {"/timestamp": "timestamp_too_old"}),
        (
            {"timestamp": "x", "quantity": "1e999", "additional_report_data": [1]},
            422,
            dict.fromkeys(("/timestamp", "/quantity", "/additional_report_data")),
        ),
        ({"quantity": 1, "note": "n" * 1001}, 422, {"/note": "text_too_long"}),
    ],
)
def test_what_is_wrong_with_a_change_is_named(
    reader: Reader, fields: dict[str, object], status: int, codes: dict[str, str | None]
) -> None:
    ref = rated(reader)
    refused = reader.client.send("POST", UPDATE, {"event_ref": ref} | fields)
    assert refused.status_code == status, refused.text
    found = {problem["pointer"]: problem["code"] for problem in refused.json()["errors"]}
    assert codes.keys() <= found.keys()
    assert all(found[pointer] == code for pointer, code in codes.items() if code)
    assert len(reader.read(ref)["versions"]) == 1


def test_an_event_is_not_moved_to_where_its_tenant_takes_none(reader: Reader) -> None:
    ref = rated(reader)
    reader.client.ok("PUT", "/api/settings", {"maximum_event_age_days": 10})
    move = {"event_ref": ref, "timestamp": "2023-03-16T12:00:00Z"}
    refused = reader.client.send("POST", UPDATE, move)
    assert refused.status_code == 422, refused.text
    assert refused.json()["errors"][0]["code"] == "timestamp_too_old"
    changed = reader.client.send("POST", UPDATE, {"event_ref": ref, "quantity": 7})
    assert changed.status_code == 202, "what stays where it is may be as old as it likes"


def test_a_ref_that_names_nothing_is_404_and_none_at_all_is_named(
    reader: Reader, stranger: Reader
) -> None:
    ref = rated(reader)
    ours = uuid.UUID(int=with_digest(uuid.UUID(ref).int, 4711))
    for wrong in ("nonsense", 12, "00000000-0000-4000-8000-00000000dead"):
        body = {"event_ref": wrong, "quantity": 1}
        assert reader.client.send("POST", UPDATE, body).status_code == 404
        assert delete(reader, str(wrong)).status_code == 404
    assert delete(reader, str(ours)).status_code == 404, "waited for, in vain"
    assert reader.client.refused("POST", UPDATE, {"quantity": 1}) == {"/event_ref": "required"}
    body = {"event_ref": ref, "quantity": 1}
    assert stranger.client.send("POST", UPDATE, body).status_code == 404
    assert delete(stranger, ref).status_code == 404
    assert len(reader.read(ref)["versions"]) == 1


async def test_an_event_on_its_way_is_waited_for(reader: Reader) -> None:
    async def is_waited_for() -> bool:
        """Change an event that isn't rated yet; a rater that is starved may come too late."""
        async with connection.transaction():
            await connection.execute("SELECT FROM rater_partition FOR UPDATE")  # nothing is rated
            ref = (await asyncio.to_thread(reader.send))["event_ref"]
            body = {"event_ref": ref, "quantity": 3}
            changing = asyncio.to_thread(reader.client.send, "POST", UPDATE, body)
            sending = asyncio.create_task(changing)
            await asyncio.sleep(0.3)  # so that the change comes first, mostly
        answer = await sending
        assert answer.status_code in (202, 404), answer.text
        if answer.status_code == 202:
            assert answer.json()["quantity"] == 3
            assert (await asyncio.to_thread(amended, reader, ref, 2))["quantity"] == 3
        return answer.status_code == 202

    connection = await asyncpg.connect(reader.client.postgres)
    try:
        await eventually(is_waited_for, "a change waits for its event")
    finally:
        await connection.close()


def test_a_ref_that_a_retry_got_names_the_first_event(reader: Reader) -> None:
    first = rated(reader, timestamp="2023-03-31T23:59:00Z", idempotency_key="night")
    alias = reader.send(timestamp="2023-04-01T00:01:00Z", idempotency_key="night")["event_ref"]
    assert alias != first
    assert update(reader, alias, quantity=5)["event_ref"] == first
    assert amended(reader, first, 2)["quantity"] == 5


def test_a_form_is_a_change_too_and_unknown_fields_are_warned_of(reader: Reader) -> None:
    ref = rated(reader)
    form = {"event_ref": ref, "quantity": "30", "additional_report_data": '{"a":1}', "quantty": "1"}
    answer = requests.post(
        reader.client.url + UPDATE, data=form, headers=reader.client.headers, timeout=30
    )
    assert answer.status_code == 202, answer.text
    assert (answer.json()["quantity"], answer.json()["additional_report_data"]) == (30, {"a": 1})
    (warning,) = answer.json()["warnings"]
    assert "quantity" in warning["detail"]
    strict = reader.client.send(
        "POST", UPDATE, {"event_ref": ref, "quantity": 1, "x": 1}, Prefer="handling=strict"
    )
    assert strict.status_code == 400


def test_a_change_that_is_repeated_with_its_key_is_made_once(reader: Reader) -> None:
    ref = rated(reader)
    body = {"event_ref": ref, "quantity": 7}
    headers = reader.client.headers | {"Idempotency-Key": "change-1"}
    url = reader.client.url + UPDATE
    answers = [requests.post(url, json=body, headers=headers, timeout=30) for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert answers[1].headers["Idempotent-Replayed"] == "true"
    update(reader, ref, quantity=8)
    assert [v["quantity"] for v in amended(reader, ref, 3)["versions"]] == [10, 7, 8]


def issued(reader: Reader, event_ref: str) -> dict[str, Any]:
    """Read an event once a document with it is issued."""
    until(lambda: reader.read(event_ref)["related_document_numbers"] is not None, "it is issued")
    return reader.read(event_ref)


def test_a_version_names_the_documents_that_it_was_billed_on(
    reader: Reader, tmp_path: Path
) -> None:
    contract_ref = reader.sign()
    ref = rated(reader)
    env = {
        "METERLINE_KAFKA": reader.site.kafka,
        "METERLINE_POSTGRES": reader.client.postgres,
        "METERLINE_TOPIC_PREFIX": reader.site.topic_prefix,
    }
    invoicer = Service("invoicer", env, tmp_path)
    with running(invoicer):
        invoicer.start()
        close = f"/api/contracts/close/{contract_ref}"
        reader.client.ok("POST", close, {"through": "2023-03-31"})
        event = issued(reader, ref)
    number = event["related_document_numbers"]
    assert [d["document_number"] for d in event["versions"][0]["documents"]] == [number]
    changed = update(reader, ref, quantity=99)
    assert changed["related_document_numbers"] == number
    first, second = amended(reader, ref, 2)["versions"]
    assert ([d["document_number"] for d in first["documents"]], second["documents"]) == (
        [number],
        [],
    )


Uses = dict[str, tuple[str, int]]
"""Timestamp and quantity by ref."""


def random_history(reader: Reader, chance: random.Random) -> Uses:
    """Send events of three months, change and delete some at random; what is left of them."""
    left: Uses = {}
    versions: dict[str, int] = {}
    for number in range(24):
        at = f"2023-0{chance.randint(3, 5)}-{chance.randint(10, 28)}T00:00:00Z"
        ref = reader.send(timestamp=at, quantity=number)["event_ref"]
        left[ref], versions[ref] = (at, number), 1
    for ref in chance.sample(sorted(left), 12):
        reader.read(ref)
        for _ in range(chance.randint(1, 2)):
            at = f"2023-0{chance.randint(2, 6)}-15T00:00:00Z"
            left[ref] = (at, chance.randint(100, 200))
            update(reader, ref, timestamp=at, quantity=left[ref][1])
            versions[ref] += 1
        if chance.random() < 0.3:
            assert delete(reader, ref).status_code == 202
            del left[ref]
            versions[ref] += 1
    for ref, count in versions.items():
        amended(reader, ref, count)
    return left


def all_pages(reader: Reader, **query: str) -> list[tuple[str, str, int]]:
    """Read page after page; each event's ref, timestamp and quantity."""
    seen = []
    page = reader.list(**query)
    while True:
        seen += [(e["event_ref"], e["timestamp"], e["quantity"]) for e in page["events"]]
        if page["next_cursor"] is None:
            return seen
        page = reader.list(**query, cursor=page["next_cursor"])


def sums_of_months(uses: Uses) -> dict[str, tuple[int, int]]:
    """Return quantity and count by month."""
    sums: dict[str, tuple[int, int]] = {}
    for at, number in uses.values():
        quantity, count = sums.get(at[:7], (0, 0))
        sums[at[:7]] = (quantity + number, count + 1)
    return sums


def test_pages_and_sums_are_those_of_a_plain_walk_through_the_history(reader: Reader) -> None:
    left = random_history(reader, random.Random(4711))
    for window in ({}, {"from": "2023-03-01", "to": "2023-04-01"}, {"from": "2023-04-12"}):
        start, end = window.get("from", "2000"), window.get("to", "2300")
        inside = {ref: use for ref, use in left.items() if start <= use[0] < end}
        assert inside
        expected = [(ref, *inside[ref]) for ref in sorted(inside)]
        for limit in ("1", "5", "100"):
            assert all_pages(reader, limit=limit, **window) == expected
        rows = reader.list("/api/usage/summary", window="month", **window)["rows"]
        found = {row["start"][:7]: (row["quantity"], row["event_count"]) for row in rows}
        assert found == sums_of_months(inside)


def test_a_change_that_the_meters_formula_has_no_value_for_is_refused(reader: Reader) -> None:
    formula = "quantity / additional_report_data.parts"
    body = {"name": "Parts", "formula": formula}
    meter_ref = reader.client.ok("POST", "/api/usage/products", body)["usage_product_ref"]
    ref = rated(reader, usage_product_ref=meter_ref, additional_report_data={"parts": 4})
    for data in ({"parts": 0}, {"part": 4}):
        wrong = reader.client.refused(
            "POST", UPDATE, {"event_ref": ref, "additional_report_data": data}
        )
        assert wrong == {"/additional_report_data": "formula_failed"}
    update(reader, ref, additional_report_data={"parts": 5})
    assert amended(reader, ref, 2)["additional_report_data"] == {"parts": 5}
