"""What can be done with a document at a person's request; each deed is part of a transaction.

The document's contract is locked. A deed raises Conflict or InvalidInput where the document is not
such that it can be done, and has then done nothing.
"""

from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from typing import Final
from uuid import UUID

import asyncpg

from invoicer.assembly import DocumentKey
from invoicer.crediting_lines import take_off_lines, write_line_credits
from invoicer.issuing import Batch, issue_ready
from invoicer.numbering import Ready
from invoicer.paying import deed_of, pay, take_back
from invoicer.repository import load_standing, read_key
from invoicer.settling import settle_family
from invoicer.subject import Subject, minor_of, queries, today
from runtime.postgres import Connection
from schemas.crediting import CREDITABLE, Creditable, take_off
from schemas.crediting_lines import LineCredit
from schemas.document import DocumentState
from schemas.document_ref import credit_ref
from schemas.errors import Conflict
from schemas.lifecycle import REDRAWN, Cause, check_transition
from schemas.money import currency_digits, decimal_to_scaled, scaled_to_decimal
from schemas.posting import EntryKind

CREDIT_PREFIX: Final = "CR-"
"""Before the numbers of credits that people make, and their series."""

Deed = Callable[[Connection, Subject], Awaitable[UUID]]
"""Returns the ref of the document that answers the request."""


async def approve(connection: Connection, subject: Subject) -> UUID:
    """Issue a document under review, as it stands now."""
    row = subject.row
    if subject.state is not DocumentState.UNDER_REVIEW:
        detail = f"the document is {subject.state}, not UNDER_REVIEW"
        raise Conflict("document_not_under_review", detail)
    await connection.execute(queries.act_for_person)
    await _issue(connection, subject, read_key(row), row["total"])
    now = subject.clock()
    await connection.execute(queries.note_approved, *subject.place, now, subject.made_by)
    return subject.place[1]


async def _issue(
    connection: Connection, subject: Subject, key: DocumentKey, total: Decimal, prefix: str = ""
) -> None:
    """Issue a draft of the subject's contract, currency and terms."""
    currency = subject.row["currency"]
    digits = currency_digits(currency)
    minor = decimal_to_scaled(total, digits)
    document = Ready(key, currency, digits, minor, subject.row["net_terms"])
    await issue_ready(connection, subject.issuer, [document], subject.clock, prefix)


async def reject(connection: Connection, subject: Subject) -> UUID:
    """Make a document under review a draft again, which says why."""
    check_transition(subject.state, DocumentState.DRAFT, Cause.PERSON)
    await connection.execute(queries.act_for_person)
    await connection.execute(queries.set_state, *subject.place, DocumentState.DRAFT)
    noted = (subject.clock(), subject.made_by, subject.details["reason"])
    await connection.execute(queries.note_rejected, *subject.place, *noted)
    return subject.place[1]


async def review(connection: Connection, subject: Subject) -> UUID:
    """Draw a draft that was sent back anew, by what holds now; where complete, hold it again."""
    if subject.state not in REDRAWN:
        raise Conflict("document_issued", f"the document is {subject.state} and stays as it is")
    key = read_key(subject.row)
    standing = await load_standing(connection, [key])
    await Batch(connection, subject.issuer, subject.clock).run([key], [], standing)
    return subject.place[1]


async def void(connection: Connection, subject: Subject) -> UUID:
    """Let an issued document count for nothing. What it billed is not billed again."""
    check_transition(subject.state, DocumentState.VOID, Cause.PERSON)
    if subject.row["credits_amount"]:
        detail = "prepaid credits have paid for a part of it: issue a credit document instead"
        raise Conflict("document_paid_by_credits", detail)
    if await connection.fetchval(queries.has_payments, *subject.place):
        detail = "money has come for it: take the payments back first, or issue a credit document"
        raise Conflict("document_paid", detail)
    corrections = await connection.fetch(queries.find_corrections_of, *subject.place)
    if corrections:
        numbers = ", ".join(row["document_number"] for row in corrections[:10])
        detail = f"{numbers} correct it: void these first, or issue a credit document"
        raise Conflict("document_corrected", detail)
    await connection.execute(queries.act_for_person)
    await connection.execute(queries.set_state, *subject.place, DocumentState.VOID)
    noted = (subject.details["reason"], subject.made_by, subject.clock())
    await connection.execute(queries.add_void, *subject.place, *noted)
    await connection.execute(queries.drop_mail, *subject.place)
    deed = deed_of(subject, EntryKind.VOID)
    await settle_family(connection, [subject.place], deed, subject.clock())
    return subject.place[1]


