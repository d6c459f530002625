"""The sample month: October 2026, eight customers, three meters, with the warts of real traffic.

`python -m deploy.demo.sample` writes `usage-2026-10.csv.xz` anew, always the same rows: customers
skewed as real ones are, days and weeks with their rhythm, a few records out of order, retries
(some stamped anew), keys used twice for different things, and rows that no one can bill.
"""

import csv
import io
import lzma
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

SAMPLE_FILE = Path(__file__).with_name("usage-2026-10.csv.xz")
MONTH_START = datetime(2026, 10, 1, tzinfo=UTC)
EVENTS = 100_000
RETRIES = 1_900
CONFLICTS = 40
DAYS = 31
#: One retry in so many bears the time of the retry instead of the use.
STAMPED_ANEW = 5
REUSED_AFTER = timedelta(days=5)

#: Share of the traffic, and whether the customer writes into Kafka itself.
CUSTOMERS: tuple[tuple[str, float, str], ...] = (
    ("Aurora Maps", 41.0, "http"),
    ("Birch Logistics", 23.0, "http"),
    ("Cobalt Games", 14.0, "http"),
    ("Delta Weather", 9.0, "http"),
    ("Ember Health", 6.0, "http"),
    ("Fjord Radio", 4.0, "http"),
    ("Granite Robotics", 2.5, "kafka"),
    ("Harbour Labs", 0.5, "http"),
)
METERS = ("API calls", "Storage GB-hours", "Messages")
REGIONS = ("eu-north", "eu-west", "us-east", "ap-south")
#: How busy an hour of the day is (UTC), and a day of the week from Monday.
HOUR_WEIGHTS = (3, 2, 2, 2, 3, 4, 6, 9, 12, 14, 15, 15, 14, 15, 16, 15, 14, 12, 10, 9, 8, 7, 5, 4)
WEEKDAY_WEIGHTS = (10, 11, 11, 11, 10, 5, 4)
#: Rows that can't be billed: what is wrong with the row, and the fields it has instead.
BROKEN: tuple[dict[str, str], ...] = (
    {"quantity": ""},
    {"quantity": "NaN"},
    {"quantity": "12,5"},
    {"quantity": "1e400"},
    {"quantity": "0.1234567890123456789"},
    {"timestamp": "2026-10-14T09:30:00"},
    {"timestamp": "2026-10-32T00:00:00Z"},
    {"timestamp": "1999-12-31T23:59:59Z"},
    {"customer": "Nobody Inc"},
    {"meter": "Teleportations"},
    {"key": "k" * 300},
)
BROKEN_TIMES = 6  # 66 rows of 100,000: the share that a careless producer sends


class Row(NamedTuple):
    """One row of the sample, as text: what a producer would read from its own log."""

    timestamp: str
    customer: str
    meter: str
    quantity: str
    key: str
    region: str
    via: str


def read_sample(path: Path = SAMPLE_FILE) -> Iterator[Row]:
    """Yield the rows of the committed file."""
    with lzma.open(path, "rt", newline="") as text:
        reader = csv.reader(text)
        next(reader)
        yield from map(Row._make, reader)


def make_rows() -> list[Row]:
    """Make all rows anew, the same each time."""
    chance = random.Random(20261001)  # noqa: S311 - repeatable, and nothing secret
    good = _good_rows(chance)
    prompt = [*good, *_retries(chance, good), *_broken(chance, good)]
    # Sent in order of time, but for small delays: a producer's buffers empty when they can.
    sent = [(_sent_at(row, chance), row) for row in prompt]
    # A key is used again days later, so that there is no doubt which came first.
    sent += [(_sent_at(row, chance) + REUSED_AFTER, row) for row in _conflicts(chance, good)]
    return [row for _, row in sorted(sent)]


def _good_rows(chance: random.Random) -> list[Row]:
    names, shares, vias = zip(*CUSTOMERS, strict=True)
    hours = [MONTH_START + timedelta(hours=hour) for hour in range(DAYS * 24)]
    busy = [HOUR_WEIGHTS[hour.hour] * WEEKDAY_WEIGHTS[hour.weekday()] for hour in hours]
    customers = chance.choices(range(len(names)), shares, k=EVENTS)
    instants = sorted(
        hour + timedelta(milliseconds=chance.randrange(3_600_000))
        for hour in chance.choices(hours, busy, k=EVENTS)
    )
    rows = []
    for number, (customer, instant) in enumerate(zip(customers, instants, strict=True)):
        meter = chance.choices(METERS, (70, 18, 12))[0]
        rows.append(
            Row(
                timestamp=_stamp(instant),
                customer=names[customer],
                meter=meter,
                quantity=_quantity(chance, meter),
                key=f"{names[customer].split()[0].lower()}-{number:06}",
                region=chance.choices(REGIONS, (4, 6, 8, 2))[0],
                via=vias[customer],
            )
        )
    return rows


def _quantity(chance: random.Random, meter: str) -> str:
    if meter == "API calls":
        return str(max(1, round(chance.lognormvariate(2.2, 1.3))))
    if meter == "Storage GB-hours":
        return f"{chance.randrange(1, 90_000_000) / 1000:.3f}".rstrip("0").rstrip(".")
    return "1"


def _retries(chance: random.Random, good: list[Row]) -> list[Row]:
    """Make repeats of rows: most are the same bytes again, some are stamped at the retry."""
    repeats = []
    for row in chance.sample(good, RETRIES):
        if chance.randrange(STAMPED_ANEW) == 0:
            instant = datetime.fromisoformat(row.timestamp)
            again = min(instant + timedelta(seconds=30), MONTH_START + timedelta(days=DAYS))
            repeats.append(row._replace(timestamp=_stamp(again - timedelta(milliseconds=1))))
        else:
            repeats.append(row)
    return repeats


def _conflicts(chance: random.Random, good: list[Row]) -> list[Row]:
    """Make rows that reuse a key for another quantity."""
    calls = [row for row in good[: EVENTS // 2] if row.meter == "API calls"]
    return [
        row._replace(quantity=str(int(row.quantity) + 1_000))
        for row in chance.sample(calls, CONFLICTS)
    ]


def _broken(chance: random.Random, good: list[Row]) -> list[Row]:
    return [
        row._replace(**{"key": f"broken-{number:03}"} | BROKEN[number % len(BROKEN)])
        for number, row in enumerate(chance.sample(good, len(BROKEN) * BROKEN_TIMES))
    ]


def _sent_at(row: Row, chance: random.Random) -> datetime:
    try:
        instant = datetime.fromisoformat(row.timestamp)
    except ValueError:
        instant = MONTH_START
    if instant.tzinfo is None or instant < MONTH_START:
        instant = MONTH_START + timedelta(days=14)
    return instant + timedelta(seconds=chance.expovariate(1 / 20))


def _stamp(instant: datetime) -> str:
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def write_sample(path: Path = SAMPLE_FILE) -> None:
    """Write the file."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Row._fields)
    writer.writerows(make_rows())
    path.write_bytes(lzma.compress(text.getvalue().encode(), preset=9))


if __name__ == "__main__":
    write_sample()
