"""Contracts that are billed before or during use, from their usage to their documents."""

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from invoicer.repository import find_lost_cuts
from tests.editing import edit_contract
from tests.factories import (
    make_contract,
    make_meter,
    make_pricing,
)
from tests.integration.rater.conftest import Bench
from tests.integration.rater.paying import (
    FEE,
    HOUR,
    LONG_AGO,
    ONCE,
    TIERS,
    UNITS,
    amounts,
    at,
    broken,
    business,
    unproved,
)
from tests.rating import Change, await_tasks


async def test_fees_are_billed_before_use_and_usage_on_the_next_document(bench: Bench) -> None:
    lines = [FEE, ONCE, UNITS]
    span = {"start": date(2024, 1, 15), "end": date(2024, 3, 31)}
    async with business(bench, at(1, 15), lines, **span) as own:
        # 17 of January's 31 days; the fee that is due once is due in full.
        assert amounts(await own.come(at(1, 15), 1)) == [("2024-01-15", 117.0)]
        await own.use(("250", "2024-01-20"), ("100", "2024-01-31T23:59:59Z"), ("7", "2024-02-01"))
        found = await own.come(at(2, 1), 2)
        assert len(found) == 1  # January's usage is still to come
        found = await own.come(at(2, 1) + HOUR, 3)
        assert amounts(found)[1:] == [("2024-02-01", 34.5)]
        found = await own.come(at(3, 1) + HOUR, 5)
        assert amounts(found)[2:] == [("2024-03-01", 31.07)]
        found = await own.come(at(4, 1) + HOUR, 6)
        assert len(found) == 3  # in March nothing was used, so there is nothing to bill
    assert [row["is_partial_period"] for row in found] == [True, True, False]
    assert [row["kind"] for row in found] == ["PERIOD"] * 3
    assert await own.lines() == [
        (date(2024, 1, 15), 1, 17),
        (date(2024, 1, 15), 1, 100),
        (date(2024, 2, 1), 350, 3.5),
        (date(2024, 2, 1), 1, 31),
        (date(2024, 3, 1), 7, 0.07),
        (date(2024, 3, 1), 1, 31),
    ]
    booked = await bench.connection.fetch(
        "SELECT deferred_revenue::float, revenue::float FROM journal_entry ORDER BY entry_date"
    )
    # Fees are for time to come; usage is of the period that is over.
    assert [tuple(row) for row in booked] == [(-117, 0), (-31, -3.5), (-31, -0.07)]
    assert await broken(bench) == {}
    assert await unproved(bench) == []


WILD = [FEE, ONCE, {**TIERS, "minimum_fee": "2.35"}, {**UNITS, "discount": "12.5"}]
USES = [
    *[("3.3", f"2024-01-{day:02}T11:00:00Z") for day in range(2, 31, 7)],
    ("1", "2024-01-31T00:00:00Z"),
    ("2.25", "2024-01-30T23:59:59.999999Z"),
    *[("4.75", f"2024-02-{day:02}T23:30:00Z") for day in range(1, 30, 4)],
    ("-8", "2024-03-15T00:00:00Z"),
    ("11", "2024-03-31T23:00:00Z"),
]


@pytest.mark.parametrize("payment_time", ["BEFORE_USE", "DURING_USE"])
@pytest.mark.parametrize(
    "terms",
    [
        {},
        {"issue_day": date(2024, 1, 20)},
        {"timezone": "Asia/Kathmandu", "end": date(2024, 3, 30)},
        {"cycle_unit": "ONE_TIME"},
        {"cycle_unit": "ONE_TIME", "issue_day": date(2024, 2, 15)},
    ],
    ids=["monthly", "issue_day", "zone", "one_time", "one_time_issue_day"],
)
async def test_documents_add_up_to_those_after_use(
    bench: Bench, payment_time: str, terms: dict[str, Any]
) -> None:
    terms = {"start": date(2024, 1, 10), "end": date(2024, 3, 31), **terms}
    terms |= {"tax": 19, "discount": 7, "minimum_fee": 20, "payment_time": payment_time}
    async with business(bench, at(1, 10), WILD, **terms) as own:
        pricing = await own.pricing()
        terms["payment_time"] = "AFTER_USE"
        after = await make_contract(
            bench.connection, own.customer, [pricing], closing="AUTOMATIC", **terms
        )
        await await_tasks(bench.connection)
        for use in USES:
            await own.pass_by(use)
        found = await own.end(at(4, 10))
    by_contract = {
        str(ref): sum(row["total"] for row in found if row["contract_ref"] == ref)
        for ref in {row["contract_ref"] for row in found}
    }
    assert by_contract[own.contract.ref] == by_contract[after.ref]
    mine = [row for row in found if str(row["contract_ref"]) == own.contract.ref]
    # During use, what is sold once is billed behind its end unless it has an issue day.
    assert len(mine) > 1 or (payment_time, len(terms)) == ("DURING_USE", 7)
    assert await broken(bench) == {}
    assert await unproved(bench) == []


