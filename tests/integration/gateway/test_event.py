"""One event over HTTP: what is answered is in Kafka, at the place that the receipt names."""

import asyncio
import json
import re
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import aiohttp
import asyncpg
import pytest
from aiokafka.partitioner import DefaultPartitioner

from schemas.event_ref import (
    key_digest,
    keyed_event_ref,
    month_index,
    place_digest,
    ref_text,
    shard_key,
    tenant_bits,
)
from schemas.usage_event import decode_record, parse_timestamp
from tests.conftest import TEST_PARTITIONS
from tests.factories import make_customer, make_tenant
from tests.integration.gateway.conftest import Site


def ref_of(site: Site, digest: int) -> str:
    month = month_index(parse_timestamp("2024-02-05T12:00:00Z"))
    shard = shard_key(site.customer.ref)
    return ref_text(keyed_event_ref(month, shard, tenant_bits(site.tenant_ref), digest))


async def test_an_accepted_event_lies_in_kafka_where_its_receipt_says(site: Site) -> None:
    event = site.event(quantity=10.5, additional_report_data={"note": "first"}, idempotency_key="o")
    answer = await site.take(event)
    assert answer["receipt"].keys() == {"topic", "partition", "offset"}
    assert answer["receipt"]["topic"] == site.topic
    record = await site.record(answer["receipt"])
    assert record.key == site.customer.ref.encode()
    assert record.timestamp_type == 1, "the log's own time"
    stored = decode_record(record.value)
    assert stored.tenant_ref == site.tenant_ref
    assert (
        json.loads(record.value) == {"v": 1, "kind": "USAGE", "tenant_ref": site.tenant_ref} | event
    )


async def test_the_answer_is_the_event_as_it_was_understood(site: Site) -> None:
    validations = {"currency": "USD"}
    answer = await site.take(
        site.event(quantity="1e2", additional_report_data={"a": 1}, validations=validations)
    )
    answer.pop("receipt")
    answer.pop("event_ref")
    assert answer == site.event(
        quantity=100,
        customer_name="Northwind",
        usage_product_name="Calls",
        additional_report_data={"a": 1},
        validations=validations,
        idempotency_key=None,
        related_document_ref=None,
        related_document_numbers=None,
        related_parent_document_ref=None,
        related_parent_document_numbers=None,
    )


async def test_numbers_keep_every_digit_on_the_way(site: Site) -> None:
    digits = "12345678901234567890.123456789012345678"
    body = json.dumps(site.event(quantity="@", additional_report_data={"n": "#"}))
    body = body.replace('"@"', digits).replace('"#"', "1.50e0")
    async with site.session.post(
        f"{site.url}/api/usage/event", data=body, headers=site.headers
    ) as response:
        text = await response.text()
        assert response.status == 202, text
    assert f'"quantity":{digits},' in text
    assert '"additional_report_data":{"n": 1.50e0}' in text
    record = await site.record(json.loads(text)["receipt"])
    assert digits.encode() in record.value


async def test_the_partition_is_the_one_that_standard_producers_choose(site: Site) -> None:
    connection = await asyncpg.connect(site.database)
    try:
        tenant = site.customer.tenant
        customers = [await make_customer(connection, tenant) for _ in range(12)]
    finally:
        await connection.close()
    everything = list(range(TEST_PARTITIONS))
    for customer in customers:
        answer = await site.take(site.event(customer_ref=customer.ref.upper()))
        assert answer["receipt"]["partition"] == DefaultPartitioner()(
            customer.ref.encode(), everything, everything
        )


async def test_the_same_keyed_event_fifty_times_at_once_has_one_ref(site: Site) -> None:
    event = site.event(idempotency_key="order-1")
    connector = aiohttp.TCPConnector(force_close=True, limit=50)
    before = await site.log_size()

    async def post(session: aiohttp.ClientSession) -> tuple[str, str]:
        async with session.post(
            f"{site.url}/api/usage/event", data=json.dumps(event), headers=site.headers
        ) as response:
            assert response.status == 202
            process = response.headers["X-Request-Id"].partition("-")[0]
            return (await response.json())["event_ref"], process

    async with aiohttp.ClientSession(connector=connector) as session:
        answers = await asyncio.gather(*[post(session) for _ in range(50)])
    refs = {ref for ref, _ in answers}
    assert refs == {ref_of(site, key_digest(site.tenant_ref, site.customer.ref, "order-1"))}
    assert len({process for _, process in answers}) == 2, "both processes took part"
    assert await site.log_size() == before + 50, "the log keeps them all; rating counts one"


async def test_an_event_without_a_key_is_named_by_its_place_in_the_log(site: Site) -> None:
    answer = await site.take(site.event())
    connection = await asyncpg.connect(site.database)
    try:
        log_id = str(await connection.fetchval("SELECT log_id FROM event_log"))
    finally:
        await connection.close()
    receipt = answer["receipt"]
    digest = place_digest(log_id, receipt["partition"], receipt["offset"])
    assert answer["event_ref"] == ref_of(site, digest)
    assert (await site.take(site.event()))["event_ref"] != answer["event_ref"]


