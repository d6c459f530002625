"""The view of a document as an archivable, accessible PDF, laid out by Typst.

Everything people entered goes in as data, so nothing of it is ever read as markup. The fonts are
those inside Typst and those in `fonts/`, and the time stamp is the issue date: the same view gives
the same bytes.
"""

import base64
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import typst

from invoicer import metrics
from invoicer.delivery.e_invoice import CONFORMANCE, FILE_NAME
from invoicer.delivery.pdf_metadata import name_e_invoice
from invoicer.delivery.view import View
from runtime.logging import get_logger

HERE: Final = Path(__file__).parent
TEMPLATE: Final = HERE / "templates" / "document.typ"
FONTS: Final = HERE / "fonts"
Standard = Literal["a-3a", "ua-1"]

STANDARDS: Final[tuple[Standard, ...]] = ("a-3a", "ua-1")
"""For archives, and for people who have documents read to them."""

_log = get_logger()
_thread: Final = threading.local()


def render_pdf(view: View, fonts_dir: str = "", e_invoice: bytes | None = None) -> bytes:
    """Return the document as PDF.

    fonts_dir: more fonts. e_invoice: the document as XML, to be carried in the file.
    The standards want a glyph for every character; a document with one that no font knows is made
    without the standards, with a box where the glyph would be, rather than not at all; one whose
    logo can't be drawn is made without it. Both are logged and counted.
    Raises typst.TypstError when the template is wrong.
    """
    failure: typst.TypstError | None = None
    for lack, data, standards in _ways(view):
        data["e_invoice"] = "" if e_invoice is None else e_invoice.decode()
        try:
            pdf = _compile(data, view.issue_date, standards, fonts_dir)
        except typst.TypstError as error:
            failure = error
            continue
        if lack:
            metrics.RENDERED_WITH_LACK.labels(lack).inc()
            _log.warning("document_rendered_with_lack", document_number=view.number, lack=lack)
        is_e_invoice = e_invoice is not None and standards
        return name_e_invoice(pdf, FILE_NAME, CONFORMANCE) if is_e_invoice else pdf
    assert failure is not None, "there is a way at least"
    raise failure


def _ways(view: View) -> Iterator[tuple[str, dict[str, Any], Sequence[Standard]]]:
    """Yield the ways to make the file, the best first, and what each lacks."""
    data: dict[str, Any] = msgspec.to_builtins(view)
    picture = base64.b64decode(data.pop("logo").partition(",")[2])
    whole, bare = {**data, "logo_bytes": list(picture)}, {**data, "logo_bytes": []}
    yield "", whole, STANDARDS
    if picture:
        yield "logo", bare, STANDARDS
    yield "glyphs", whole, ()
    if picture:
        yield "glyphs_and_logo", bare, ()


def _compile(
    data: dict[str, Any], issue_date: str, standards: Sequence[Standard], fonts_dir: str
) -> bytes:
    pdf = _compiler(fonts_dir).compile(
        format="pdf",
        sys_inputs={"view": msgspec.json.encode(data).decode()},
        pdf_standards=list(standards),
        timestamp=datetime.fromisoformat(issue_date).replace(tzinfo=UTC),
    )
    assert isinstance(pdf, bytes)
    return pdf


def _compiler(fonts_dir: str) -> typst.Compiler:
    """Return this thread's compiler: it keeps the fonts and the parsed template."""
    compiler: typst.Compiler | None = getattr(_thread, "compiler", None)
    if compiler is None or _thread.fonts_dir != fonts_dir:
        paths = [FONTS, *([Path(fonts_dir)] if fonts_dir else [])]
        compiler = typst.Compiler(
            TEMPLATE, root=TEMPLATE.parent, font_paths=paths, ignore_system_fonts=True
        )
        _thread.compiler, _thread.fonts_dir = compiler, fonts_dir
    return compiler