@pytest.mark.parametrize("late_usage", ["OWN_DOCUMENT", "NEXT_DOCUMENT"])
@pytest.mark.parametrize("payment_time", ["BEFORE_USE", "DURING_USE"])
async def test_what_comes_late_is_corrected(
    bench: Bench, payment_time: str, late_usage: str
) -> None:
    await bench.connection.execute(
        "INSERT INTO tenant_setting (tenant_id, late_usage) VALUES ($1, $2)",
        *(bench.tenant.tenant_id, late_usage),
    )
    span = {"start": date(2024, 1, 1), "end": date(2024, 3, 31), "tax": 10}
    async with business(bench, at(1, 1), WILD, payment_time=payment_time, **span) as own:
        await own.pass_by(("12", "2024-01-20T00:00:00Z"))
        await own.pass_by(("5", "2024-01-31T07:00:00Z"))
        # Behind the issue instant, for a time before it: the final document's.
        [early] = await own.use(("7", "2024-01-25"))
        await own.end(at(2, 10))
        await own.use(("3", "2024-01-31T23:00:00Z"), ("4", "2024-02-03"))
        await bench.produce([Change(early, quantity="1")])
        await bench.rated()
        await own.end(at(2, 11))
        await own.end(at(3, 10))
        await own.use(("-1.5", "2024-01-02"), ("2", "2024-02-28"))
        await own.end(at(4, 10))
        await own.use(("8", "2024-03-30"))
        found = await own.end(at(4, 11))
        again = await bench.connection.fetchval("SELECT count(*) FROM waiting_adjustment")
    assert again == 0
    adjustments = [str(row["issue_date"]) for row in found if row["kind"] == "ADJUSTMENT"]
    # Behind the last document there is no next one.
    own_count = 4 if payment_time == "BEFORE_USE" else 2  # the others came before the rest was due
    assert len(adjustments) == (1 if late_usage == "NEXT_DOCUMENT" else own_count), adjustments
    # 21 units in January, 6 in February, 8 in March: each month's tiers with what all came to.
    usage = [(12 + 5 + 1 + 3 - 1.5), 6, 8]
    tiers = [min(q, 10) + max(q - 10, 0) * 0.333 for q in usage]
    fixed = [31 * 3, 100]
    net = sum(round(t, 2) for t in tiers) + sum(round(q * 0.01 * 0.875 + 1e-9, 2) for q in usage)
    assert float(sum(row["sub_total"] for row in found)) == pytest.approx(net + sum(fixed))
    assert await broken(bench) == {}
    if late_usage == "OWN_DOCUMENT":
        assert await unproved(bench) == []


async def test_a_contract_cut_short_gets_back_what_was_billed_ahead(bench: Bench) -> None:
    span = {"start": date(2024, 1, 1), "tax": 10, "discount": 50}
    async with business(bench, at(1, 1), [FEE, UNITS], **span) as own:
        await own.pass_by(("100", "2024-01-20T00:00:00Z"))
        await own.pass_by(("300", "2024-02-09T00:00:00Z"))
        await own.end(at(2, 10))
        # Cancelled on the tenth, so February has ten days of its 29.
        ended = {"payment_time": "AFTER_USE", "until_date": date(2024, 2, 11)}
        pricing = await own.pricing()
        await edit_contract(bench.connection, own.contract, [pricing], date(2024, 2, 1), **ended)
        await await_tasks(bench.connection)
        await own.use(("1", "2024-02-10T12:00:00Z"))
        found = await own.end(at(2, 12))
        found = await own.end(at(4, 12))
    # (10.69 + 3.01 - 31) / 2, with a tenth of tax on each
    assert [(row["accounting_event_type"], row["amount"]) for row in found] == [
        ("INVOICE", 17.05),
        ("INVOICE", 17.6),
        ("CREDIT", pytest.approx(-9.51, abs=0.011)),
    ]
    assert await broken(bench) == {}
    assert await unproved(bench) == []
    await bench.connection.execute("ALTER TABLE document_product DISABLE TRIGGER USER")
    await bench.connection.execute(
        "UPDATE document_product SET period_ref = gen_random_uuid() "
        "WHERE root_document_ref IS NOT NULL AND total < 0"
    )
    assert "without giving it back" in (await broken(bench))["ahead"][0]


