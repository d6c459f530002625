"""Dead letters as people meet them: listed with a reason, put right, sent again, billed once."""

import asyncio
import base64
import json
import os
import sys
import time
from typing import Any

from aiokafka import AIOKafkaProducer

from schemas.event_ref import partition_of, shard_key
from schemas.retrying import ORIGIN_HEADER
from schemas.topics import USAGE_EVENTS
from tests.conftest import TEST_PARTITIONS
from tests.integration.reports.conftest import DEADLINE_SECONDS, Reader


async def produce(
    reader: Reader,
    record: dict[str, Any] | bytes,
    key: bytes,
    partition: int | None = None,
    origin: bytes | None = None,
) -> tuple[int, int]:
    """Append a record as a Kafka-native producer does; its place."""
    value = record if isinstance(record, bytes) else json.dumps(record).encode()
    async with AIOKafkaProducer(bootstrap_servers=reader.site.kafka) as producer:
        sent = await producer.send_and_wait(
            reader.site.topic_prefix + USAGE_EVENTS,
            value,
            key=key,
            partition=partition,
            headers=[] if origin is None else [(ORIGIN_HEADER, origin)],
        )
    return sent.partition, sent.offset


async def record_of(reader: Reader, **fields: object) -> dict[str, Any]:
    (row,) = await reader.client.fetch(
        "SELECT tenant_ref::text FROM tenant WHERE tenant_id = $1", reader.client.tenant_id
    )
    return {
        "v": 1,
        "kind": "USAGE",
        "tenant_ref": row["tenant_ref"],
        "timestamp": "2023-03-15T12:00:00Z",
        "customer_ref": reader.shop.customer_ref,
        "usage_product_ref": reader.shop.meter_ref,
        "quantity": "10",
        **fields,
    }


