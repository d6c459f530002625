"""Money that has come for a document, or went back: deeds like those of `deeds`.

A payment is a row that stays. Where the document stands follows from its rows, in the same
transaction, behind the lock of its contract: fifty at once count fifty times, and one reference of
the bank's counts once.
"""

from datetime import date, datetime, timedelta
from decimal import Decimal
from uuid import UUID
from zoneinfo import ZoneInfo

from invoicer.ledger import Deed
from invoicer.settling import settle_family
from invoicer.subject import Subject, minor_of, queries, today
from runtime.postgres import Connection
from schemas.document import DocumentState
from schemas.errors import Conflict, InvalidInput, NotFound
from schemas.lifecycle import Cause, check_transition
from schemas.money import currency_digits, decimal_to_scaled, scaled_to_decimal
from schemas.paying import Account, amount_to_pay, check_payable, state_after
from schemas.posting import EntryKind


async def pay(connection: Connection, subject: Subject) -> UUID:
    """Note a payment: of what was said, or of all that is due. Nothing happens where nothing is."""
    check_payable(subject.state)
    details, digits = subject.details, currency_digits(subject.row["currency"])
    day = _day(details["paid_date"], subject.row["timezone"])
    if day > today(subject.clock(), subject.row["timezone"]) + timedelta(days=1):
        raise InvalidInput("paid_date_ahead", f"{day} is still to come", "/paid_date")
    said = details.get("amount")
    asked = None if said is None else minor_of(Decimal(said), digits)
    account, _ = await _load(connection, subject)
    amount = scaled_to_decimal(amount_to_pay(account, asked), digits)
    if await _is_known(connection, subject, None if asked is None else amount):
        return subject.place[1]
    await connection.execute(queries.act_for_payment)
    deed = Deed(EntryKind.PAYMENT, subject.place[1], day)
    if amount:
        who = (subject.made_by, subject.clock())
        named = (details.get("method"), details.get("reference"))
        values = (subject.row["tenant_id"], amount, day, *named, *who)
        ref = await connection.fetchval(queries.add_payment, *subject.place, *values)
        deed = deed._replace(payment_ref=ref)
    await settle(connection, subject, deed, day)
    return subject.place[1]


async def _is_known(connection: Connection, subject: Subject, amount: Decimal | None) -> bool:
    """Tell whether a reference has counted already. Raises Conflict when with another amount."""
    reference = subject.details.get("reference")
    if reference is None:
        return False
    known = await connection.fetchrow(queries.find_payment_of, *subject.place, reference)
    if known is not None and amount is not None and known["amount"] != amount:
        detail = f"{reference!r} has counted with {abs(known['amount'])} for this document already"
        raise Conflict("payment_reference_used", detail)
    return known is not None


async def take_back(connection: Connection, subject: Subject) -> UUID:
    """Take a payment back: it bounced, or was another document's."""
    ref = UUID(subject.details["payment_ref"])
    noted = (subject.clock(), subject.made_by, subject.details["reason"])
    await connection.execute(queries.act_for_payment)
    if not await connection.fetchval(queries.take_payment_back, *subject.place, ref, *noted):
        if await connection.fetchval(queries.has_payment, *subject.place, ref):
            raise Conflict("payment_taken_back", f"payment {ref} was taken back before")
        raise NotFound("payment_unknown", f"the document has no payment {ref}")
    await settle(connection, subject, deed_of(subject, EntryKind.REVERSAL, ref))
    return subject.place[1]


def deed_of(subject: Subject, kind: EntryKind, payment_ref: UUID | None = None) -> Deed:
    """Return what is booked today for a document."""
    day = today(subject.clock(), subject.row["timezone"])
    return Deed(kind, subject.place[1], day, payment_ref)


async def settle(
    connection: Connection, subject: Subject, deed: Deed, day: date | None = None
) -> None:
    """Bring a document where its payments and credits say, and book it.

    day: paid, where no money had to come. The transaction says already for whom it moves documents.
    """
    account, paid_date = await _load(connection, subject)
    was_sent = subject.row["submission_date"] is not None
    state = state_after(account, subject.state, was_sent=was_sent, is_settled=day is not None)
    if state is not subject.state:
        check_transition(subject.state, state, Cause.PAYMENT)
    paid = (paid_date or day) if state is DocumentState.PAID else None
    await connection.execute(queries.settle, *subject.place, state, paid)
    await settle_family(connection, [subject.place], deed, subject.clock())


async def _load(connection: Connection, subject: Subject) -> tuple[Account, date | None]:
    """Return what a document asks for and what has come, and the last day on which some came."""
    row = await connection.fetchrow(queries.load_account, *subject.place)
    assert row is not None, "it was read a moment ago"
    digits = currency_digits(subject.row["currency"])
    total, paid, left = (decimal_to_scaled(row[name], digits) for name in ("total", "paid", "left"))
    return Account(total, paid, total - paid - left), row["paid_date"]


def _day(said: str, timezone: str) -> date:
    """Read a day, or an instant whose day the entity's clock tells."""
    if "T" in said:
        return datetime.fromisoformat(said).astimezone(ZoneInfo(timezone)).date()
    return date.fromisoformat(said)
