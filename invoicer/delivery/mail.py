"""The mail that brings an issued document to its customer; pure.

What people entered goes into headers and text, never into HTML of ours: a line's end in a name
can't become a header, and a name can't become a link.
"""

import re
from collections.abc import Iterator
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from html import escape
from typing import Any, Final

from invoicer.delivery import words
from invoicer.delivery.issued import IssuedDocument
from invoicer.delivery.parties import customer_party, document_locale, entity_party, payment_details
from invoicer.delivery.usage_files import UsageFiles
from invoicer.delivery.view import TITLES

NO_USAGE: Final = UsageFiles()
_unsafe: Final = re.compile(r"[^A-Za-z0-9._-]+")
_after_body: Final = re.compile(r"<body[^>]*>")
_NOTICE: Final = (
    "box-sizing:border-box;max-width:54rem;margin:1rem auto;padding:0 1.25rem;text-align:start;"
    "font:15px/1.5 system-ui,sans-serif;color:#1c2430"
)
_is_address: Final = re.compile(r"[!-?A-~]{1,64}@[A-Za-z0-9.-]{1,255}").fullmatch


class NoAddress(Exception):
    """The customer has no address that a mail could go to; the message says what there is."""


def build_mail(
    document: IssuedDocument,
    files: dict[str, bytes],
    sender: str,
    copy: int = 0,
    *,
    link: str = "",
    usage: UsageFiles = NO_USAGE,
) -> EmailMessage:
    """Return the mail of a document.

    files: its HTML and PDF. sender: the address that mails are from. The Message-ID follows from
    the document, so a mail that goes out twice is one to whoever looks; one that was asked for
    again, the copy's number above 0, is another. link: to the document's page, "" without one.
    usage: the list of it, and what of it is too long. Raises NoAddress.
    """
    issuer = one_line(entity_party(document.parties.get("entity", {})).name)
    which = f"{document.document_ref}.{copy}" if copy else str(document.document_ref)
    mail = addressed(document, sender, which, _subject(document, issuer))
    mail.set_content("\n".join(_text(document, link, usage)) + "\n")
    mail.add_alternative(_page(document, files["HTML"].decode(), link, usage), subtype="html")
    attach_pdf(mail, document, files["PDF"])
    for one in usage.files:
        main, sub = one.kind
        mail.add_attachment(one.content, maintype=main, subtype=sub, filename=one.name)
    return mail


def addressed(document: IssuedDocument, sender: str, which: str, subject: str) -> EmailMessage:
    """Return a mail to a document's customer, from its issuer. which: what its id is made of."""
    entity: dict[str, Any] = document.parties.get("entity", {})
    mail = EmailMessage(policy=SMTP)
    mail["From"] = Address(one_line(entity_party(entity).name), addr_spec=sender)
    mail["To"] = recipients(document)
    if (answers := _addresses(entity.get("email"))) and answers[0].addr_spec != sender:
        mail["Reply-To"] = answers[0]
    mail["Subject"] = one_line(subject)
    mail["Message-ID"] = f"<{which}@{sender.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"
    return mail


def attach_pdf(mail: EmailMessage, document: IssuedDocument, pdf: bytes) -> None:
    """Attach a document's PDF under its number."""
    name = f"{_unsafe.sub('-', document.document_number)}.pdf"
    mail.add_attachment(pdf, maintype="application", subtype="pdf", filename=name)


def _subject(document: IssuedDocument, issuer: str) -> str:
    with words.writing(document_locale(document.parties)):
        title = words.say(TITLES[document.accounting_event_type])
        number = one_line(document.document_number)
        return words.say("{title} {number} of {issuer}", title=title, number=number, issuer=issuer)


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


def _page(document: IssuedDocument, html: str, link: str, usage: UsageFiles) -> str:
    """Return the document's own page, under what the mail has to say."""
    with words.writing(document_locale(document.parties)):
        direction = "rtl" if words.is_rtl() else "ltr"
        said = "".join(map(_paragraph, _notices(link, usage)))
    if not said:
        return html
    notice = f'<div dir="{direction}" style="{_NOTICE}">{said}</div>'
    return _after_body.sub(lambda body: body[0] + notice, html, count=1)


def _paragraph(notice: tuple[str, str]) -> str:
    said, url = map(escape, notice)
    inner = f'<a href="{url}" style="color:#1f4e79">{said}</a>' if url else said
    return f'<p style="margin:.25rem 0">{inner}</p>'


def _notices(link: str, usage: UsageFiles) -> Iterator[tuple[str, str]]:
    """Say where the document is read, and what usage is not attached; each with its link or ""."""
    if link:
        yield words.say("Read it in your browser"), link
    for one in usage.too_long if link else ():
        label = "The list of usage is too long to be attached as {format}; all of it is here"
        yield words.say(label, format=one), f"{link}/usage.csv"
    for one in usage.gone if link else (*usage.too_long, *usage.gone):
        label = (
            "The list of usage is not attached as {format}: it is too long, or no longer at hand. "
            "Please ask us for it."
        )
        yield words.say(label, format=one), ""


def notice_lines(link: str, usage: UsageFiles = NO_USAGE) -> Iterator[str]:
    """Write what the mail has to say; a link has a line of its own, clear of marks."""
    for said, url in _notices(link, usage):
        yield from ("", f"{said}:", url) if url else ("", said)


def _text(document: IssuedDocument, link: str, usage: UsageFiles) -> Iterator[str]:
    """Say in plain text what is in the attached document."""
    with words.writing(document_locale(document.parties)):
        name = one_line(customer_party(document.parties.get("customer", {})).name)
        yield words.say("Dear {name},", name=name)
        yield ""
        span = words.span(document.period_start, document.period_end)
        title = words.say(TITLES[document.accounting_event_type])
        number = one_line(document.document_number)
        label = "{title} {number} for {period} is attached."
        yield words.say(label, title=title, number=number, period=span)
        if document.corrects is not None:
            yield words.say("It corrects {number}.", number=document.corrects)
        yield ""
        amount = words.money(document.total, document.currency)
        yield words.say("Total: {amount}", amount=amount)
        if document.accounting_event_type != "CREDIT":
            yield words.say("Due on: {day}", day=words.day(document.due_date))
            yield ""
            for label, value in payment_details(document.parties):
                yield f"{label}: {one_line(value)}"
        yield from notice_lines(link, usage)
        yield ""
        yield one_line(entity_party(document.parties.get("entity", {})).name)


def one_line(text: str) -> str:
    """Return a text without line ends and other control characters, blanks folded."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
