"""Events due upon usage: a document for each, and the period's for what they leave."""

import asyncio
import random
from collections.abc import Sequence
from datetime import date
from typing import Any
from uuid import UUID

import asyncpg

from deploy.verify import credits, documents, event_documents, journal, payments, rows
from deploy.verify.check import Finding, Scope
from deploy.verify.report import see_counted
from gateway.reports.proof import prove_document
from invoicer.inputs import DueContract
from invoicer.intake import Intake
from invoicer.outbox import OutboxWorker
from invoicer.settings import InvoicerSettings
from runtime.postgres import open_pool
from schemas.document_ref import adjustment_ref, document_ref, event_document_ref
from schemas.event_ref import shard_key_of
from tests.factories import (
    MadeContract,
    MadeCustomer,
    MadeMeter,
    ask_to_close,
    make_contract,
    make_customer_in,
    make_meter,
    make_pricing,
)
from tests.integration.invoicer.conftest import make_intake
from tests.integration.rater.conftest import Bench
from tests.integration.rater.test_single_events import (
    FEES,
    ORDERED,
    REGIONS,
    SET_UP,
    take_cuts,
    wild_story,
)
from tests.rating import Change, Use, await_tasks

TIERS: dict[str, Any] = {
    "model": "GRADUATED",
    "tiers": [{"up_to": "10", "unit_price": "1"}, {"unit_price": "0.333"}],
}
PENNIES: dict[str, Any] = {"model": "PER_UNIT", "price": "0.0049"}
EVERY = date(2024, 3, 31)


async def sold(
    bench: Bench,
    lines: Sequence[dict[str, Any]],
    **terms: Any,  # noqa: ANN401 - columns of all types
) -> tuple[MadeCustomer, MadeMeter, MadeContract]:
    meter = await make_meter(bench.connection, bench.tenant)
    customer = await make_customer_in(bench.connection, bench.tenant, 1, bench.partitions)
    priced = [(meter, line) if line is not SET_UP else (None, line) for line in lines]
    pricing = await make_pricing(bench.connection, bench.tenant, priced)
    contract = await make_contract(
        bench.connection, customer, [pricing], end=EVERY, net_terms="DUE_UPON_USAGE", **terms
    )
    return customer, meter, contract


async def bill(bench: Bench, intake: Intake, contract: MadeContract) -> None:
    """Bill what is due, as the message says."""
    ref = UUID(contract.ref)
    for _ in range(2):  # a message may come twice
        await intake.take_events(DueContract(shard_key_of(ref.int), ref))


async def close(bench: Bench, intake: Intake, contract: MadeContract, through: date) -> None:
    await ask_to_close(bench.connection, contract, through)
    await await_tasks(bench.connection)
    await take_cuts(intake, bench)


async def broken(bench: Bench) -> dict[str, list[str]]:
    found = {}
    async with bench.connection.transaction():
        await see_counted(bench.connection)
        scope = Scope(connection=bench.connection, tenant_id=None, kafka=bench.kafka)
        checks = (
            *(*documents.CHECKS, *event_documents.CHECKS, *credits.CHECKS, rows.CHECKS[-1]),
            *(*journal.CHECKS, *payments.CHECKS),
        )
        for check in checks:
            finding = Finding(check.unit)
            await check.run(scope, finding)
            if finding.difference and check.name not in ("files", "invoiced"):
                found[check.name] = finding.witnesses
    return found


async def unproved(bench: Bench) -> list[dict[str, Any]]:
    """Return the proofs of documents that don't come to what the documents state."""
    found = []
    for row in await issued(bench):
        proof = await prove_document(bench.connection, row["tenant_id"], row["document_ref"])
        assert proof is not None
        assert proof["products"]
        if not proof["agrees"]:
            found.append(proof)
    return found


async def issued(bench: Bench) -> list[asyncpg.Record]:
    return await bench.connection.fetch(
        "SELECT *, sub_total::float AS amount FROM document ORDER BY number_in_contract"
    )


def event_document(use: Use, contract: MadeContract) -> UUID:
    """Return the ref that the gateway promises for the document of an event."""
    return UUID(int=event_document_ref(UUID(use.event_ref).int, UUID(contract.ref), 0))


def uses_of(customer: MadeCustomer, meter: MadeMeter, *quantities: str) -> list[Use]:
    """Make uses of the days from the tenth of January on."""
    return [
        Use(customer, meter, quantity, f"2024-01-1{number}T00:00:00Z", str(number))
        for number, quantity in enumerate(quantities)
    ]