async def test_the_header_idempotency_key_is_the_events_key(site: Site) -> None:
    by_header = await site.take(site.event(), **{"Idempotency-Key": "h-1"})
    by_field = await site.take(site.event(idempotency_key="h-1"))
    assert by_header["event_ref"] == by_field["event_ref"]


async def test_a_form_is_taken_like_json(site: Site) -> None:
    form = site.event(quantity="2.5", additional_report_data='{"b": 1, "a": 2}')
    status, answer = await site.post("/api/usage/event", urlencode(form).encode())
    assert status == 202
    assert list(answer["additional_report_data"].items()) == [("b", 1), ("a", 2)]
    nested = urlencode(site.event(quantity="1") | {"additional_report_data[note]": "x"})
    status, answer = await site.post("/api/usage/event", nested.encode())
    assert (status, answer["additional_report_data"]) == (202, {"note": "x"})


async def test_unknown_fields_are_warned_of_or_refused_as_asked(site: Site) -> None:
    answer = await site.take(site.event(quantiy=3))
    assert answer["warnings"] == [
        {
            "code": "unknown_field",
            "detail": "is unknown; did you mean 'quantity'?",
            "pointer": "/quantiy",
        }
    ]
    status, refusal = await site.post(
        "/api/usage/event", site.event(quantiy=3), {"Prefer": "handling=strict"}
    )
    assert (status, refusal["errors"][0]["pointer"]) == (400, "/quantiy")


async def test_a_customer_made_a_moment_ago_is_known(site: Site) -> None:
    connection = await asyncpg.connect(site.database)
    try:
        for _ in range(5):
            customer = await make_customer(connection, site.customer.tenant)
            await site.take(site.event(customer_ref=customer.ref))
    finally:
        await connection.close()


async def test_another_tenants_customer_is_unknown(site: Site) -> None:
    connection = await asyncpg.connect(site.database)
    try:
        stranger = await make_customer(connection, await make_tenant(connection, "Other"))
    finally:
        await connection.close()
    status, refusal = await site.post("/api/usage/event", site.event(customer_ref=stranger.ref))
    assert status == 422
    assert [error["code"] for error in refusal["errors"]] == ["customer_unknown"]


async def test_every_wrong_field_is_named_at_once(site: Site) -> None:
    bad = {
        "timestamp": "yesterday",
        "quantity": "NaN",
        "idempotency_key": "a\tb",
        "customer_ref": 7,
    }
    status, refusal, headers = await site.exchange("/api/usage/event", bad)
    assert status == 422
    assert headers["Content-Type"] == "application/problem+json"
    assert refusal["instance"] == headers["X-Request-Id"]
    assert {error["pointer"] for error in refusal["errors"]} == {
        "/timestamp",
        "/quantity",
        "/idempotency_key",
        "/customer_ref",
        "/usage_product_ref",
    }


async def test_times_are_bounded_by_2000_and_an_hour_ahead(site: Site) -> None:
    now = datetime.now(UTC)
    good = [now + timedelta(minutes=59), datetime(2000, 1, 1, tzinfo=UTC)]
    bad = [now + timedelta(minutes=61), datetime(1999, 12, 31, 23, 59, 59, tzinfo=UTC)]
    for moment in good:
        await site.take(site.event(timestamp=moment.isoformat()))
    for moment in bad:
        status, _ = await site.post("/api/usage/event", site.event(timestamp=moment.isoformat()))
        assert status == 422


async def test_a_request_id_is_echoed_or_made(site: Site) -> None:
    _, _, headers = await site.exchange("/api/usage/event", {}, {"X-Request-Id": "mine-1"})
    assert headers["X-Request-Id"] == "mine-1"
    _, _, headers = await site.exchange("/api/usage/event", {}, {"X-Request-Id": "not \u00e9 sane"})
    assert headers["X-Request-Id"] not in ("", "not \u00e9 sane")


async def test_an_event_of_64_kib_is_taken_and_a_larger_one_is_413(site: Site) -> None:
    room = 64 * 1024 - len(json.dumps(site.event(additional_report_data={"a": ""})))
    answer = await site.take(site.event(additional_report_data={"a": "x" * room}))
    decode_record((await site.record(answer["receipt"])).value)
    for size in (room + 1, 200_000):
        status, _ = await site.post(
            "/api/usage/event", site.event(additional_report_data={"a": "x" * size})
        )
        assert status == 413


def event_with(site: Site, name: str, json_text: str) -> bytes:
    text = json.dumps(site.event(**{name: "@@"}), ensure_ascii=False)
    return text.replace('"@@"', json_text).encode("utf-8", "surrogatepass")


