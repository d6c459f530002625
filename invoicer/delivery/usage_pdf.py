"""The list of the usage behind a document as an archivable, accessible PDF, laid out by Typst."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec
import typst

from invoicer import metrics
from invoicer.delivery import words
from invoicer.delivery.issued import IssuedDocument
from invoicer.delivery.parties import Party, accent_colour, document_locale, entity_party
from invoicer.delivery.pdf import FONTS, STANDARDS, Standard
from runtime.logging import get_logger
from schemas.additional_data import pairs_of
from schemas.line_usage import Feeds, Row, counted_quantity, local_time

_log = get_logger()

TEMPLATE: Final = Path(__file__).parent / "templates" / "usage.typ"
_PAGE: Final = "Page {page} of {pages}"


class ListedEvent(msgspec.Struct, frozen=True):
    """An event as people read it, at the time of the issuer's clocks."""

    day: str
    time: str
    quantity: str
    data: str


class ListedLine(msgspec.Struct, frozen=True):
    """The events of a line. about: whose line it is, and which clocks the times are of."""

    item: str
    about: str
    rows: Sequence[ListedEvent]


class UsageView(msgspec.Struct, frozen=True):
    """The whole list, with what `look.typ` needs of a document."""

    language: str
    is_rtl: bool
    accent: str
    headings: Mapping[str, str]
    title: str
    number: str
    issuer: Party
    issue_date: str
    tables: Sequence[ListedLine]


def list_event(line: Row, row: Row, feeds: Feeds) -> ListedEvent:
    """Write one event, in the language of the block `words.writing`."""
    local = local_time(line, row)
    data = row["additional_data"]
    return ListedEvent(
        day=words.short_day(local.date()),
        time=words.clock(local),
        quantity=words.plain(Decimal(counted_quantity(row, feeds))),
        data=", ".join(words.entered(f"{key}: {value}") for key, value in pairs_of(data))
        if data
        else "",
    )


def list_line(line: Row, rows: Sequence[ListedEvent]) -> ListedLine:
    """Write a line over its events, in the language of the block `words.writing`."""
    times = words.say("Times of {zone}", zone=line["timezone"])
    product = words.entered(line["product_name"])
    return ListedLine(words.entered(line["item"]), f"{product} · {times}", rows)


def usage_view(document: IssuedDocument, tables: Sequence[ListedLine]) -> UsageView:
    """Make the view of the list behind a document; pure."""
    with words.writing(document_locale(document.parties)):
        headings = {
            "Date": words.say("Date"),
            "Time": words.say("Time"),
            "Quantity": words.say("Quantity"),
            "Additional data": words.say("Additional data"),
            _PAGE: words.say(_PAGE, page="{page}", pages="{pages}"),
        }
        return UsageView(
            language=words.language(),
            is_rtl=words.is_rtl(),
            accent=accent_colour(document.parties),
            headings=headings,
            title=words.say("Usage"),
            number=document.document_number,
            issuer=entity_party(document.parties.get("entity", {})),
            issue_date=document.issue_date.isoformat(),
            tables=tables,
        )


def render_usage(view: UsageView, fonts_dir: str = "") -> bytes:
    """Return the list as PDF; the same view gives the same bytes.

    One with a character that no font knows is made without the standards, as documents are. Raises
    typst.TypstError when the template is wrong.
    """
    try:
        return _compile(view, STANDARDS, fonts_dir)
    except typst.TypstError:
        pdf = _compile(view, (), fonts_dir)
    metrics.RENDERED_WITH_LACK.labels("glyphs").inc()
    _log.warning("usage_rendered_with_lack", document_number=view.number, lack="glyphs")
    return pdf


def _compile(view: UsageView, standards: Sequence[Standard], fonts_dir: str) -> bytes:
    compiler = typst.Compiler(
        TEMPLATE,
        root=TEMPLATE.parent,
        font_paths=[FONTS, *([Path(fonts_dir)] if fonts_dir else [])],
        ignore_system_fonts=True,
    )
    data: dict[str, Any] = {"view": msgspec.json.encode(view).decode()}
    pdf = compiler.compile(
        format="pdf",
        sys_inputs=data,
        pdf_standards=list(standards),
        timestamp=datetime.fromisoformat(view.issue_date).replace(tzinfo=UTC),
    )
    assert isinstance(pdf, bytes)
    return pdf
