"""Closing by the clock: when it comes, what holds it, and what comes late for it."""

import hashlib
from datetime import UTC, date, datetime, timedelta

import asyncpg
import pytest

from tests.factories import (
    FLAT,
    PER_UNIT,
    MadeContract,
    MadeCustomer,
    MadeMeter,
    ask_to_close,
    make_contract,
    make_customer_in,
    make_meter,
    make_pricing,
)
from tests.integration.rater.conftest import Bench
from tests.rating import Change, Use, await_tasks, eventually

JANUARY_ENDS = datetime(2024, 2, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
MOMENT = timedelta(microseconds=1)
QUICK = {"closing_look_seconds": 0.05, "late_seconds": 0.0}
HEADER = "event_ref,timestamp,quantity,additional_report_data\n"


class Hands:
    """A clock whose hands a test moves."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


class Story:
    """One customer of the partition 0 with a contract over a meter and a flat fee."""

    def __init__(self, bench: Bench, customer: MadeCustomer, meter: MadeMeter) -> None:
        self.bench, self.customer, self.meter = bench, customer, meter

    @classmethod
    async def begin(cls, bench: Bench) -> "Story":
        meter = await make_meter(bench.connection, bench.tenant)
        customer = await make_customer_in(bench.connection, bench.tenant, 0, bench.partitions)
        return cls(bench, customer, meter)

    async def sign(self, closing: str = "AUTOMATIC", **more: object) -> MadeContract:
        connection = self.bench.connection
        lines = [(self.meter, PER_UNIT), (None, FLAT)]
        pricing = await make_pricing(connection, self.bench.tenant, lines)
        more = {"closing": closing, "end": date(2024, 3, 31), **more}
        return await make_contract(connection, self.customer, [pricing], **more)  # type: ignore[arg-type]

    def use(self, quantity: str = "1", day: str = "2024-01-10", key: str | None = None) -> Use:
        return Use(self.customer, self.meter, quantity, at=f"{day}T00:00:00Z", key=key)

    async def cuts(self, contract: MadeContract | None = None) -> list[asyncpg.Record]:
        """Return what was cut and told of, of the line that is used."""
        return await self.bench.connection.fetch(
            "SELECT p.start_date, c.cut_number, c.quantity, c.event_count, c.events_digest, "
            "x.dead_letters, x.waiting_amendments FROM charge_cut c "
            "JOIN period_cut x USING (shard_key, period_ref, cut_number) "
            "JOIN billing_period p USING (shard_key, period_ref) "
            "JOIN contract_product d USING (shard_key, contract_product_ref) "
            "LEFT JOIN undigested_cut u USING (shard_key, period_ref, cut_number) "
            "WHERE u.period_ref IS NULL AND c.events_digest IS NOT NULL "
            "AND ($1::uuid IS NULL OR contract_ref = $1) ORDER BY start_date, cut_number",
            None if contract is None else contract.ref,
        )

    async def await_cuts(self, count: int) -> list[asyncpg.Record]:
        async def made() -> bool:
            return len(await self.cuts()) >= count

        await eventually(made, f"{count} cuts with digests")
        return await self.cuts()

    async def await_scheduled(self, contracts: int) -> None:
        async def stands() -> bool:
            count = "SELECT count(*) FROM closing_schedule"
            return bool(await self.bench.connection.fetchval(count) == contracts)

        await await_tasks(self.bench.connection)
        await eventually(stands, "the schedule is made")


async def test_a_period_closes_by_itself_when_its_grace_is_over(bench: Bench) -> None:
    story = await Story.begin(bench)
    hands = Hands(JANUARY_ENDS + HOUR - MOMENT)
    uses = [story.use("2.50", key="b"), story.use("-1", key="a"), story.use(day="2024-02-01")]
    automatic = await story.sign()
    await story.sign("MANUAL")
    await story.sign(closes_after=JANUARY_ENDS)
    async with bench.rater_at(hands, **QUICK):
        await bench.produce(uses)
        await bench.rated()
        await story.await_scheduled(2)
        assert await story.cuts() == []
        hands.now += MOMENT
        [cut] = await story.await_cuts(1)
        # What ended before the contract was made, and a contract by hand, wait for a call.
        hands.now = datetime(2024, 3, 1, 1, tzinfo=UTC)
        cuts = await story.await_cuts(3)
    assert cuts[0] == cut
    assert [cut["start_date"].month for cut in cuts] == [1, 2, 2]
    assert len(await story.cuts(automatic)) == 2
    rows = sorted((use.event_ref, use.at, use.quantity.rstrip("0")) for use in uses[:2])
    text = HEADER + "".join(f"{r},{at[:-1]}.000000Z,{q},\n" for r, at, q in rows)
    assert cut["events_digest"] == hashlib.sha256(text.encode()).digest()
    assert (cut["quantity"], cut["event_count"]) == (1.5, 2)


@pytest.mark.parametrize("lines_max", [1, 1_000])
async def test_all_that_is_due_is_closed_in_bounded_steps(bench: Bench, lines_max: int) -> None:
    story = await Story.begin(bench)
    for _ in range(3):
        await story.sign()
    await bench.produce([story.use(day=day) for day in ("2024-01-31", "2024-02-29", "2024-03-31")])
    settings = {**QUICK, "closing_lines_max": lines_max, "digest_events_max": lines_max}
    async with bench.rater_at(Hands(datetime(2024, 6, 1, tzinfo=UTC)), **settings):
        cuts = await story.await_cuts(9)
    assert {(cut["cut_number"], cut["event_count"]) for cut in cuts} == {(1, 1)}
    assert await bench.connection.fetchval("SELECT count(*) FROM closing_schedule") == 0
    told = await bench.connection.fetchval("SELECT count(*) FROM period_cut")
    assert told == 9


async def test_what_comes_late_makes_one_more_cut(bench: Bench) -> None:
    story = await Story.begin(bench)
    await story.sign()
    hands = Hands(JANUARY_ENDS + HOUR)
    use = story.use("5", key="k")
    await bench.produce([use])
    async with bench.rater_at(hands, **{**QUICK, "late_seconds": 600.0}):
        await story.await_cuts(1)
        for number in range(3):
            await bench.produce([story.use("2", key=f"late {number}")])
            await bench.rated()
        await bench.produce([Change(use, quantity="4", at="2024-02-02T00:00:00Z")])
        await bench.rated()
        assert await bench.connection.fetchval("SELECT count(*) FROM late_period") == 1
        hands.now += timedelta(seconds=600)
        first, second = await story.await_cuts(2)
    assert (first["cut_number"], first["quantity"], first["event_count"]) == (1, 5, 1)
    assert (second["cut_number"], second["quantity"], second["event_count"]) == (2, 6, 3)
    assert await bench.connection.fetchval("SELECT count(*) FROM late_period") == 0


async def test_what_comes_late_for_a_contract_by_hand_waits_for_a_call(bench: Bench) -> None:
    story = await Story.begin(bench)
    contract = await story.sign("MANUAL")
    await bench.produce([story.use()])
    async with bench.rater_at(Hands(datetime(2024, 6, 1, tzinfo=UTC)), **QUICK):
        for cuts in (1, 2, 2):
            await ask_to_close(bench.connection, contract, date(2024, 1, 31))
            await await_tasks(bench.connection)
            assert len(await story.await_cuts(cuts)) == cuts
            if cuts == 1:
                await bench.produce([story.use("7")])
                await bench.rated()
    assert [cut["quantity"] for cut in await story.cuts()] == [1, 8]


@pytest.mark.parametrize("waits", [True, False])
async def test_what_is_not_settled_is_listed_and_holds_where_a_tenant_wants_it(
    bench: Bench, waits: bool
) -> None:
    story = await Story.begin(bench)
    await story.sign(end=date(2024, 1, 31))
    await bench.connection.execute(
        "INSERT INTO tenant_setting (tenant_id, closing_waits, closing_grace_seconds) "
        "VALUES ($1, $2, 0)", *(bench.tenant.tenant_id, waits),
    )  # fmt: skip
    use = story.use(key="k")
    hands = Hands(JANUARY_ENDS - HOUR)
    async with bench.rater_at(hands, **QUICK):
        await bench.produce([Change(use, quantity="3")])
        await bench.produce_raw((story.customer.ref.encode(), b"{"))
        await bench.rated()
        hands.now = JANUARY_ENDS
        if waits:

            async def is_held() -> bool:
                held = await bench.connection.fetchval("SELECT is_held FROM closing_schedule")
                return bool(held)

            await eventually(is_held, "the period is held")
            assert await story.cuts() == []
            letter = await bench.connection.fetchrow("SELECT * FROM dead_letter")
            assert letter is not None
            await bench.connection.execute(
                "INSERT INTO dead_letter_retry VALUES ($1, $2, $3, 0, 7, $4)",
                *(letter["shard_key"], letter["partition"], letter["record_offset"]),
                bench.tenant.tenant_id,
            )
            await bench.produce([use])
            await bench.rated()
            hands.now += timedelta(minutes=1)
        [cut] = await story.await_cuts(1)
    unsettled = (cut["dead_letters"], cut["waiting_amendments"])
    assert unsettled == ((0, 0) if waits else (1, 1))
    assert cut["quantity"] == (3 if waits else 0)
