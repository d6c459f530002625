"""Many events of one request: every one is judged by itself, and the answer says it of each."""

import gzip
import json
import random
from typing import Any

import cramjam
import pytest

from tests.integration.gateway.conftest import Site

PATH = "/api/usage/events"


async def test_bad_events_never_sink_their_neighbours(site: Site) -> None:
    before = await site.log_size()
    events = [
        site.event(quantity=1),
        site.event(quantity="NaN"),
        site.event(quantity=2, idempotency_key="b-1"),
        {"quantity": 1},
        7,
        site.event(quantity=3),
    ]
    status, answer = await site.post(PATH, events)
    assert status == 202
    assert (answer["accepted"], answer["rejected"]) == (3, 3)
    assert {error["index"] for error in answer["errors"]} == {1, 3, 4}
    assert [error["index"] for error in answer["errors"]] == sorted(
        error["index"] for error in answer["errors"]
    )
    assert [ref is None for ref in answer["event_refs"]] == [False, True, False, True, True, False]
    assert await site.log_size() == before + 3
    records = await site.records([receipt for receipt in answer["receipts"] if receipt])
    assert [json.loads(record.value)["quantity"] for record in records] == [1, 2, 3]


async def test_events_of_one_request_and_single_ones_have_the_same_refs(site: Site) -> None:
    _, bulk = await site.post(PATH, [site.event(idempotency_key="c-1")])
    single = await site.take(site.event(idempotency_key="c-1"))
    assert bulk["event_refs"] == [single["event_ref"]]


async def test_the_requests_key_gives_a_key_to_events_without_one(site: Site) -> None:
    events = [site.event(), site.event(), site.event(idempotency_key="own")]
    headers = {"Idempotency-Key": "request-1"}
    _, first = await site.post(PATH, events, headers)
    _, again = await site.post(PATH, events, headers)
    assert first["event_refs"] == again["event_refs"]
    assert len(set(first["event_refs"])) == 3
    single = await site.take(site.event(idempotency_key="request-1/1"))
    assert first["event_refs"][1] == single["event_ref"]


async def test_ten_thousand_events_are_taken_and_one_more_is_413(site: Site) -> None:
    before = await site.log_size()
    events = [site.event(idempotency_key=f"n-{n}") for n in range(10_000)]
    status, answer = await site.post(PATH, events)
    assert (status, answer["accepted"]) == (202, 10_000)
    assert len(set(answer["event_refs"])) == 10_000
    assert await site.log_size() == before + 10_000
    places = [(receipt["partition"], receipt["offset"]) for receipt in answer["receipts"]]
    assert len(set(places)) == 10_000
    status, _ = await site.post(PATH, [*events, site.event()])
    assert status == 413
    assert await site.log_size() == before + 10_000


async def test_large_events_fill_several_batches(site: Site) -> None:
    data = {"a": "x" * 60_000}
    events = [site.event(quantity=n, additional_report_data=data) for n in range(100)]
    status, answer = await site.post(PATH, events)
    assert (status, answer["accepted"]) == (202, 100)
    offsets = [receipt["offset"] for receipt in answer["receipts"]]
    assert offsets == list(range(offsets[0], offsets[0] + 100)), "one customer, one order"


async def test_a_body_above_10_mib_is_413(site: Site) -> None:
    status, refusal = await site.post(PATH, b"[" + b" " * (10 * 1024 * 1024) + b"]")
    assert (status, refusal["code"]) == (413, "body_too_large")


async def test_gzip_is_understood_and_a_broken_or_huge_one_is_refused(site: Site) -> None:
    headers = {"Content-Encoding": "gzip"}
    body = gzip.compress(json.dumps([site.event()]).encode())
    status, answer = await site.post(PATH, body, headers)
    assert (status, answer["accepted"]) == (202, 1)
    status, _ = await site.post(PATH, body[:-20], headers)
    assert status == 400
    status, _ = await site.post(PATH, b"no gzip", headers)
    assert status == 400
    status, _ = await site.post(PATH, gzip.compress(b" " * 50_000_000), headers)
    assert status == 413
    status, _ = await site.post(PATH, b"[]", {"Content-Encoding": "compress"})
    assert status == 415


async def test_an_empty_list_is_nothing_to_do(site: Site) -> None:
    status, answer = await site.post(PATH, [])
    assert status == 202
    assert answer == {"accepted": 0, "rejected": 0, "errors": [], "event_refs": [], "receipts": []}


async def test_unknown_fields_are_refused_here(site: Site) -> None:
    _, answer = await site.post(PATH, [site.event(quantiy=1), site.event(tenant_ref="x")])
    assert [error["pointer"] for error in answer["errors"]] == ["/quantiy", "/tenant_ref"]


async def test_the_lists_are_left_out_when_asked(site: Site) -> None:
    _, answer = await site.post(PATH, [site.event()], {"Prefer": "return=minimal"})
    assert answer == {"accepted": 1, "rejected": 0, "errors": []}


async def test_an_atomic_request_publishes_all_or_nothing(site: Site) -> None:
    path = PATH + "?atomic=true"
    before = await site.log_size()
    keyed = site.event(idempotency_key="d-1")
    assert codes(await site.post(path, [keyed, site.event(quantity="x", idempotency_key="y")])) == {
        "/1/quantity": "number_malformed"
    }
    assert codes(await site.post(path, [keyed, site.event()])) == {"/1/idempotency_key": "required"}
    assert await site.log_size() == before
    status, answer = await site.post(path, [keyed])
    assert (status, answer["accepted"]) == (202, 1)


