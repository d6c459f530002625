"""Events in a tenant's own fields: made by its format, they go the way of all others."""

import json
from typing import Any
from urllib.parse import quote, urlencode

import asyncpg
import pytest_asyncio

from schemas.usage_event import decode_record
from tests.factories import make_customer
from tests.integration.gateway.conftest import Site, add_key, log_in
from tests.integration.gateway.files import table, upload

FORMATTED = "/api/usage/event/formatted"
FORMATS = "/api/usage/formats"
CSV = {"Content-Type": "text/csv"}
FIELDS: dict[str, Any] = {
    "timestamp": {"path": "Datum", "date_format": "dd.MM.yyyy HH:mm", "timezone": "UTC"},
    "customer_ref": {"expression": "customer_by('external_id', trim(Kunde))"},
    "usage_product_name": {"constant": "calls"},
    "quantity": {"path": "`Menge (Wh)`", "factor": "0.001"},
    "idempotency_key": {"expression": "concat(Kunde, '/', Datum)"},
    "additional_report_data": {"rest": True},
}
EVENT = {"Datum": "05.02.2024 12:00", "Kunde": "K-7", "Menge (Wh)": 12500, "Zone": 1.5}


@pytest_asyncio.fixture
async def owner(site: Site) -> Site:
    """Give a client that may make formats, too; its customer has the id K-7."""
    connection = await asyncpg.connect(site.database)
    try:
        scopes = ["usage:write", "usage:read", "billing:write"]
        key, _ = await add_key(connection, site.tenant_id, scopes)
        await connection.execute(
            "UPDATE customer SET external_id = 'K-7' WHERE customer_ref = $1", site.customer.ref
        )
    finally:
        await connection.close()
    token = await log_in(site.session, site.url, key)
    site.headers = site.headers | {"Authorization": f"Bearer {token}"}
    return site


async def make_format(site: Site, name: str = "Readings", **rules: object) -> str:
    status, answer = await site.post(FORMATS, {"name": name, "fields": FIELDS | rules})
    assert status == 200, answer
    return str(answer["format_ref"])


async def send(
    site: Site, event: object = EVENT, name: str = "Readings", **headers: str
) -> tuple[int, Any]:
    return await site.post(FORMATTED, {"format_name": name, "event": event}, headers)


def wrong(answer: dict[str, Any]) -> list[tuple[str, str]]:
    return [(error["pointer"], error["code"]) for error in answer["errors"]]


async def test_an_event_in_own_fields_lies_in_kafka_as_its_format_makes_it(owner: Site) -> None:
    await make_format(owner)
    status, answer = await send(owner)
    assert status == 202, answer
    stored = json.loads((await owner.record(answer["receipt"])).value)
    assert stored == {
        "v": 1,
        "kind": "USAGE",
        "tenant_ref": owner.tenant_ref,
        "timestamp": "2024-02-05T12:00:00Z",
        "customer_ref": owner.customer.ref,
        "usage_product_ref": owner.meter.ref,
        "quantity": 12.5,
        "idempotency_key": "K-7/05.02.2024 12:00",
        "additional_report_data": {"Zone": 1.5},
    }
    assert answer["customer_name"] == "Northwind"
    assert answer["usage_product_name"] == "Calls"
    assert "warnings" not in answer


async def test_the_default_format_takes_an_event_like_the_plain_route(owner: Site) -> None:
    event = owner.event(idempotency_key="d-1", additional_report_data={"n": 1.5})
    plain = await owner.take(event)
    status, answer = await send(owner, event, "default FORMAT ")
    assert status == 202, answer
    assert answer | {"receipt": 0} == plain | {"receipt": 0}
    refs = {form["name"]: form["format_ref"] for form in (await formats(owner))}
    body = {"format_ref": refs["Default Format"], "event": json.dumps(event)}
    status, again = await owner.post(FORMATTED, body)
    assert (status, again["event_ref"]) == (202, plain["event_ref"])


async def formats(site: Site) -> list[dict[str, Any]]:
    async with site.session.get(site.url + FORMATS, headers=site.headers) as answer:
        found: list[dict[str, Any]] = (await answer.json())["formats"]
        return found


async def test_what_is_strange_is_warned_of_where_it_stands(owner: Site) -> None:
    event = owner.event(quantty=1, customer_name="Somebody else")
    status, answer = await owner.post(
        FORMATTED, {"format_name": "Default Format", "event": event, "colour": "red"}
    )
    assert status == 202, answer
    assert [warning["pointer"] for warning in answer["warnings"]] == [
        "/colour",
        "/event/quantty",
        "/event/customer_name",
    ]
    body = {"format_name": "Default Format", "event": owner.event(), "colour": "red"}
    status, refusal = await owner.post(FORMATTED, body, {"Prefer": "handling=strict"})
    assert (status, wrong(refusal)) == (400, [("/colour", "unknown_field_strict")])


