"""Clocks that jump, nights in which they are put forward and back, and zones whose rules change.

When a period ends is computed once, from its entity's zone, and stored as an instant. The rater is
given a clock whose hands a test moves: it closes by that clock and by nothing else.
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from importlib import resources
from pathlib import Path

import asyncpg
import pytest

from tests.factories import (
    PER_UNIT,
    MadeContract,
    ask_to_close,
    make_contract,
    make_customer_in,
    make_meter,
    make_pricing,
)
from tests.integration.rater.conftest import Bench
from tests.integration.rater.test_automatic_closing import Hands
from tests.processes import Service, running
from tests.rating import Use, await_tasks, eventually

MOMENT, HOUR, DAY = timedelta(microseconds=1), timedelta(hours=1), timedelta(days=1)
GRACE = HOUR
QUICK = {"closing_look_seconds": 0.05}

#: Where a contract is, its first day, and the instants at which its first two periods end.
NIGHTS = {
    "31 January to 29 February and back to the 31st": (
        *("Europe/Berlin", date(2024, 1, 31)),
        *("2024-02-28T23:00:00+00:00", "2024-03-30T23:00:00+00:00"),
    ),
    "29 February to the 29th of March": (
        *("UTC", date(2024, 2, 29)),
        *("2024-03-29T00:00:00+00:00", "2024-04-29T00:00:00+00:00"),
    ),
    "a midnight that is left out as clocks are put forward": (
        *("America/Havana", date(2024, 2, 10)),
        *("2024-03-10T05:00:00+00:00", "2024-04-10T04:00:00+00:00"),
    ),
    "a midnight that comes twice as clocks are put back": (
        *("America/Havana", date(2024, 10, 3)),
        *("2024-11-03T04:00:00+00:00", "2024-12-03T05:00:00+00:00"),
    ),
    "the night in which 02:30 is left out": (
        *("Europe/Berlin", date(2024, 2, 29)),
        *("2024-03-28T23:00:00+00:00", "2024-04-28T22:00:00+00:00"),
    ),
    "the night in which 02:30 comes twice": (
        *("Europe/Berlin", date(2024, 9, 27)),
        *("2024-10-26T22:00:00+00:00", "2024-11-26T23:00:00+00:00"),
    ),
}


class Story:
    """One customer with a contract, and what it uses."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench

    async def sign(self, zone: str, first: date, closing: str = "AUTOMATIC") -> MadeContract:
        bench = self.bench
        self.meter = await make_meter(bench.connection, bench.tenant)
        self.customer = await make_customer_in(bench.connection, bench.tenant, 0, bench.partitions)
        pricing = await make_pricing(bench.connection, bench.tenant, [(self.meter, PER_UNIT)])
        return await make_contract(
            *(bench.connection, self.customer, [pricing]),
            start=first,
            timezone=zone,
            issue_day=None,
            closing=closing,
        )

    def use(self, instant: datetime, quantity: str) -> Use:
        at = instant.isoformat(timespec="microseconds").replace("+00:00", "Z")
        return Use(self.customer, self.meter, quantity, at=at)

    async def cuts(self) -> list[asyncpg.Record]:
        return await self.bench.connection.fetch(
            "SELECT p.start_at, p.end_at, c.cut_number, c.quantity::integer AS quantity "
            "FROM charge_cut c JOIN billing_period p USING (shard_key, period_ref) "
            "ORDER BY p.start_at, c.cut_number"
        )

    async def await_cuts(self, count: int) -> list[asyncpg.Record]:
        async def made() -> bool:
            return len(await self.cuts()) >= count

        await eventually(made, f"{count} cuts")
        return await self.cuts()

    async def await_scheduled(self, end: datetime) -> None:
        async def stands() -> bool:
            found = "SELECT end_at FROM closing_schedule"
            return bool(await self.bench.connection.fetchval(found) == end)

        await await_tasks(self.bench.connection)
        await eventually(stands, f"the end of the next period is {end}")


@pytest.mark.parametrize(("zone", "first", "first_end", "second_end"), NIGHTS.values(), ids=NIGHTS)
async def test_a_period_closes_once_at_its_instant_however_the_clock_jumps(
    bench: Bench, zone: str, first: date, first_end: str, second_end: str
) -> None:
    ends = [datetime.fromisoformat(first_end), datetime.fromisoformat(second_end)]
    story = Story(bench)
    await story.sign(zone, first)
    hands = Hands(ends[0] + GRACE - MOMENT)
    async with bench.rater_at(hands, **QUICK):
        await bench.produce([story.use(ends[0] - MOMENT, "1"), story.use(ends[0], "10")])
        await bench.produce([story.use(ends[0] + 3 * HOUR, "100")])
        await bench.produce([story.use(ends[1] - MOMENT, "1000"), story.use(ends[1], "10000")])
        await bench.rated()
        await story.await_scheduled(ends[0])
        assert await story.cuts() == [], "a moment is missing"
        hands.now += MOMENT
        await story.await_cuts(1)
        hands.now -= DAY  # somebody corrects the clock
        await story.await_scheduled(ends[1])
        hands.now = ends[1] + GRACE + DAY / 2
        cuts = await story.await_cuts(2)
    assert shown(cuts) == [(ends[0], 1, 1), (ends[1], 1, 1110)]
    assert cuts[1]["start_at"] == ends[0]


def shown(cuts: Sequence[asyncpg.Record]) -> list[tuple[datetime, int, int]]:
    return [(cut["end_at"], cut["cut_number"], cut["quantity"]) for cut in cuts]


async def test_zone_files_that_change_under_a_rater_move_no_bound(
    bench: Bench, stack_env: dict[str, str], tmp_path: Path
) -> None:
    story = Story(bench)
    contract = await story.sign("Europe/Berlin", date(2024, 1, 1), "MANUAL")
    end = datetime.fromisoformat("2024-01-31T23:00:00+00:00")
    # The system's files say by now that Berlin has Tokyo's time: its January ends 8 hours before.
    zones = tmp_path / "zones"
    (zones / "Europe").mkdir(parents=True)
    tokyo = resources.files("tzdata.zoneinfo").joinpath("Asia", "Tokyo").read_bytes()
    (zones / "Europe" / "Berlin").write_bytes(tokyo)
    rater = Service("rater", stack_env, tmp_path)
    with running(rater):
        rater.start()
        await bench.produce([story.use(end - HOUR, "1"), story.use(end, "10")])
        await bench.rated()
        before = await stored(bench)
        assert [start for start, _end, _quantity in before][1] == end
        assert rater.stop() == 0
        rater.start(PYTHONTZPATH=str(zones))
        await bench.produce([story.use(end - 2 * HOUR, "100"), story.use(end + HOUR, "1000")])
        await bench.rated()
        await ask_to_close(bench.connection, contract, date(2024, 1, 31))
        [cut] = await story.await_cuts(1)
        assert rater.stop() == 0
    assert (cut["end_at"], cut["quantity"]) == (end, 101)
    after = await stored(bench)
    assert [row[:2] for row in after] == [row[:2] for row in before]
    assert [row[2] for row in after] == [101, 1010]


async def stored(bench: Bench) -> list[tuple[datetime, datetime, int]]:
    """Return the bounds of the periods that are stored, and what is used in each."""
    rows = await bench.connection.fetch(
        "SELECT p.start_at, p.end_at, c.quantity::integer FROM billing_period p "
        "JOIN charge c USING (shard_key, period_ref) ORDER BY p.start_at"
    )
    return [tuple(row) for row in rows]