async def write_off(connection: Connection, subject: Subject) -> UUID:
    """Give a document up whose money won't come; what comes all the same still counts."""
    check_transition(subject.state, DocumentState.UNCOLLECTIBLE, Cause.PERSON)
    await connection.execute(queries.act_for_person)
    await connection.execute(queries.set_state, *subject.place, DocumentState.UNCOLLECTIBLE)
    deed = deed_of(subject, EntryKind.WRITE_OFF)
    await settle_family(connection, [subject.place], deed, subject.clock())
    return subject.place[1]


async def send(connection: Connection, subject: Subject) -> UUID:
    """Mail an issued document once more; one that waits to be mailed goes now."""
    if subject.state in REDRAWN or subject.state is DocumentState.VOID:
        raise Conflict("document_not_sendable", f"a document that is {subject.state} isn't sent")
    if not subject.is_mailed:
        raise Conflict("mail_not_configured", "this installation has no mail server")
    if not await connection.fetch(queries.hurry_mail, *subject.place):
        await connection.execute(queries.mail_again, *subject.place, subject.row["tenant_id"])
    return subject.place[1]


async def credit(connection: Connection, subject: Subject) -> UUID:
    """Issue a credit document for a part of what an issued document asks for, or all that is left.

    It has a number of its own series, and no usage: it takes money off, where it is asked to, line
    by line. Once issued, it is set off against what is still due of its document.
    """
    row = subject.row
    if subject.state not in CREDITABLE or row["total"] <= 0 or row["total_tax"] < 0:
        detail = f"a {row['accounting_event_type']} that is {subject.state} can't be credited"
        raise Conflict("document_not_creditable", detail)
    digits = currency_digits(row["currency"])
    before = await connection.fetchrow(queries.load_credited, *subject.place)
    assert before is not None, "an aggregate has a row"
    left = _creditable(row, before, digits)
    asked = subject.details.get("amount")
    of_lines: list[LineCredit] = []
    if "lines" in subject.details:
        taken, of_lines = await take_off_lines(connection, subject, left)
    else:
        taken = take_off(left, None if asked is None else minor_of(Decimal(asked), digits))
    ref = credit_ref(row["document_ref"], before["credits"] + 1)
    day = max(today(subject.clock(), row["timezone"]), row["issue_date"])
    total, tax = (scaled_to_decimal(-minor, digits) for minor in taken)
    values = (ref, day, total, tax, subject.details["reason"])
    await connection.execute(queries.add_credit, *subject.place, *values)
    if of_lines:
        await write_line_credits(connection, subject, ref, of_lines)
    key = DocumentKey(row["shard_key"], ref, row["contract_ref"], row["document_group"], day)
    await _issue(connection, subject, key, total, CREDIT_PREFIX)
    return ref


def _creditable(row: asyncpg.Record, before: asyncpg.Record, digits: int) -> Creditable:
    return Creditable.of(
        total=decimal_to_scaled(row["total"], digits),
        credits_amount=decimal_to_scaled(row["credits_amount"], digits),
        total_tax=decimal_to_scaled(row["total_tax"], digits),
        before=decimal_to_scaled(before["total"], digits),
        tax_before=decimal_to_scaled(before["total_tax"], digits),
    )


DEEDS: Final[Mapping[str, Deed]] = {
    "APPROVE": approve,
    "REJECT": reject,
    "REVIEW": review,
    "VOID": void,
    "SEND": send,
    "CREDIT": credit,
    "PAY": pay,
    "TAKE_BACK": take_back,
    "WRITE_OFF": write_off,
}
