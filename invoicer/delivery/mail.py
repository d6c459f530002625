"""The mail that brings an issued document to its customer; pure.

What people entered goes into headers and text, never into HTML of ours: a line's end in a name
can't become a header, and a name can't become a link.
"""

import re
from collections.abc import Iterator
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any, Final

from invoicer.delivery import words
from invoicer.delivery.issued import IssuedDocument
from invoicer.delivery.parties import customer_party, entity_party, payment_details

_TITLES: Final = {"INVOICE": "Invoice", "CREDIT": "Credit note", "DEBIT": "Debit note"}
_unsafe: Final = re.compile(r"[^A-Za-z0-9._-]+")
_is_address: Final = re.compile(r"[!-?A-~]{1,64}@[A-Za-z0-9.-]{1,255}").fullmatch


class NoAddress(Exception):
    """The customer has no address that a mail could go to; the message says what there is."""


def build_mail(
    document: IssuedDocument, files: dict[str, bytes], sender: str, copy: int = 0
) -> EmailMessage:
    """Return the mail of a document.

    files: its HTML and PDF. sender: the address that mails are from. The Message-ID follows from
    the document, so a mail that goes out twice is one to whoever looks; one that was asked for
    again, the copy's number above 0, is another. Raises NoAddress.
    """
    title = _TITLES[document.accounting_event_type]
    entity: dict[str, Any] = document.parties.get("entity", {})
    issuer = _one_line(entity_party(entity).name)
    mail = EmailMessage(policy=SMTP)
    mail["From"] = Address(issuer, addr_spec=sender)
    mail["To"] = recipients(document)
    if (answers := _addresses(entity.get("email"))) and answers[0].addr_spec != sender:
        mail["Reply-To"] = answers[0]
    mail["Subject"] = f"{title} {_one_line(document.document_number)} of {issuer}"
    which = f"{document.document_ref}.{copy}" if copy else document.document_ref
    mail["Message-ID"] = f"<{which}@{sender.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content("\n".join(_text(document, title)) + "\n")
    mail.add_alternative(files["HTML"].decode(), subtype="html")
    name = f"{_unsafe.sub('-', document.document_number)}.pdf"
    mail.add_attachment(files["PDF"], maintype="application", subtype="pdf", filename=name)
    return mail


def recipients(document: IssuedDocument) -> tuple[Address, ...]:
    """Return whom a document goes to. Raises NoAddress."""
    listed = document.parties.get("customer", {}).get("email")
    if not (found := _addresses(listed)):
        raise NoAddress(f"the customer's e-mail is {listed!r}")
    return found


def _addresses(listed: object) -> tuple[Address, ...]:
    """Return the addresses of a comma separated list, once each, less those that can't be one."""
    given = [one.strip() for one in str(listed or "").split(",")]
    return tuple(Address(addr_spec=one) for one in dict.fromkeys(given) if _is_address(one))


def _text(document: IssuedDocument, title: str) -> Iterator[str]:
    """Say in plain text what is in the attached document."""
    with words.exact_formatting():
        yield f"Dear {_one_line(customer_party(document.parties.get('customer', {})).name)},"
        yield ""
        span = words.span(document.period_start, document.period_end)
        yield f"{title} {_one_line(document.document_number)} for {span} is attached."
        if document.corrects is not None:
            yield f"It corrects {document.corrects}."
        yield ""
        yield f"Total: {words.money(document.total, document.currency)}"
        if document.accounting_event_type != "CREDIT":
            yield f"Due on: {words.day(document.due_date)}"
            yield ""
            for label, value in payment_details(document.parties):
                yield f"{label}: {_one_line(value)}"
        yield ""
        yield _one_line(entity_party(document.parties.get("entity", {})).name)


def _one_line(text: str) -> str:
    """Return a text without line ends and other control characters, blanks folded."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
