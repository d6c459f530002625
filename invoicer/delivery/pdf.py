"""The view of a document as an archivable, accessible PDF, laid out by Typst.

Everything people entered goes in as data, so nothing of it is ever read as markup. The fonts are
those inside Typst, and the time stamp is the issue date: the same view gives the same bytes.
"""

import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

import msgspec
import typst

from invoicer.delivery.view import View

TEMPLATE: Final = Path(__file__).parent / "templates" / "document.typ"
Standard = Literal["a-3a", "ua-1"]

STANDARDS: Final[tuple[Standard, ...]] = ("a-3a", "ua-1")
"""For archives, and for people who have documents read to them."""

_thread: Final = threading.local()


def render_pdf(view: View) -> bytes:
    """Return the document as PDF.

    The standards want a glyph for every character. Typst's own fonts know Latin, Greek, Cyrillic
    and more, but not, say, Chinese: such a document is made without the standards, with a box where
    the glyph would be, rather than not at all. Raises typst.TypstError when the template is wrong.
    """
    try:
        return _compile(view, STANDARDS)
    except typst.TypstError:
        return _compile(view, ())


def _compile(view: View, standards: Sequence[Standard]) -> bytes:
    pdf = _compiler().compile(
        format="pdf",
        sys_inputs={"view": msgspec.json.encode(view).decode()},
        pdf_standards=list(standards),
        timestamp=datetime.fromisoformat(view.issue_date).replace(tzinfo=UTC),
    )
    assert isinstance(pdf, bytes)
    return pdf


def _compiler() -> typst.Compiler:
    """Return this thread's compiler: it keeps the fonts and the parsed template."""
    compiler: typst.Compiler | None = getattr(_thread, "compiler", None)
    if compiler is None:
        compiler = typst.Compiler(TEMPLATE, root=TEMPLATE.parent, ignore_system_fonts=True)
        _thread.compiler = compiler
    return compiler