async def test_every_event_has_a_document_and_every_change_an_adjustment(bench: Bench) -> None:
    customer, meter, contract = await sold(bench, [TIERS, PENNIES, SET_UP], tax=19, discount=10)
    uses = uses_of(customer, meter, "6", "8.5", "-1")
    async with open_pool(bench.database, service="test") as pool, bench.rater():
        intake = make_intake(pool)
        await bench.produce([*uses, uses[0]])
        await bench.rated()
        await bill(bench, intake, contract)
        await bench.produce([Change(uses[1], quantity="4"), Change(uses[2], is_delete=True)])
        await bench.rated()
        await bill(bench, intake, contract)
    found = await issued(bench)
    # 6.03; 4 + 4.5 x 0.333 = 5.50 and 0.04; -0.33 and 0; then 4 instead of 8.5, and no -1.
    assert [(row["kind"], row["accounting_event_type"], row["amount"]) for row in found] == [
        ("EVENT", "INVOICE", 6.03),
        ("EVENT", "INVOICE", 5.54),
        ("EVENT", "CREDIT", -0.33),
        ("ADJUSTMENT", "CREDIT", -2.2),
        ("ADJUSTMENT", "DEBIT", 1.01),
    ]
    refs = [event_document(use, contract) for use in uses]
    assert [row["document_ref"] for row in found[:3]] == refs
    assert found[3]["document_ref"] == adjustment_ref(refs[1], 4)
    parent = document_ref(bench.tenant.ref, UUID(contract.ref), 0, date(2024, 2, 1))
    assert {row["parent_document_ref"] for row in found} == {parent}
    assert {row["due_date"] for row in found[:2]} == {date(2024, 1, 10), date(2024, 1, 11)}
    assert await broken(bench) == {}
    assert await unproved(bench) == []


async def test_the_periods_document_bills_what_its_events_leave(bench: Bench) -> None:
    customer, meter, contract = await sold(
        bench, [TIERS, PENNIES, SET_UP], tax=19, discount=10, minimum_fee=70
    )
    parent = document_ref(bench.tenant.ref, UUID(contract.ref), 0, date(2024, 2, 1))
    january = date(2024, 1, 31)
    async with open_pool(bench.database, service="test") as pool, bench.rater():
        intake = make_intake(pool)
        await bench.produce(uses_of(customer, meter, "6", "4"))
        await bench.rated()
        # The period is closed before anybody was told of its events: they are billed first.
        await close(bench, intake, contract, january)
        first, second, period = await issued(bench)
        assert [first["kind"], second["kind"], period["kind"]] == ["EVENT", "EVENT", "PERIOD"]
        assert period["document_ref"] == parent
        assert sum(row["amount"] for row in await issued(bench)) == 70
        assert await broken(bench) == {}
        assert await unproved(bench) == []
        await bench.produce([Use(customer, meter, "3", "2024-01-20T00:00:00Z", "late")])
        await bench.rated()
        await bill(bench, intake, contract)
        assert await broken(bench) == {}
        assert await unproved(bench) == []
        await close(bench, intake, contract, january)
        *_, late, correction = await issued(bench)
        # A dollar and a cent more of usage, which the minimum had held already.
        assert (late["amount"], correction["amount"]) == (1.01, -1.01)
        assert {late["parent_document_ref"], correction["parent_document_ref"]} == {parent}
        assert await broken(bench) == {}
        assert await unproved(bench) == []
        settings = InvoicerSettings(kafka="", postgres="")
        worker = OutboxWorker(pool, settings, asyncio.Event(), asyncio.Event())
        assert await worker.work_once() == len(await issued(bench))


async def test_any_log_makes_the_documents_of_its_events_whatever_they_are_priced_by(
    bench: Bench,
) -> None:
    chance = random.Random(7)
    customer, meter, contract = await sold(
        bench, [TIERS, FEES, ORDERED, REGIONS, SET_UP], tax=7, discount=3,
        credits='[{"amount": "40"}, {"amount": "15", "every": "PERIOD"}]',
    )  # fmt: skip
    story = wild_story(customer, meter, chance)
    async with open_pool(bench.database, service="test") as pool, bench.rater():
        intake = make_intake(pool)
        for start in range(0, len(story), 9):
            await bench.produce(story[start : start + 9])
            await bench.rated()
            if start % 2:
                await bill(bench, intake, contract)
                assert await broken(bench) == {}
                assert await unproved(bench) == []
            if start == 27:
                await close(bench, intake, contract, date(2024, 1, 31))
                assert await broken(bench) == {}
                assert await unproved(bench) == []
        await bill(bench, intake, contract)
        for _ in range(2):
            await close(bench, intake, contract, EVERY)
        assert await broken(bench) == {}
        assert await unproved(bench) == []
    spoilings = (
        "UPDATE document_line SET amount = amount + 0.01 WHERE (document_ref, item) IN "
        "(SELECT document_ref, item FROM document JOIN document_line USING (document_ref) "
        "WHERE kind = 'EVENT' AND document_line.amount <> 0 LIMIT 1)",
        "UPDATE event_due SET place = -1 WHERE place > 0",
    )
    for spoiling in spoilings:
        spoilt = bench.connection.transaction()
        await spoilt.start()
        await bench.connection.execute("ALTER TABLE document_line DISABLE TRIGGER USER")
        await bench.connection.execute(spoiling)
        assert "event-documents" in await broken(bench), spoiling
        await spoilt.rollback()