BAD_VALUES = [
    ("quantity", value, 422)
    for value in ['"NaN"', '"Infinity"', "1e400", "1e-19", "null", "true", '""', '" 1"', "1" * 40,
                  '"1_0"', '"\u0661"', "[1]"]
] + [
    ("quantity", value, 400)
    for value in ["NaN", "Infinity", "01", "+1", ".5", "0x1", "1" + "[" * 9]
] + [
    ("timestamp", value, 422)
    for value in ['"2024-02-05T12:00:00"', '"2024-02-30T12:00:00Z"', '"9999-12-31T23:59:59Z"',
                  '"0001-01-01T00:00:00Z"', '"2024-06-30T23:59:60Z"', "1707134400", "null", '""']
] + [
    ("customer_ref", value, 422)
    for value in ['"nobody"', '"00000000-0000-4000-8000-000000000001"', "7", "null", '""', "{}"]
] + [
    ("idempotency_key", value, 422)
    for value in ['""', f'"{"k" * 256}"', '"a\\u0000b"', '"a\\u202eb"', '"e\u0301"', "7"]
] + [
    ("additional_report_data", value, 422)
    for value in ['{"a":"\\u0000"}', "[]", "7", '{"":1}', '{"a":1e9999}', '"text"',
                  '{"a":' * 17 + "1" + "}" * 17]
] + [
    ("additional_report_data", value, 400)
    for value in ['{"a":1,"a":2}', '{"a":\ud800}', '{"a":"\x01"}', '{"a":"\\x"}', "{" * 40_000]
] + [
    ("validations", value, 422) for value in ['{"currency":7}', '{"x":1}', "[]"]
] + [
    ("additional_report_data", '{"a":"\ud800"}', 422),
    ("additional_report_data", '{"a":"\\ud800"}', 400),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "expected"), BAD_VALUES)
async def test_a_bad_value_is_refused_and_never_an_error_of_ours(
    site: Site, name: str, value: str, expected: int
) -> None:
    before = await site.log_size()
    status, refusal = await site.post("/api/usage/event", event_with(site, name, value))
    assert status == expected, refusal
    assert refusal["code"]
    assert await site.log_size() == before


@pytest.mark.parametrize(
    "body",
    [b"", b" ", b"[", b"{", b"{}{}", b"[]", b"null", b"7", b"a=1&a=2", b"a[=1", b"a[b][c]=1&a[b]=2",
     b"\xff\xfe", b"\xef\xbb\xbf{}", b"{" * 60_000, b"[" * 60_000, b"%00=1", b"=", b"&&&"],
)  # fmt: skip
async def test_a_body_that_is_no_event_is_400_or_422(site: Site, body: bytes) -> None:
    for path in ("/api/usage/event", "/api/usage/events"):
        if path.endswith("s") and body == b"[]":
            continue
        status, refusal = await site.post(path, body)
        if path.endswith("s") and body.startswith(b"{"):
            # Objects line by line: each bad line is refused on its own.
            assert refusal.get("accepted", 0) == 0
            assert refusal["errors"]
        else:
            assert status in (400, 415, 422), refusal


async def taken(site: Site, event: dict[str, object]) -> bool:
    return (await site.post("/api/usage/event", event))[0] == 202


async def test_names_stand_in_for_refs(site: Site) -> None:
    refs = ("customer_ref", "usage_product_ref")
    named = {name: value for name, value in site.event().items() if name not in refs}
    named |= {"customer_name": " northWIND", "usage_product_name": "calls"}
    answer = await site.take(named)
    assert [answer[ref] for ref in refs] == [site.customer.ref, site.meter.ref]
    assert answer["customer_name"] == "Northwind"
    stored = decode_record((await site.record(answer["receipt"])).value)
    assert stored.customer_ref == site.customer.ref
    connection = await asyncpg.connect(site.database)
    try:
        fresh = await make_customer(connection, site.customer.tenant, name="Made just now")
        answer = await site.take(named | {"customer_name": "made just now"})
        assert answer["customer_ref"] == fresh.ref
        await make_customer(connection, site.customer.tenant, name="NORTHWIND")
        async with asyncio.timeout(30):
            while await taken(site, named):  # until memory knows its twin
                pass
    finally:
        await connection.close()
    status, refusal = await site.post("/api/usage/event", named)
    assert (status, refusal["errors"][0]["code"]) == (422, "customer_name_ambiguous")
    warned = await site.take(site.event(customer_name="Somebody else"))
    assert [warning["code"] for warning in warned["warnings"]] == ["name_differs"]
    _, many = await site.post("/api/usage/events", [site.event(customer_name="Somebody else")])
    assert [(w["index"], w["code"]) for w in many["warnings"]] == [(0, "name_differs")]


@pytest.mark.parametrize("is_bulk", [False, True])
async def test_an_answer_says_how_much_more_the_tenant_may_send(site: Site, is_bulk: bool) -> None:
    path, body = (
        ("/api/usage/events", [site.event()]) if is_bulk else ("/api/usage/event", site.event())
    )
    status, _, headers = await site.exchange(path, body)
    assert status == 202
    assert '"events";q=5000000;w=10' in headers["RateLimit-Policy"]
    assert re.fullmatch(r'"events";r=\d+;t=\d+, "bytes";r=\d+;t=\d+', headers["RateLimit"])
