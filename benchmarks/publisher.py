"""Records a second through the gateway's group commit, beside aiokafka's bare `send_batch`.

Both send the same records to the same topic through producers of the same settings; the client has
one core, Kafka the other. What is acknowledged is counted against the log.
Run: `python -m benchmarks.publisher`.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from time import perf_counter

import msgspec
import uvloop

from benchmarks.site import (
    METER_REF,
    PARTITIONS,
    Site,
    customer_refs,
    end_offsets,
    events,
    pin,
    running_site,
)
from gateway.ingest.batching import Lane
from gateway.ingest.publisher import Publisher, discard, producer_maker, read_batch_limit
from schemas.event_ref import partition_of, shard_key
from schemas.topics import USAGE_EVENTS
from schemas.usage_event import encode_record

RECORDS = 100_000
ROUNDS = 3
BATCH_BYTES = 480 * 1024
FEEDERS = 16
EVENTS_A_REQUEST = 500
CLIENT_CORE, OTHER_CORE = 0, 1

Record = tuple[int, bytes, bytes]


def records(tenant_ref: str) -> list[Record]:
    """Write the workload: partition, key and value of every record."""
    return records_of(tenant_ref, events(RECORDS))


def records_of(tenant_ref: str, bodies: list[bytes]) -> list[Record]:
    """Write events as records: partition, key and value."""
    found = []
    for body in bodies:
        event = msgspec.json.decode(body)
        ref = event["customer_ref"]
        data = event.get("additional_report_data")
        value = encode_record(
            tenant_ref=tenant_ref,
            customer_ref=ref,
            usage_product_ref=METER_REF,
            timestamp=event["timestamp"],
            quantity=str(event["quantity"]),
            additional_data=None if data is None else msgspec.json.encode(data).decode(),
            idempotency_key=event["idempotency_key"],
        )
        found.append((partition_of(shard_key(ref), PARTITIONS), ref.encode(), value))
    return found


async def through_group_commit(kafka: str, workload: list[Record]) -> float:
    """Publish as bulk requests do, several at once; return the seconds it took."""
    lanes = [
        Lane(USAGE_EVENTS, partition, deadline_seconds=60, patience_seconds=5)
        for partition in range(PARTITIONS)
    ]
    publisher = Publisher(
        producer_maker(kafka, batch_bytes=BATCH_BYTES),
        lanes,
        partial(read_batch_limit, kafka, USAGE_EVENTS),
    )
    running = asyncio.create_task(publisher.run())
    async with asyncio.timeout(30):
        await publisher.wait_open()
    requests = iter(
        [workload[at : at + EVENTS_A_REQUEST] for at in range(0, RECORDS, EVENTS_A_REQUEST)]
    )

    async def feed() -> None:
        for request in requests:
            placed = [publisher.add_to[partition](key, value) for partition, key, value in request]
            for batch in {id(batch): batch for batch, _ in placed}.values():
                settlement = await batch.settled
                assert settlement.base_offset is not None

    began = perf_counter()
    await asyncio.gather(*[feed() for _ in range(FEEDERS)])
    taken = perf_counter() - began
    running.cancel()
    await asyncio.wait([running])
    return taken


async def through_send_batch(kafka: str, workload: list[Record]) -> float:
    """Fill a batch a partition and send it, with nothing around it; return the seconds."""
    producer = producer_maker(kafka, batch_bytes=BATCH_BYTES)()
    await producer.start()
    shares: list[list[Record]] = [[] for _ in range(PARTITIONS)]
    for record in workload:
        shares[record[0]].append(record)

    async def send(partition: int) -> None:
        waiting = iter(shares[partition])
        record = next(waiting, None)
        while record is not None:
            batch = producer.create_batch()
            while record is not None:
                if batch.append(timestamp=0, key=record[1], value=record[2]) is None:
                    break
                record = next(waiting, None)
            await (await producer.send_batch(batch, USAGE_EVENTS, partition=partition))

    began = perf_counter()
    await asyncio.gather(*[send(partition) for partition in range(PARTITIONS)])
    taken = perf_counter() - began
    await discard(producer)
    return taken


Way = Callable[[str, list[Record]], Awaitable[float]]


async def best_rate(site: Site, way: Way, workload: list[Record]) -> float:
    """Publish the workload a few times; return the best rate, in records a second."""
    kafka = site.servers.kafka
    rates = []
    for _ in range(ROUNDS):
        before = await end_offsets(kafka)
        rates.append(RECORDS / await way(kafka, workload))
        recorded = await end_offsets(kafka) - before
        assert recorded == RECORDS, f"{RECORDS} acknowledged, {recorded} in the log"
    return round(max(rates), 1)


async def measure(site: Site) -> dict[str, object]:
    """Measure both ways, in turn."""
    workload = records(site.tenant_ref)
    await through_send_batch(site.servers.kafka, workload)  # warms the broker up
    ceiling = await best_rate(site, through_send_batch, workload)
    rate = await best_rate(site, through_group_commit, workload)
    return {
        "benchmark": "publisher",
        "records": RECORDS,
        "bytes_a_record": sum(len(value) for _, _, value in workload) // RECORDS,
        "customers": len(customer_refs()),
        "records_per_second": rate,
        "ceiling_send_batch_per_second": ceiling,
        "share_of_ceiling": round(rate / ceiling, 3),
    }


def main() -> None:
    """Measure, and print the figures."""
    pin(OTHER_CORE)
    with running_site() as site:
        pin(CLIENT_CORE)
        report = uvloop.run(measure(site))
    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")


if __name__ == "__main__":
    main()