@pytest.mark.parametrize("payment_time", ["BEFORE_USE", "DURING_USE"])
@pytest.mark.parametrize("edits", [1, 2])
@pytest.mark.parametrize("then", ["goes on", "is cancelled"])
async def test_a_running_period_that_is_rated_anew_gives_back_what_was_billed_ahead(
    bench: Bench, payment_time: str, edits: int, then: str
) -> None:
    terms: dict[str, Any] = {"start": date(2024, 1, 10), "end": date(2024, 4, 30), "tax": 19}
    # By then a part of March is billed ahead.
    edited_at = at(3, 10 if payment_time == "BEFORE_USE" else 31) + 13 * HOUR
    started, following = date(2024, 3, 1), date(2024, 4, 1)
    async with business(bench, at(1, 10), WILD, payment_time=payment_time, **terms) as own:
        other = await make_contract(
            bench.connection, own.customer, [await own.pricing()], closing="AUTOMATIC", **terms
        )
        await await_tasks(bench.connection)
        for use in (use for use in USES if datetime.fromisoformat(use[1]) < edited_at):
            await own.pass_by(use)
        await own.end(edited_at)
        mine, refs = own.contract, (own.contract.ref, other.ref)
        upgrade = await own.pricing()
        for edition in range(edits):
            dear = {"model": "FLAT", "price": str(47 + edition)}
            sold = [(None, dear), (own.meter, UNITS), (own.meter, TIERS)]
            upgrade = await make_pricing(bench.connection, bench.tenant, sold)
            changed: dict[str, Any] = {"tax": 7, "discount": 12}
            other = await edit_contract(bench.connection, other, [upgrade], started, **changed)
            changed |= {"ahead_since": following, "document_group": edition + 1}
            mine = await edit_contract(bench.connection, mine, [upgrade], started, **changed)
            await await_tasks(bench.connection)
        if then == "is cancelled":
            tomorrow = edited_at.date() + timedelta(days=1)
            ended = {"payment_time": "AFTER_USE", "ahead_since": None, "until_date": tomorrow}
            for contract in (mine, other):
                await edit_contract(bench.connection, contract, [upgrade], started, **ended)
                await await_tasks(bench.connection)
        for use in (use for use in USES if datetime.fromisoformat(use[1]) >= edited_at):
            await own.pass_by(use)
        found = await own.end(at(6, 10))
    sums = [sum(row["total"] for row in found if str(row["contract_ref"]) == ref) for ref in refs]
    assert sums[0] == sums[1]
    given_back = await bench.connection.fetchval(
        "SELECT count(*) FROM document_adjustment WHERE is_ahead AND sub_total < 0"
    )
    assert given_back == 1
    assert await broken(bench) == {}
    assert await unproved(bench) == []


async def test_a_contract_of_the_past_is_billed_by_a_call_period_by_period(bench: Bench) -> None:
    span = {"start": date(2024, 1, 1), "end": date(2024, 4, 30)}
    made = {"closes_after": at(3, 10), "ahead_since": date(2024, 3, 1)}
    async with business(bench, at(3, 10), [FEE, UNITS], **span, **made) as own:
        await own.use(("100", "2024-01-20"), ("200", "2024-02-09"), ("300", "2024-03-09"))
        found = await own.end(at(3, 11))
        assert amounts(found) == [("2024-03-01", 31)]  # what is running is due at once
        found = await own.close(date(2024, 2, 29), 3)
        assert amounts(found)[1:] == [("2024-01-01", 32), ("2024-02-01", 33)]
        found = await own.end(at(5, 2))
        assert amounts(found)[3:] == [("2024-04-01", 34)]
    assert await broken(bench) == {}
    assert await unproved(bench) == []


