"""`verify` on a world whose books are right, and on every way to spoil it.

A checker that was never seen red proves nothing: each corruption must turn red exactly the checks
that it concerns.
"""

import re

import asyncpg
import pytest

from deploy.local.find import StackAddress
from deploy.verify.check import Status
from deploy.verify.report import Report, check_transaction, run_checks
from tests.integration.verify.amendment_corruptions import AMENDMENT_CORRUPTIONS
from tests.integration.verify.corruptions import Corruption
from tests.integration.verify.document_corruptions import DOCUMENT_CORRUPTIONS
from tests.integration.verify.feed_corruptions import FEED_CORRUPTIONS
from tests.integration.verify.journal_corruptions import JOURNAL_CORRUPTIONS
from tests.integration.verify.usage_corruptions import USAGE_CORRUPTIONS

CORRUPTIONS = (
    *(*USAGE_CORRUPTIONS, *AMENDMENT_CORRUPTIONS, *FEED_CORRUPTIONS),
    *(*DOCUMENT_CORRUPTIONS, *JOURNAL_CORRUPTIONS),
)


async def test_the_books_of_the_real_services_are_right(world: StackAddress) -> None:
    report = await run_checks(world)
    assert problems(report) == {}
    assert report.conservation.difference == 0
    assert report.conservation.amendments > 50


async def test_what_came_after_a_cut_is_noted(world: StackAddress) -> None:
    report = await run_checks(world)
    (cuts,) = [result.finding for result in report.results if result.check.name == "cuts"]
    (note,) = cuts.notes
    assert re.fullmatch(r"[1-9]\d* cut lines moved since by what came late", note)


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=lambda corruption: corruption.name)
async def test_a_corruption_turns_its_checks_red(
    world: StackAddress, books: asyncpg.Connection, corruption: Corruption
) -> None:
    await spoil(books, corruption.statements)
    report = await check_transaction(books, world.kafka)
    assert report.failed == corruption.red, problems(report)
    assert Status.UNCHECKED not in {result.status for result in report.results}
    assert all(r.finding.witnesses for r in report.results if r.check.name in corruption.red)


async def test_what_is_on_its_way_is_a_note_and_no_fault(
    world: StackAddress, books: asyncpg.Connection
) -> None:
    await spoil(
        books,
        "UPDATE period_cut SET cut_at = now() - interval '14 minutes';"
        "DELETE FROM document_line l USING the_document d WHERE l.document_ref = d.document_ref;"
        "DELETE FROM document_product p USING the_document d WHERE p.document_ref = d.document_ref;"
        "DELETE FROM document_file f USING the_document d WHERE f.document_ref = d.document_ref;"
        "DELETE FROM document_input i USING the_document d WHERE i.document_ref = d.document_ref;"
        "DELETE FROM journal_entry e USING the_document d WHERE e.document_ref = d.document_ref;"
        "DELETE FROM document o USING the_document d WHERE o.document_ref = d.document_ref;"
        "UPDATE document_sequence s SET next_number = next_number - 1 FROM the_document d "
        "WHERE s.entity_id = d.entity_id AND s.series = d.series;"
        "UPDATE document o SET number = o.number - 1 FROM the_document d "
        "WHERE o.entity_id = d.entity_id AND o.number > d.number;"
        "UPDATE document o SET number_in_contract = o.number_in_contract - 1, "
        "total_in_contract = o.total_in_contract - d.total FROM the_document d "
        "WHERE o.contract_ref = d.contract_ref AND o.number_in_contract > d.number_in_contract",
    )
    report = await check_transaction(books, world.kafka)
    assert problems(report) == {}
    notes = {result.check.name: result.finding.notes for result in report.results}
    assert notes["invoiced"] in (["1 cut on the way"], ["2 cuts on the way"])


async def test_charges_of_a_contract_whose_past_usage_is_being_rated_are_not_judged(
    world: StackAddress, books: asyncpg.Connection
) -> None:
    await spoil(
        books,
        "UPDATE partition_task SET state = 'PENDING' WHERE kind = 'CONTRACT';"
        "UPDATE charge SET quantity = 0, event_count = 0, amount = 0 "
        "WHERE charge_ref IN (SELECT charge_ref FROM charge JOIN pricing_line "
        "USING (pricing_line_id) WHERE price ->> 'model' = 'PER_UNIT')",
    )
    report = await check_transaction(books, world.kafka)
    by_name = {result.check.name: result for result in report.results}
    assert by_name["charges"].status is Status.OK
    assert by_name["charges"].finding.notes == [
        "4 contracts still rating past usage, not looked at"
    ]


async def spoil(books: asyncpg.Connection, statements: str) -> None:
    """Run the statements; each must change something."""
    for statement in statements.split(";"):
        changed = await books.execute(statement)
        assert not changed.endswith(" 0"), f"nothing was spoilt by {statement}"


def problems(report: Report) -> dict[str, object]:
    """Return what is not OK, for a message that tells everything."""
    return {
        result.check.name: result.reason or result.finding.witnesses
        for result in report.results
        if result.status is not Status.OK
    }
