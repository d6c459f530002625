"""Sums of usage: a report says the same, whether it reads roll-ups, their tail, or events."""

import random
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from tests.ground import NewGround
from tests.integration.manage.clients import Gateway, make_tenant
from tests.integration.manage.shop import make_shop
from tests.integration.reports.conftest import Reader, Site
from tests.processes import running
from tests.rating import broken_sums

FIRST, DAYS = datetime(2023, 3, 1, tzinfo=UTC), 75
EVENTS_MIN = 30
RUNBOOK = Path(__file__).parents[3] / "deploy" / "runbook.md"
WINDOWS = ("hour", "day", "month")
#: Full hours, and instants that cut an hour; the second one is an event's own.
BOUNDS: list[tuple[str | None, str | None]] = [
    (None, None),
    ("2023-03-10T00:00:00Z", "2023-05-02T05:00:00Z"),
    ("2023-03-01T00:30:00.000001Z", "2023-04-20T17:45:00Z"),
    ("2023-03-01T00:30:00Z", "2023-03-01T00:30:00.000001Z"),
]

Usage = dict[str, tuple[datetime, Fraction]]


@pytest_asyncio.fixture(scope="module")
async def rolling(new_ground: NewGround) -> AsyncIterator[Site]:
    """Run a gateway, and a rater that folds nothing by itself in a test's time."""
    async with new_ground("rollups") as ground:
        gateway = ground.service("gateway")
        rater = ground.service("rater", METERLINE_RATER_ROLLUP_SECONDS="3600")
        with running(gateway, rater):
            gateway.start()
            rater.start()
            yield Site(Gateway(gateway.url, ground.postgres), ground.kafka, ground.topic_prefix)


@pytest.mark.parametrize("timezone", ["America/New_York", "Asia/Kolkata"])
async def test_sums_say_what_the_events_say(rolling: Site, timezone: str) -> None:
    client = await make_tenant(rolling.gateway)
    tenant = client.tenant_id
    await client.fetch("UPDATE entity SET timezone = $1 WHERE tenant_id = $2", timezone, tenant)
    reader = Reader(client, make_shop(client), rolling)
    reader.sign()
    usage = send_some(reader, EVENTS_MIN * 2)
    refs = list(usage)
    wait_rated(reader)
    assert await grain(reader) == [], "so few events are read one by one"
    await compare(reader, usage)
    await fold(reader)
    assert await grain(reader) == [1 if timezone == "Asia/Kolkata" else 4]
    await compare(reader, usage)
    # More events, and some moved, changed and deleted, beside the sums and then in them.
    usage |= send_some(reader, 20)
    amend(reader, usage, refs)
    wait_rated(reader)
    await compare(reader, usage)
    await fold(reader)
    await compare(reader, usage)
    connection = await asyncpg.connect(client.postgres)
    assert await broken_sums(connection, tenant) == []
    await connection.execute(made_anew())
    assert await broken_sums(connection, tenant) == []
    assert await grain(reader) != []
    await connection.close()
    await check_without_events(reader, usage)


def made_anew() -> str:
    """Return what the runbook says to make all sums anew, for customers of a few events."""
    _, _, rest = RUNBOOK.read_text().partition("    BEGIN;\n    TRUNCATE usage_tail")
    text = "BEGIN; TRUNCATE usage_tail" + rest.partition("COMMIT;")[0] + "COMMIT;"
    assert "10000" in text
    return text.replace("10000", str(EVENTS_MIN))


def send_some(reader: Reader, count: int) -> Usage:
    """Send events, some at the same instants, one of them twice; return them by their refs."""
    chance = random.Random(count)
    events, usage = [], {}
    for number in range(count):
        at = FIRST + timedelta(hours=chance.randrange(DAYS * 24) * (number % 3), minutes=30)
        quantity = f"{chance.randrange(-5, 90)}.{chance.randrange(10**9):09}"
        events.append(
            {
                "timestamp": at.isoformat(),
                "customer_ref": reader.shop.customer_ref,
                "usage_product_ref": reader.shop.meter_ref,
                "quantity": quantity,
                "idempotency_key": f"{count}-{number}",
                "additional_report_data": {"number": number % 2},
            }
        )
        usage[number] = (at, Fraction(quantity))
    answer = reader.client.ok("POST", "/api/usage/events", [*events, events[0]])
    refs = answer["event_refs"]
    return {refs[number]: use for number, use in usage.items()}


def amend(reader: Reader, usage: Usage, refs: list[str]) -> None:
    """Delete an event, change one, and move one out of an hour that it had to itself."""
    deleted, changed, *_ = refs
    moved = refs[-1]
    reader.client.ok("DELETE", f"/api/usage/event/{deleted}")
    del usage[deleted]
    changes: list[tuple[str, Mapping[str, object]]] = [
        (changed, {"quantity": "0.000000001"}),
        (moved, {"timestamp": "2023-05-20T20:15:00Z"}),
    ]
    for ref, change in changes:
        reader.client.ok("POST", "/api/usage/event/update", {"event_ref": ref, **change})
    usage[changed] = usage[changed][0], Fraction("0.000000001")
    usage[moved] = datetime(2023, 5, 20, 20, 15, tzinfo=UTC), usage[moved][1]


