"""A business whose contracts are billed at any time: its usage, its clock and its documents."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

import asyncpg

from deploy.verify import ahead, credits, digests, documents, rows, totals
from deploy.verify.check import Finding, Scope
from deploy.verify.report import see_counted
from gateway.reports.proof import load_rows
from invoicer.consumer import scan_once
from invoicer.intake import Intake
from runtime.postgres import open_pool
from schemas.proof import prove
from tests.factories import (
    MadeContract,
    MadeCustomer,
    MadeMeter,
    MadePricing,
    ask_to_close,
    make_contract,
    make_customer_in,
    make_meter,
    make_pricing,
)
from tests.integration.invoicer.conftest import make_intake
from tests.integration.rater.conftest import Bench
from tests.integration.rater.test_automatic_closing import QUICK, Hands
from tests.rating import Use, await_tasks, eventually

FEE: dict[str, Any] = {"model": "FLAT", "price": "31"}
ONCE: dict[str, Any] = {"model": "FLAT", "price": "100", "recurring": False}
UNITS: dict[str, Any] = {"model": "PER_UNIT", "price": "0.01"}
TIERS: dict[str, Any] = {
    "model": "GRADUATED",
    "tiers": [{"up_to": "10", "unit_price": "1"}, {"unit_price": "0.333"}],
}
HOUR = timedelta(hours=1)
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
CHECKS = (
    *documents.CHECKS,
    *ahead.CHECKS,
    *credits.CHECKS,
    *rows.CHECKS,
    *totals.CHECKS,
    *digests.CHECKS,
)


def at(month: int, day: int) -> datetime:
    return datetime(2024, month, day, tzinfo=UTC)


class Business:
    """A customer with a contract, a rater with a clock that is set, and an invoicer."""

    def __init__(
        self,
        bench: Bench,
        hands: Hands,
        intake: Intake,
        pool: asyncpg.Pool,
        sold: tuple[MadeCustomer, MadeMeter, MadeContract],
    ) -> None:
        self.bench, self.hands, self.intake, self.pool = bench, hands, intake, pool
        self.customer, self.meter, self.contract = sold
        self._keys = 0

    async def use(self, *uses: tuple[str, str]) -> list[Use]:
        """Use the meter: quantities and days, or times."""
        made = []
        for quantity, when in uses:
            self._keys += 1
            moment = when if "T" in when else f"{when}T00:00:00Z"
            made.append(Use(self.customer, self.meter, quantity, moment, str(self._keys)))
        await self.bench.produce(made)
        await self.bench.rated()
        return made

    async def pass_by(self, use: tuple[str, str]) -> None:
        """Let the clock come to a use, with what the rater has to do by then, and use the meter."""
        when = datetime.fromisoformat(use[1])
        if when > self.hands.now:
            self.hands.now = when
            await self.settled()
        await self.use(use)

    async def settled(self) -> None:
        """Wait until the rater has done all that is due by its clock."""
        statement = (
            "SELECT NOT EXISTS (SELECT FROM closing_schedule WHERE look_at + interval '1 h' <= $1)"
            " AND NOT EXISTS (SELECT FROM opening_schedule WHERE issue_at + CASE WHEN has_usage "
            "THEN interval '1 h' ELSE interval '0' END <= $1) "
            "AND NOT EXISTS (SELECT FROM late_period) AND NOT EXISTS (SELECT FROM undigested_cut)"
        )

        async def done() -> bool:
            return bool(await self.bench.connection.fetchval(statement, self.hands.now))

        await eventually(done, "the rater has done what is due")

    async def end(self, now: datetime) -> list[asyncpg.Record]:
        """Let the last instant come; return all that was issued."""
        self.hands.now = now
        await self.settled()
        return await self.issued()

    async def pricing(self) -> MadePricing:
        """Return the pricing that is sold."""
        rows = await self.bench.connection.fetch(
            "SELECT pricing_id, pricing_ref, pricing_line_id, line_item_ref FROM pricing "
            "JOIN pricing_line USING (tenant_id, pricing_id) ORDER BY position"
        )
        lines = zip(
            *((row["pricing_line_id"], str(row["line_item_ref"])) for row in rows), strict=True
        )
        return MadePricing(rows[0]["pricing_id"], str(rows[0]["pricing_ref"]), *lines)

    async def come(self, now: datetime, cuts: int) -> list[asyncpg.Record]:
        """Let an instant come; wait for so many cuts in all; return what was issued so far."""
        self.hands.now = now

        async def told() -> bool:
            statement = (
                "SELECT count(*) FROM period_cut LEFT JOIN undigested_cut u "
                "USING (shard_key, period_ref, cut_number) WHERE u.period_ref IS NULL"
            )
            return bool(await self.bench.connection.fetchval(statement) == cuts)

        await eventually(told, f"{cuts} cuts are told of")
        return await self.issued()

    async def issued(self) -> list[asyncpg.Record]:
        """Take up all cuts, and return the issued documents."""
        await scan_once(self.pool, self.intake, LONG_AGO, datetime.now(UTC) + HOUR, 100)
        await self.intake.settle_overdue(self.hands.now)
        parked = await self.bench.connection.fetch("SELECT * FROM parked_input")
        assert parked == []
        return await self.bench.connection.fetch(
            "SELECT *, total::float AS amount FROM document WHERE number IS NOT NULL "
            "ORDER BY number_in_contract"
        )

    async def close(self, through: date, cuts: int) -> list[asyncpg.Record]:
        await ask_to_close(self.bench.connection, self.contract, through)
        await await_tasks(self.bench.connection)
        return await self.come(self.hands.now, cuts)

    async def lines(self) -> list[tuple[date, float, float]]:
        """Return all lines: the day of their document, the quantity and the amount."""
        rows = await self.bench.connection.fetch(
            "SELECT issue_date, quantity::float, amount::float FROM document_line "
            "JOIN document USING (shard_key, document_ref) WHERE number IS NOT NULL "
            "ORDER BY number_in_contract, product_position, position"
        )
        return [tuple(row) for row in rows]


@asynccontextmanager
async def business(
    bench: Bench,
    now: datetime,
    lines: list[dict[str, Any]],
    **terms: Any,  # noqa: ANN401 - columns of all types
) -> AsyncIterator[Business]:
    """Sell lines, those with usage of one meter, and run a rater and an invoicer."""
    meter = await make_meter(bench.connection, bench.tenant)
    customer = await make_customer_in(bench.connection, bench.tenant, 1, bench.partitions)
    priced = [(None if line["model"] == "FLAT" else meter, line) for line in lines]
    pricing = await make_pricing(bench.connection, bench.tenant, priced)
    terms = {"closing": "AUTOMATIC", "payment_time": "BEFORE_USE", **terms}
    contract = await make_contract(bench.connection, customer, [pricing], **terms)
    hands = Hands(now)
    async with (
        open_pool(bench.database, service="test") as pool,
        bench.rater_at(hands, **QUICK),
    ):
        await await_tasks(bench.connection)
        intake = make_intake(pool, clock=hands)
        yield Business(bench, hands, intake, pool, (customer, meter, contract))


async def broken(bench: Bench) -> dict[str, list[str]]:
    found = {}
    async with bench.connection.transaction():
        await see_counted(bench.connection)
        scope = Scope(connection=bench.connection, tenant_id=None, kafka=bench.kafka)
        for check in CHECKS:
            finding = Finding(check.unit)
            await check.run(scope, finding)
            if finding.difference and check.name != "files":
                found[check.name] = finding.witnesses
    return found


def amounts(found: list[asyncpg.Record]) -> list[tuple[str, float]]:
    return [(str(row["issue_date"]), row["amount"]) for row in found]


async def unproved(bench: Bench) -> list[str]:
    """Return the issued documents whose proof does not come to what they state."""
    rows = await bench.connection.fetch(
        "SELECT document_ref, document_number FROM document WHERE number IS NOT NULL"
    )
    found = []
    for row in rows:
        proof = await load_rows(bench.connection, bench.tenant.tenant_id, row["document_ref"])
        assert proof is not None
        if not prove(proof)["agrees"]:
            found.append(row["document_number"])
    return found