@pytest.mark.parametrize("is_atomic", [False, True])
async def test_any_mix_of_good_and_bad_is_published_as_it_is_answered(
    site: Site, is_atomic: bool
) -> None:
    chance = random.Random(is_atomic)
    for turn in range(25):
        keys = [f"mix-{is_atomic}-{turn}-{n}" for n in range(chance.randrange(1, 40))]
        bad = {n for n in range(len(keys)) if chance.random() < chance.choice([0, 0.1, 0.9])}
        events = [
            site.event(idempotency_key=key, quantity="x" if n in bad else n)
            for n, key in enumerate(keys)
        ]
        before = await site.log_size()
        status, answer = await site.post(PATH + "?atomic=true" * is_atomic, events)
        if is_atomic and bad:
            assert status == 422
            assert {error["pointer"] for error in answer["errors"]} == {
                f"/{n}/quantity" for n in bad
            }
            assert await site.log_size() == before
            continue
        assert status == 202
        assert {error["index"] for error in answer["errors"]} == bad
        assert {n for n, ref in enumerate(answer["event_refs"]) if ref is None} == bad
        records = await site.records([receipt for receipt in answer["receipts"] if receipt])
        assert [json.loads(record.value)["idempotency_key"] for record in records] == [
            key for n, key in enumerate(keys) if n not in bad
        ]
        assert await site.log_size() == before + len(records)


def codes(refusal: tuple[int, Any]) -> dict[str, str]:
    status, problem = refusal
    assert status == 422, problem
    return {error["pointer"]: error["code"] for error in problem["errors"]}


async def test_every_form_and_coding_brings_the_same_events(site: Site) -> None:
    event = site.event(quantity="2.50", idempotency_key="k")
    names, cells = ",".join(event), ",".join(str(value) for value in event.values())
    bodies = {
        "application/json": json.dumps([event]).encode(),
        "application/x-ndjson": json.dumps(event).encode() + b"\n",
        "text/csv; charset=utf-8": f"{names}\r\n{cells}\r\n".encode(),
    }
    refs = set()
    for media_type, body in bodies.items():
        for coding, packed in [
            ("identity", body),
            ("gzip", gzip.compress(body)),
            ("zstd", bytes(cramjam.zstd.compress(body))),
        ]:
            headers = {"Content-Type": media_type, "Content-Encoding": coding}
            status, answer = await site.post(PATH, packed, headers)
            assert (status, answer["accepted"]) == (202, 1), answer
            refs.update(answer["event_refs"])
            (record,) = await site.records(answer["receipts"])
            assert json.loads(record.value)["quantity"] == "2.50"
    assert len(refs) == 1


async def test_cloudevents_are_named_by_source_and_id(site: Site) -> None:
    data = site.event()
    event = {"specversion": "1.0", "id": "1", "source": "/eu", "type": "call", "data": data}
    headers = {"Content-Type": "application/cloudevents+json; charset=utf-8"}
    _, single = await site.post(PATH, event, headers)
    headers = {"Content-Type": "application/cloudevents-batch+json"}
    bad = event | {"data": data | {"quantity": "x"}}
    status, batch = await site.post(PATH, [event, event | {"id": "2"}, bad], headers)
    assert (status, batch["accepted"]) == (202, 2)
    assert batch["event_refs"][0] == single["event_refs"][0] != batch["event_refs"][1]
    assert [error["pointer"] for error in batch["errors"]] == ["/data/quantity"]
    by_key = await site.take(site.event(idempotency_key="/eu\x1f1"))
    assert by_key["event_ref"] == single["event_refs"][0]


async def test_atomic_is_understood_in_every_form_or_refused(site: Site) -> None:
    before = await site.log_size()
    body = b"timestamp,quantity\n2024-02-05T12:00:00Z,1\n"
    status, _ = await site.post(PATH + "?atomic=true", body, {"Content-Type": "text/csv"})
    assert status == 422
    status, _ = await site.post(PATH + "?atomic=yes", [site.event()])
    assert status == 422
    assert await site.log_size() == before


async def test_a_preference_that_was_honoured_is_named(site: Site) -> None:
    headers = {"Prefer": 'respond-async, return="minimal"; x=1'}
    _, answer, sent = await site.exchange(PATH, [site.event()], headers)
    assert "event_refs" not in answer
    assert sent["Preference-Applied"] == "return=minimal"


async def test_a_broken_or_huge_zstd_is_refused(site: Site) -> None:
    headers = {"Content-Encoding": "zstd"}
    packed = bytes(cramjam.zstd.compress(json.dumps([site.event()]).encode()))
    assert (await site.post(PATH, packed[:-3], headers))[0] == 400
    bomb = bytes(cramjam.zstd.compress(b" " * 50_000_000))
    assert (await site.post(PATH, bomb, headers))[0] == 413
    single = bytes(cramjam.zstd.compress(json.dumps(site.event()).encode()))
    assert (await site.post("/api/usage/event", single, headers))[0] == 202