def wait_rated(reader: Reader) -> None:
    """Wait until the rater has passed the end of the log."""
    marker = reader.send(quantity=0, timestamp="2022-01-01T00:00:00Z")
    reader.read(marker["event_ref"])


async def fold(reader: Reader) -> None:
    """Fold the tail, as the rater does."""
    statement = "SELECT fold_usage_tail(partition, $1) FROM rater_partition"
    await reader.client.fetch(statement, EVENTS_MIN)
    assert await reader.client.fetch("SELECT FROM usage_tail") == []


async def grain(reader: Reader) -> list[int]:
    rows = await reader.client.fetch(
        "SELECT grain FROM rolled_customer WHERE tenant_id = $1 AND grain IS NOT NULL",
        reader.client.tenant_id,
    )
    return [row["grain"] for row in rows]


def summary(reader: Reader, window: str, bounds: tuple[str | None, str | None]) -> Any:  # noqa: ANN401
    named = {"from": bounds[0] or "2022-06-01", "to": bounds[1]}
    query = {name: bound for name, bound in named.items() if bound is not None}
    query |= {"customer_ref": reader.shop.customer_ref, "window": window}
    answer = reader.client.send("GET", "/api/usage/summary", query=query)
    assert answer.ok, answer.text
    return answer.json(parse_float=Fraction)["rows"]


async def compare(reader: Reader, usage: Usage) -> None:
    """Compare every kind of summary with the sums of the events, added here."""
    for window in WINDOWS:
        costs = Fraction(0)
        for bounds in BOUNDS:
            rows = summary(reader, window, bounds)
            found = {row["start"]: (Fraction(row["quantity"]), row["event_count"]) for row in rows}
            assert found == expected(usage, window, bounds), (window, bounds)
            if bounds == (None, None):
                costs = sum((cost(row) for row in rows), Fraction(0))
        assert costs == await charged(reader), window
    grouped = reader.list("/api/usage/summary", group_by="number", **{"from": "2022-06-01"})["rows"]
    assert sum(row["event_count"] for row in grouped) == len(usage)


def expected(
    usage: Usage, window: str, bounds: tuple[str | None, str | None]
) -> dict[str, tuple[Fraction, int]]:
    low, high = (datetime.fromisoformat(bound) if bound else None for bound in bounds)
    sums: dict[str, list[Fraction]] = {}
    for at, quantity in usage.values():
        if (low is None or at >= low) and (high is None or at < high):
            start = at.replace(minute=0)
            start = start if window == "hour" else start.replace(hour=0)
            start = start.replace(day=1) if window == "month" else start
            total = sums.setdefault(f"{start:%Y-%m-%dT%H:%M:%SZ}", [Fraction(0), Fraction(0)])
            total[0] += quantity
            total[1] += 1
    return {start: (total[0], int(total[1])) for start, total in sums.items()}


def cost(row: Mapping[str, Any]) -> Fraction:
    return sum((Fraction(one["amount"]) for one in row["amounts"]), Fraction(0))


async def charged(reader: Reader) -> Fraction:
    """Return what all charges of the customer come to."""
    rows = await reader.client.fetch(
        "SELECT amount FROM charge WHERE tenant_id = $1", reader.client.tenant_id
    )
    return sum((Fraction(row["amount"]) for row in rows), Fraction(0))


async def check_without_events(reader: Reader, usage: Usage) -> None:
    """Take all events away, as an archive does: between full hours nothing is missed."""
    tenant = reader.client.tenant_id
    for table in ("usage_event_version", "usage_event_row"):
        await reader.client.fetch(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        await reader.client.fetch(f"DELETE FROM {table} WHERE tenant_id = $1", tenant)
    await reader.client.fetch(
        "INSERT INTO archived_month (month, events, file_name, file_bytes, file_sha256) "
        "VALUES (282, 1, '', 1, sha256('')) ON CONFLICT DO NOTHING"
    )
    for window in WINDOWS:
        for bounds in BOUNDS[:2]:
            found = {row["start"]: row["event_count"] for row in summary(reader, window, bounds)}
            sums = expected(usage, window, bounds)
            assert found == {start: count for start, (_, count) in sums.items()}
    for asked in ({"from": "2023-03-01T00:30:00.000001Z"}, {"group_by": "number"}):
        query = {"customer_ref": reader.shop.customer_ref, "to": "2023-03-02", **asked}
        assert reader.client.refused("GET", "/api/usage/summary", **query) == {
            "/from": "month_archived"
        }
    await reader.client.fetch("DELETE FROM archived_month")