async def test_a_request_without_a_format_or_an_event_is_refused(owner: Site) -> None:
    await make_format(owner)
    cases: list[tuple[object, tuple[int, list[tuple[str, str]]]]] = [
        ({"format_name": "Readings", "event": {}}, (422, [("/event", "required")])),
        ({"format_name": "Readings"}, (422, [("/event", "required")])),
        ({"event": EVENT}, (422, [("/format_name", "required")])),
        ({"format_name": "Reading", "event": EVENT}, (422, [("/format_name", "format_unknown")])),
        ({"format_ref": "x", "event": EVENT}, (422, [("/format_ref", "ref_malformed")])),
        ({"format_name": 7, "event": EVENT}, (422, [("/format_name", "type_string")])),
        ({"format_name": "Readings", "event": [1]}, (422, [("/event", "type_object")])),
    ]
    for body, expected in cases:
        status, refusal = await owner.post(FORMATTED, body)
        assert (status, wrong(refusal)) == expected, body
    assert (await owner.post(FORMATTED, b"[]"))[0] == 400


async def test_what_is_wrong_is_said_of_the_senders_own_fields(owner: Site) -> None:
    await make_format(owner)
    before = await owner.log_size()
    bad = {"Datum": "yesterday", "Kunde": "K-8", "Menge (Wh)": "much"}
    status, refusal = await send(owner, bad)
    assert (status, wrong(refusal)) == (
        422,
        [
            ("/event/Datum", "timestamp_malformed"),
            ("/event", "customer_unknown"),
            ("/event/Menge (Wh)", "number_malformed"),
        ],
    )
    status, refusal = await send(owner, EVENT | {"Datum": "05.02.1999 12:00"})
    assert (status, wrong(refusal)) == (422, [("/event/Datum", "timestamp_too_old")])
    status, refusal = await send(owner, {"Datum": "05.02.2024 12:00", "Kunde": "K-7"})
    assert (status, wrong(refusal)) == (422, [("/event/Menge (Wh)", "required")])
    assert await owner.log_size() == before


async def test_a_form_does_too(owner: Site) -> None:
    await make_format(owner)
    body = {"format_name": "Readings"} | {f"event[{name}]": value for name, value in EVENT.items()}
    status, answer = await owner.post(FORMATTED, urlencode(body).encode())
    assert (status, answer["quantity"]) == (202, 12.5), answer


async def test_an_idempotency_key_is_the_events(owner: Site) -> None:
    await make_format(owner, idempotency_key=None)
    refs = {
        (await send(owner, **{"Idempotency-Key": "request-1"}))[1]["event_ref"] for _ in range(2)
    }
    assert len(refs) == 1


async def test_formats_and_customers_are_known_the_moment_they_are_made(owner: Site) -> None:
    connection = await asyncpg.connect(owner.database)
    try:
        for number in range(5):
            await make_format(owner, f"Format {number}")
            await make_customer(connection, owner.customer.tenant, external_id=f"N-{number}")
            status, answer = await send(owner, EVENT | {"Kunde": f"N-{number}"}, f"format {number}")
            assert status == 202, answer
    finally:
        await connection.close()


async def test_a_strangers_format_is_unknown(owner: Site, stranger: Site) -> None:
    ref = await make_format(owner)
    body = {"format_ref": ref, "event": EVENT}
    status, refusal = await stranger.post(FORMATTED, body)
    assert (status, wrong(refusal)) == (422, [("/format_ref", "format_unknown")])


# ---------------------------------------------------------------- many events


def path(name: str) -> str:
    return f"/api/usage/events?format_name={quote(name)}"


async def test_csv_of_any_columns_is_taken_by_its_format(owner: Site) -> None:
    await make_format(owner)
    table = (
        "Kunde,Datum,Menge (Wh),Zone\r\n"
        "K-7,05.02.2024 12:00,1500,\r\n"
        "K-8,05.02.2024 12:00,1500,a\r\n"
        "K-7,06.02.2024 12:00,much,a\r\n"
        "K-7,07.02.2024 12:00,2500\r\n"
        'K-7,08.02.2024 12:00,3500,"b,""c"""\r\n'
    ).encode("utf-8-sig")
    status, answer = await owner.post(path("readings"), table, CSV)
    assert (status, answer["accepted"], answer["rejected"]) == (202, 2, 3), answer
    assert [(e["index"], e["pointer"], e["code"]) for e in answer["errors"]] == [
        (1, "", "customer_unknown"),
        (2, "/Menge (Wh)", "number_malformed"),
        (3, "", "row_malformed"),
    ]
    records = await owner.records([receipt for receipt in answer["receipts"] if receipt])
    stored = [decode_record(record.value) for record in records]
    assert [event.quantity for event in stored] == [15 * 10**17, 35 * 10**17]
    assert [event.additional_data for event in stored] == [None, '{"Zone":"b,\\"c\\""}']
    assert [event.idempotency_key for event in stored] == [
        "K-7/05.02.2024 12:00",
        "K-7/08.02.2024 12:00",
    ]