def dead(reader: Reader, count: int) -> list[dict[str, Any]]:
    """Wait until the tenant has so many dead letters whose retries are all judged."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        letters: list[dict[str, Any]] = reader.client.ok("GET", "/api/usage/dead")["dead_letters"]
        outcomes = [retry["outcome"] for letter in letters for retry in letter["retries"]]
        if len(letters) >= count and "PENDING" not in outcomes:
            assert len(letters) == count
            return letters
        assert time.monotonic() < deadline, letters
        time.sleep(0.05)


def retry(reader: Reader, letter: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = reader.client.ok("POST", f"/api/usage/dead/{letter['id']}/retry")
    return answer


def home(reader: Reader) -> int:
    return partition_of(shard_key(reader.shop.customer_ref), TEST_PARTITIONS)


async def test_an_unkeyed_event_in_a_wrong_partition_comes_home_and_is_billed_once(
    reader: Reader,
) -> None:
    contract_ref = reader.sign()
    record = await record_of(reader)
    elsewhere = (home(reader) + 1) % TEST_PARTITIONS
    place = await produce(reader, record, reader.shop.customer_ref.encode(), elsewhere)
    (letter,) = dead(reader, 1)
    assert letter["reason"] == "WRONG_PARTITION"
    assert letter["receipt"] == {"partition": place[0], "offset": place[1]}
    assert json.loads(base64.b64decode(letter["value"])) == record
    for _ in range(2):
        assert retry(reader, letter)["receipt"]["partition"] == home(reader)
    (letter,) = dead(reader, 1)
    assert [r["outcome"] for r in letter["retries"]] == ["TAKEN", "TAKEN"]
    (event,) = reader.list()["events"]
    shown = reader.read(event["event_ref"])
    assert shown["versions"][0]["receipt"] == letter["receipt"]
    assert {charge["contract_ref"] for charge in shown["charges"]} == {contract_ref}
    charges = await reader.client.fetch(
        "SELECT quantity, event_count FROM charge WHERE tenant_id = $1", reader.client.tenant_id
    )
    assert {(int(row["quantity"]), row["event_count"]) for row in charges} == {(10, 1)}


async def test_what_fails_again_keeps_its_first_place(reader: Reader, stranger: Reader) -> None:
    record = await record_of(reader, customer_ref=stranger.shop.customer_ref)
    await produce(reader, record, stranger.shop.customer_ref.encode())
    (letter,) = dead(reader, 1)
    assert (letter["reason"], letter["retry_of"]) == ("UNKNOWN_CUSTOMER", None)
    retry(reader, letter)
    first, second = sorted(dead(reader, 2), key=lambda letter: letter["receipt"]["offset"])
    assert [r["outcome"] for r in first["retries"]] == ["DEAD"]
    assert second["retry_of"] == first["id"]
    retry(reader, second)
    third = max(dead(reader, 3), key=lambda letter: letter["receipt"]["offset"])
    assert third["retry_of"] == first["id"]


async def test_nobody_makes_an_event_disappear_by_naming_anothers_place(reader: Reader) -> None:
    record = await record_of(reader)
    key = reader.shop.customer_ref.encode()
    elsewhere = (home(reader) + 1) % TEST_PARTITIONS
    place = await produce(reader, await record_of(reader, quantity="7"), key, elsewhere)
    dead(reader, 1)
    origin = b"%d,%d" % place
    await produce(reader, record, key, origin=origin)
    await produce(reader, record, key, origin=origin)
    await produce(reader, record, key, origin=b"0,999999999")
    await produce(reader, record, key, origin=b"nonsense")
    last = reader.send()
    reader.read(last["event_ref"])
    assert len(reader.list()["events"]) == 5
    assert len(dead(reader, 1)) == 1


async def test_dead_letters_come_in_pages(reader: Reader) -> None:
    for quantity in ("a", "b", "c"):
        record = await record_of(reader, quantity=quantity)
        await produce(reader, record, reader.shop.customer_ref.encode())
    letters = dead(reader, 3)
    assert {letter["reason"] for letter in letters} == {"NUMBER_MALFORMED"}
    page = reader.client.ok("GET", "/api/usage/dead", limit="2")
    rest = reader.client.ok("GET", "/api/usage/dead", limit="2", cursor=page["next_cursor"])
    assert page["dead_letters"] + rest["dead_letters"] == letters
    assert rest["next_cursor"] is None


async def test_nobody_sees_or_retries_what_is_dead_of_another_tenant(
    reader: Reader, stranger: Reader
) -> None:
    record = await record_of(reader, quantity="a")
    await produce(reader, record, reader.shop.customer_ref.encode())
    (letter,) = dead(reader, 1)
    assert stranger.client.ok("GET", "/api/usage/dead")["dead_letters"] == []
    for name in (letter["id"], "9-9", "x", "1-1-1"):
        answer = stranger.client.send("POST", f"/api/usage/dead/{name}/retry")
        assert answer.status_code == 404, answer.text


async def test_the_command_line_lists_and_retries_too(reader: Reader) -> None:
    record = await record_of(reader)
    elsewhere = (home(reader) + 1) % TEST_PARTITIONS
    await produce(reader, record, reader.shop.customer_ref.encode(), elsewhere)
    (letter,) = dead(reader, 1)
    env = {
        **os.environ,
        "METERLINE_KAFKA": reader.site.kafka,
        "METERLINE_POSTGRES": reader.client.postgres,
        "METERLINE_TOPIC_PREFIX": reader.site.topic_prefix,
    }

    async def meterline(*arguments: str) -> tuple[int | None, str]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "deploy.cli", "dead", *arguments),
            env=env,
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await process.communicate()
        return process.returncode, out.decode()

    code, listed = await meterline("list", "--json")
    assert code == 0
    shown = {row["id"]: row for row in map(json.loads, listed.splitlines())}
    assert shown[letter["id"]]["reason"] == "WRONG_PARTITION"
    code, sent = await meterline("retry", letter["id"])
    assert (code, letter["id"] in sent) == (0, True)
    retry(reader, letter)
    (letter,) = dead(reader, 1)
    assert [r["outcome"] for r in letter["retries"]] == ["TAKEN", "TAKEN"]
    assert len(reader.list()["events"]) == 1
    code, _ = await meterline("retry", "99-1")
    assert code == 1
    code, plain = await meterline("list")
    assert letter["id"] in plain
