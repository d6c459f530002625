"""The mail that reminds a customer of a document that is not paid; pure."""

from collections.abc import Iterator
from decimal import Decimal
from email.message import EmailMessage

from invoicer.delivery import words
from invoicer.delivery.issued import IssuedDocument
from invoicer.delivery.mail import addressed, attach_pdf, notice_lines, one_line
from invoicer.delivery.parties import customer_party, document_locale, entity_party, payment_details
from invoicer.delivery.view import TITLES


def build_reminder(
    document: IssuedDocument, pdf: bytes, sender: str, *, due: Decimal, days: int, link: str = ""
) -> EmailMessage:
    """Return the reminder of a document, with its PDF.

    due: what is still to be paid. days: after the due date, below zero before it; the Message-ID
    follows from the document and them. link: to the document's page. Raises NoAddress.
    """
    if days > 0:
        subject = "Reminder: {title} {number}"
    else:
        subject = "{title} {number} is due soon" if days else "{title} {number} is due today"
    with words.writing(document_locale(document.parties)):
        which = f"{document.document_ref}.reminder.{days}"
        mail = addressed(document, sender, which, words.say(subject, **_names(document)))
        mail.set_content("\n".join(_text(document, due, days, link)) + "\n")
    attach_pdf(mail, document, pdf)
    return mail


def _names(document: IssuedDocument) -> dict[str, str]:
    title = words.say(TITLES[document.accounting_event_type])
    return {"title": title, "number": one_line(document.document_number)}


def _text(document: IssuedDocument, due: Decimal, days: int, link: str) -> Iterator[str]:
    """Say what is to be paid, and how; whoever calls writes in the customer's language."""
    customer = one_line(customer_party(document.parties.get("customer", {})).name)
    yield words.say("Dear {name},", name=customer)
    yield ""
    facts = _names(document) | {
        "amount": words.money(due, document.currency),
        "day": words.day(document.due_date),
    }
    if days > 0:
        late = "{title} {number} was due on {day}, and {amount} of it has not reached us yet."
        yield words.say(late, **facts)
        yield words.say("If you have paid in the meantime, thank you, and please excuse this mail.")
    else:
        soon = "{title} {number} is due on {day}: {amount} is still to be paid."
        yield words.say(soon, **facts)
    yield ""
    for label, value in payment_details(document.parties):
        yield f"{label}: {one_line(value)}"
    yield from notice_lines(link)
    yield ""
    yield one_line(entity_party(document.parties.get("entity", {})).name)