async def test_by_hand_everything_waits_for_a_call(bench: Bench) -> None:
    span = {"start": date(2024, 1, 1), "end": date(2024, 2, 29), "closing": "MANUAL"}
    async with business(bench, at(2, 20), [FEE, UNITS], **span) as own:
        await own.use(("100", "2024-01-20"), ("200", "2024-02-09"))
        assert await own.end(at(2, 21)) == []
        found = await own.close(date(2023, 12, 31), 1)
        assert amounts(found) == [("2024-01-01", 31)]
        found = await own.close(date(2024, 1, 31), 3)
        assert amounts(found)[1:] == [("2024-02-01", 32)]
        own.hands.now = at(3, 2)
        found = await own.close(date(2024, 2, 29), 4)
        assert amounts(found)[2:] == [("2024-03-01", 2)]
    assert await broken(bench) == {}
    assert await unproved(bench) == []


async def test_products_of_different_times_share_documents_by_their_days(bench: Bench) -> None:
    meter = await make_meter(bench.connection, bench.tenant)
    pricing = await make_pricing(bench.connection, bench.tenant, [(meter, UNITS), (None, FEE)])
    span: dict[str, Any] = {"start": date(2024, 1, 1), "end": date(2024, 6, 30), "tax": 7}
    async with business(bench, at(1, 1), [FEE, UNITS], **span) as own:
        statement = (
            "UPDATE contract_product SET payment_time = $2, cycle_unit = $3 WHERE position = $1"
        )
        contract = await make_contract(
            bench.connection, own.customer, [pricing] * 3, closing="AUTOMATIC", **span
        )
        await bench.connection.execute(statement, 1, "BEFORE_USE", "QUARTERLY")
        await bench.connection.execute(statement, 2, "DURING_USE", "MONTHLY")
        await await_tasks(bench.connection)
        own.meter = meter
        for month in range(1, 7):
            await own.pass_by(("10", f"2024-{month:02}-15T00:00:00Z"))
        found = await own.end(at(7, 30))
    shared = [row for row in found if str(row["contract_ref"]) == contract.ref]
    days = [str(row["issue_date"]) for row in shared]
    assert days == sorted(set(days))
    assert {"2024-01-01", "2024-01-31", "2024-02-01", "2024-04-01", "2024-07-01"} <= set(days)
    # Fees of 6 months, 2 quarters and 6 months; 60 units in each product.
    assert float(sum(row["sub_total"] for row in shared)) == pytest.approx(31 * 14 + 3 * 0.6)
    assert await broken(bench) == {}
    assert await unproved(bench) == []


async def test_the_order_of_messages_does_not_matter(bench: Bench) -> None:
    span = {"start": date(2024, 1, 1), "end": date(2024, 2, 29), "tax": 19}
    async with business(bench, at(1, 1), [FEE, UNITS], **span) as own:
        await own.use(("100", "2024-01-20"), ("200", "2024-02-09"))
        own.hands.now = at(3, 20)
        await own.settled()
        cuts = await find_lost_cuts(bench.connection, LONG_AGO, datetime.now(UTC) + HOUR, 100)
        keys = [key for key, _cut_at in cuts]
        assert len(keys) == 4
        for key in reversed(keys):
            await own.intake.take([key])
        found = await own.issued()
    assert amounts(found) == [
        ("2024-01-01", 36.89), ("2024-02-01", 38.08), ("2024-03-01", 2.38),
    ]  # fmt: skip
    assert [str(row["issue_date"]) for row in found] == sorted(str(r["issue_date"]) for r in found)
    assert await broken(bench) == {}
    assert await unproved(bench) == []


async def test_credits_pay_for_what_is_billed_ahead_and_behind(bench: Bench) -> None:
    credit = json.dumps([{"amount": "40"}, {"amount": "1", "every": "PERIOD"}])
    span = {"start": date(2024, 1, 1), "end": date(2024, 2, 29), "credits": credit}
    async with business(bench, at(1, 1), [FEE, UNITS], **span) as own:
        await own.pass_by(("500", "2024-01-20T00:00:00Z"))
        await own.pass_by(("100", "2024-02-20T00:00:00Z"))
        found = await own.end(at(3, 20))
    # January takes 36 of what is granted once; what is left, and February's own, pay for the rest.
    assert sum(row["credits_amount"] for row in found) == 41
    assert sum(row["sub_total"] for row in found) == 62 + 6
    assert await broken(bench) == {}
    assert await unproved(bench) == []