async def test_json_lines_and_arrays_may_be_in_a_format_too(owner: Site) -> None:
    await make_format(owner)
    lines = b"\n".join(json.dumps(EVENT | {"Kunde": kunde}).encode() for kunde in ("K-7", "K-8"))
    status, answer = await owner.post(path("Readings"), lines)
    assert (status, answer["accepted"], answer["rejected"]) == (202, 1, 1), answer
    status, many = await owner.post(path("Readings"), [EVENT, EVENT | {"Datum": "x"}, 7])
    assert status == 202
    assert many["event_refs"] == [answer["event_refs"][0], None, None]
    assert [(e["index"], e["pointer"]) for e in many["errors"]] == [(1, "/Datum"), (2, "")]


async def test_the_default_format_of_a_file_is_the_files_own_header(owner: Site) -> None:
    fields = owner.event()
    table = f"{','.join(fields)}\n{','.join(str(value) for value in fields.values())}\n"
    status, answer = await owner.post(path("Default Format"), table.encode(), CSV)
    assert (status, answer["accepted"]) == (202, 1), answer


async def test_a_file_that_no_format_can_help_is_refused_whole(owner: Site) -> None:
    await make_format(owner)
    status, refusal = await owner.post(path("Nobody's"), b"a\n1\n", CSV)
    assert (status, wrong(refusal)) == (422, [("/format_name", "format_unknown")])
    status, refusal = await owner.post(path("Readings"), b"Kunde,Kunde\n1,2\n", CSV)
    assert (status, wrong(refusal)) == (400, [("/Kunde", "json_duplicate_key")])
    assert (await owner.post(path("Readings"), b"\n1,2\n", CSV))[0] == 400
    twice = f"{path('Readings')}&format_name=a"
    assert (await owner.post(twice, b"a\n1\n", CSV))[0] == 422
    event = {"Content-Type": "application/cloudevents+json"}
    assert (await owner.post(path("Readings"), b"{}", event))[0] == 415


async def test_constants_make_no_request_larger_than_it_may_be(owner: Site) -> None:
    await make_format(owner, additional_report_data={"constant": {"a": "x" * 30_000}})
    row = "05.02.2024 12:00,K-7,1\n"
    table = "Datum,Kunde,Menge (Wh)\n" + row * 400
    before = await owner.log_size()
    status, refusal = await owner.post(path("Readings"), table.encode(), CSV)
    assert (status, refusal["code"]) == (413, "body_too_large")
    assert await owner.log_size() == before


async def test_an_atomic_request_in_a_format_is_taken_whole_or_not_at_all(owner: Site) -> None:
    await make_format(owner)
    status, refusal = await owner.post(
        f"{path('Readings')}&atomic=true", [EVENT, EVENT | {"Datum": "x"}]
    )
    assert (status, wrong(refusal)) == (422, [("/1/Datum", "timestamp_malformed")])
    status, answer = await owner.post(f"{path('Readings')}&atomic=true", [EVENT])
    assert (status, answer["accepted"]) == (202, 1)


async def test_files_of_any_columns_come_in_a_format_too(owner: Site) -> None:
    await make_format(owner)
    rows = [["05.02.2024 12:00", " K-7", 12500, "eu"], ["yesterday", "K-7", 1, "eu"]]
    body = table(
        [*rows, ["05.02.2024 13:00", "K-8", 1, "eu"]], ["Datum", "Kunde", "Menge (Wh)", "Zone"]
    )
    status, answer = await upload(owner, body, "?format_name=readings")
    assert (status, answer["accepted"], answer["rejected"]) == (202, 1, 2), answer
    assert [(error["row"], error["pointer"]) for error in answer["errors"]] == [
        (2, "/Datum"),
        (3, ""),
    ]
    assert "K-8" in answer["errors"][1]["detail"]
    (record,) = await owner.own_records()
    assert record["quantity"] == 12.5
    assert record["idempotency_key"] == " K-7/05.02.2024 12:00"
    assert record["additional_report_data"] == {"Zone": "eu"}
    status, refusal = await upload(owner, body, "?format_name=readings&map=a:b")
    assert (status, refusal["errors"][0]["pointer"]) == (422, "/map")
    status, refusal = await upload(owner, body, "?format_name=nobody")
    assert (status, refusal["code"]) == (422, "format_unknown")
