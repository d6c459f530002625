"""The view of a document as one HTML page: no script, no font, no image from elsewhere."""

from pathlib import Path
from typing import Final

import jinja2

from invoicer.delivery.issued import IssuedDocument
from invoicer.delivery.view import View, build_view

_environment: Final = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    keep_trailing_newline=True,
)
_template: Final = _environment.get_template("document.html")


def document_html(document: IssuedDocument) -> bytes:
    """Return the page of a document."""
    return render_html(build_view(document))


def render_html(view: View) -> bytes:
    """Return the page; the same view gives the same bytes."""
    return _template.render(view=view).encode()
