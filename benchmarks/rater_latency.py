"""How long an event is on its way from Kafka's acknowledgement to its charge, under load.

`python -m benchmarks.rater_latency [--rate N] [--seconds N] [--warming N]` prints JSON. One rater
first works off a log as fast as it can; then events come at a rate, of itself 70 % of that, each
due at its time whatever came before; what is due goes in one batch a partition. An event is
visible when the offset of its partition is behind it, which is committed with the charge. Times
are from the broker's acknowledgement to when a look every few milliseconds finds it; the loader's
own lag behind its plan is printed beside them.
"""

import argparse
import asyncio
import json
import os
import time
from collections import deque

from aiokafka import AIOKafkaProducer

from benchmarks.rater_site import (
    BATCH_RECORDS,
    PARTITIONS,
    Drawing,
    Records,
    Site,
    a_site,
    produce,
    rate,
    rated,
    raters,
    the_servers,
)
from deploy.local.servers import Servers

CUSTOMERS, METERS = 5_000, 40
LOAD = 0.7
POLLS = 8
BEAT_SECONDS = 0.05
BATCH_BYTES = 900_000
LOOK_SECONDS = 0.005
VISIBLE_SECONDS_MAX = 120


class Journey:
    """Batches on their way, and how long those took that are visible."""

    def __init__(self) -> None:
        #: By partition: the offset behind a batch, when it was acknowledged, and its events.
        self.under_way: list[deque[tuple[int, float, int]]] = [deque() for _ in range(PARTITIONS)]
        #: Seconds, and how many events took so long.
        self.taken: list[tuple[float, int]] = []
        self.lags: list[float] = []

    def see(self, partition: int, next_offset: int, now: float) -> None:
        """Note what has become visible."""
        waiting = self.under_way[partition]
        while waiting and waiting[0][0] <= next_offset:
            _, acknowledged, events = waiting.popleft()
            self.taken.append((max(0.0, now - acknowledged), events))

    def percentile(self, share: float) -> float:
        """Return the milliseconds that this share of the events took at most."""
        left = share * sum(events for _, events in self.taken)
        for seconds, events in sorted(self.taken):
            left -= events
            if left <= 0:
                return round(seconds * 1_000, 1)
        raise AssertionError("nothing was measured")


async def send(site: Site, load: Records, rate_per_second: float, journey: Journey) -> None:
    """Send the records at their times."""
    producer = AIOKafkaProducer(
        bootstrap_servers=site.servers.kafka,
        enable_idempotence=True,
        compression_type="zstd",
        max_batch_size=BATCH_BYTES,
    )
    await producer.start()
    try:
        interval = PARTITIONS / rate_per_second
        async with asyncio.TaskGroup() as tasks:
            for partition in range(PARTITIONS):
                tasks.create_task(_send(producer, site, load, partition, interval, journey))
    finally:
        await producer.stop()


async def _send(
    producer: AIOKafkaProducer,
    site: Site,
    load: Records,
    partition: int,
    interval: float,
    journey: Journey,
) -> None:
    """Send a partition's records, all that are due in one batch, and note its acknowledgement.

    interval: seconds from one record of the partition to the next.
    """
    records, begun, sent = load[partition], time.monotonic(), 0
    while sent < len(records):
        await asyncio.sleep(BEAT_SECONDS)
        now = time.monotonic()
        part = records[sent : min(int((now - begun) / interval), sent + BATCH_RECORDS)]
        if not part:
            continue
        journey.lags.append(now - begun - sent * interval)
        batch = producer.create_batch()
        for key, value in part:
            assert batch.append(key=key, value=value, timestamp=None) is not None
        sending = await producer.send_batch(batch, site.topic, partition=partition)
        behind = (await sending).offset + len(part)
        journey.under_way[partition].append((behind, time.monotonic(), len(part)))
        sent += len(part)


async def look(site: Site, journey: Journey, sending: asyncio.Task[None]) -> None:
    """Look at the partitions until everything sent is visible."""
    deadline = None
    while not sending.done() or any(journey.under_way):
        if sending.done():
            deadline = deadline or time.monotonic() + VISIBLE_SECONDS_MAX
            assert time.monotonic() < deadline, "events do not become visible"
        rows = await site.connection.fetch("SELECT partition, next_offset FROM rater_partition")
        now = time.monotonic()
        for row in rows:
            journey.see(row["partition"], row["next_offset"], now)
        await asyncio.sleep(LOOK_SECONDS)
    await sending


async def run(servers: Servers, args: argparse.Namespace) -> None:
    """Measure and print what came out."""
    async with a_site(servers, customers=CUSTOMERS, meters=METERS) as site:
        drawing = await Drawing.of(site)
        await produce(site, drawing.draw(args.warming, zipf=True))
        # Several polls of each partition, so that there is a middle to measure.
        polls = args.warming // PARTITIONS // POLLS
        async with raters(site, poll_records_max=polls) as pids:
            fastest = (await rate(site, args.warming, pids))["rated_per_second"]
            per_second = args.rate or fastest * LOAD
            events = round(per_second * args.seconds)
            load = drawing.draw(events, zipf=True)
            journey = Journey()
            sending = asyncio.create_task(send(site, load, per_second, journey))
            await look(site, journey, sending)
            assert await rated(site) == args.warming + events
    result = {
        "benchmark": "rater_latency",
        "processors": os.cpu_count(),
        "fastest_per_second": fastest,
        "offered_per_second": round(per_second),
        "events": events,
        "visible_p50_ms": journey.percentile(0.5),
        "visible_p99_ms": journey.percentile(0.99),
        "visible_max_ms": journey.percentile(1),
        "loader_lag_max_ms": round(max(journey.lags) * 1_000, 1),
    }
    print(json.dumps(result, indent=2))


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=0)
    parser.add_argument("--warming", type=int, default=400_000)
    parser.add_argument("--seconds", type=float, default=30)
    args = parser.parse_args()
    with the_servers() as servers:
        asyncio.run(run(servers, args))


if __name__ == "__main__":
    main()
