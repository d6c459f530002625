"""Sends the sample month: most of it over HTTP, one customer straight into Kafka."""

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from aiokafka import AIOKafkaProducer

from deploy.demo.sample import Row, read_sample
from deploy.local.errors import StackError
from meterline_client import Accepted, AsyncClient, Item, Rejected, Unknown
from schemas.topics import USAGE_EVENTS

ROWS_A_REPORT = 1_000


@dataclass(frozen=True, kw_only=True)
class Names:
    """The refs of the customers and meters by the names that the sample uses."""

    customers: Mapping[str, str]
    meters: Mapping[str, str]


@dataclass(kw_only=True)
class Sent:
    """The sender's own ledger: what was acknowledged, and what was refused at the edge."""

    over_http: int = 0
    into_kafka: int = 0
    refused: int = 0

    @property
    def accepted(self) -> int:
        """Events that are in the log: each must be accounted for."""
        return self.over_http + self.into_kafka


def event_of(row: Row, names: Names) -> dict[str, object]:
    """Return the event that a producer sends for a row; names without a ref are sent as names."""
    customer, meter = names.customers.get(row.customer), names.meters.get(row.meter)
    who = {"customer_ref": customer} if customer else {"customer_name": row.customer}
    what = {"usage_product_ref": meter} if meter else {"usage_product_name": row.meter}
    return {
        "timestamp": row.timestamp,
        **who,
        **what,
        "quantity": row.quantity,
        "additional_report_data": {"region": row.region},
        "idempotency_key": row.key,
    }


async def send_sample(
    client: AsyncClient,
    kafka: str,
    topic_prefix: str,
    names: Names,
    progress: Callable[[Sent, int], None],
) -> Sent:
    """Send all rows; `progress` gets the ledger and the rows just answered."""
    rows = list(read_sample())
    sent = Sent()
    native = [row for row in rows if row.via == "kafka"]
    events = (event_of(row, names) for row in rows if row.via == "http")
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(send_over_http(client, events, sent, progress))
        tasks.create_task(_send_native(kafka, topic_prefix, names, native, sent, progress))
    return sent


async def send_over_http(
    client: AsyncClient,
    events: Iterable[Item],
    sent: Sent,
    progress: Callable[[Sent, int], None],
) -> None:
    """Send events and keep the ledger. Raises StackError when one has no outcome."""
    answered = 0
    async for outcome in client.stream(events):
        match outcome:
            case Accepted():
                sent.over_http += 1
            case Rejected():
                sent.refused += 1
            case Unknown(reason=reason):
                raise StackError(f"the gateway could not take an event: {reason}")
        answered += 1
        if answered == ROWS_A_REPORT:
            progress(sent, answered)
            answered = 0
    progress(sent, answered)


async def _send_native(
    kafka: str,
    topic_prefix: str,
    names: Names,
    rows: Sequence[Row],
    sent: Sent,
    progress: Callable[[Sent, int], None],
) -> None:
    """Write rows as a producer does that knows Kafka and not this product's HTTP API."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka, acks="all", enable_idempotence=True)
    await producer.start()
    try:
        for row in rows:
            event = {"v": 1, "kind": "USAGE", **event_of(row, names)}
            key = str(event.get("customer_ref", "unknown")).encode()
            await producer.send(topic_prefix + USAGE_EVENTS, json.dumps(event).encode(), key=key)
        await producer.flush()
    finally:
        await producer.stop()
    sent.into_kafka += len(rows)
    progress(sent, len(rows))
