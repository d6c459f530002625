"""The same view as HTML and as PDF: complete, alike, and harmless whatever people entered."""

import re
from decimal import Decimal
from io import BytesIO

import msgspec
import pytest
from pypdf import PdfReader
from pypdf.generic import StreamObject

from invoicer.delivery.html import render_html
from invoicer.delivery.issued import IssuedDocument
from invoicer.delivery.pdf import render_pdf
from invoicer.delivery.view import View, build_view
from tests.issued_documents import FROM_THE_17TH, PARTIES, issued, line, product

TIERED = {
    "model": "GRADUATED",
    "tiers": [{"up_to": "100", "unit_price": "0.03"}, {"unit_price": "0.0125"}],
}
PER_UNIT = {"model": "PER_UNIT", "price": "0.0125"}
MANY = issued(
    product(*(line(f"Metered service {n}", PER_UNIT, str(n * 37)) for n in range(60)), tax="20")
)
PARTIAL = issued(
    product(
        line("Calls", TIERED, "1234.5"),
        line("Seats", {"model": "FLAT", "price": "99.99", "quantity": "3"}),
        part=FROM_THE_17TH,
        minimum_fee="900",
        discount="5",
        tax="19",
    )
)


def pdf_of(document: IssuedDocument) -> PdfReader:
    return PdfReader(BytesIO(render_pdf(build_view(document))))


def text_of_pdf(document: IssuedDocument) -> str:
    return " ".join(" ".join(page.extract_text() for page in pdf_of(document).pages).split())


def texts(view: View) -> list[str]:
    """Return every text of a view but how it looks and the date that only the stamp bears."""
    found: list[str] = []

    def walk(value: object) -> None:
        if isinstance(value, str):
            found.extend(filter(None, (" ".join(value.split()),)))
        elif isinstance(value, list | tuple):
            for item in value:
                walk(item)
        elif isinstance(value, dict):
            for name, item in value.items():
                if name not in {"language", "issue_date", "accent", "headings", "logo"}:
                    walk(item)

    walk(msgspec.to_builtins(view))
    return found


def test_every_text_of_the_view_is_in_both_files() -> None:
    view = build_view(PARTIAL)
    html = " ".join(
        re.sub(r"<[^>]*>", " ", render_html(view).decode()).replace("&amp;", "&").split()
    )
    pdf = text_of_pdf(PARTIAL).replace(" ", "")
    for text in texts(view):
        assert text in html, text
        assert text.replace(" ", "").replace("\xa0", "") in pdf.replace("\xa0", ""), text


def test_many_lines_flow_over_pages_under_a_repeated_heading() -> None:
    pages = [page.extract_text() for page in pdf_of(MANY).pages]
    assert len(pages) > 1
    for number, page in enumerate(pages, 1):
        assert "DESCRIPTION" in page
        assert f"Page {number} of {len(pages)}" in page
        assert "INV-2026-001" in page
    text = text_of_pdf(MANY)
    view = build_view(MANY)
    for shown in view.products[0].lines:
        assert f"{shown.item} {shown.quantity} {shown.unit_price} {shown.amount}" in text
    assert f"{view.total.label} {view.total.value}" in text


def test_the_same_document_gives_the_same_bytes() -> None:
    assert render_pdf(build_view(MANY)) == render_pdf(build_view(MANY))
    assert render_html(build_view(MANY)) == render_html(build_view(MANY))


def test_the_pdf_is_for_archives_and_for_everyone() -> None:
    reader = pdf_of(PARTIAL)
    assert reader.metadata is not None
    assert reader.metadata.title == "Invoice INV-2026-001"
    assert reader.metadata.author == "Northwind Metering Ltd"
    metadata = reader.root_object["/Metadata"].get_object()
    assert isinstance(metadata, StreamObject)
    xmp = metadata.get_data().decode()
    assert "pdfaid:part" in xmp
    assert "pdfuaid:part" in xmp


def test_what_people_entered_is_text_and_nothing_else() -> None:
    evil = '<script>alert("1")</script> #panic() *bold* $x$ \\ {{ 7*7 }}'
    parties = {**PARTIES, "customer": {"name": evil}, "note": evil}
    document = issued(product(line(evil, PER_UNIT, "1"), name=evil), parties=parties)
    html = render_html(build_view(document)).decode()
    assert "<script" not in html
    assert "{{ 7*7 }}" in html
    assert text_of_pdf(document).replace(" ", "").count(evil.replace(" ", "")) == 4


def test_the_page_asks_for_nothing_from_elsewhere() -> None:
    html = render_html(build_view(PARTIAL)).decode()
    assert not re.search(r"(src|href)=|url\(|@import", html)
    assert "default-src 'none'" in html


def test_text_without_a_glyph_still_gives_a_pdf() -> None:
    parties = {**PARTIES, "customer": {"name": "株式会社\x01🎉"}}
    document = issued(product(line("Calls", PER_UNIT, "1")), parties=parties)
    assert "Total due $0.01" in text_of_pdf(document)


@pytest.mark.parametrize("count", range(15, 45, 3))
def test_the_total_never_stands_alone_on_a_page(count: int) -> None:
    lines = (line(f"Service {n}", PER_UNIT, "80") for n in range(count))
    pages = [page.extract_text() for page in pdf_of(issued(product(*lines, tax="20"))).pages]
    assert (
        sum(
            f"Service {n}\n" in "".join(pages) or f"Service {n} " in "".join(pages)
            for n in range(count)
        )
        == count
    )
    [page] = [page for page in pages if "Total due" in page]
    assert f"Service {count - 1}" in page


def test_a_document_of_no_product_and_one_of_many_are_drawn() -> None:
    nothing = msgspec.structs.replace(MANY, products=(), total_tax=Decimal(0))
    assert "Total due" in text_of_pdf(nothing)
    several = issued(
        *(
            product(line("Calls", PER_UNIT, "80"), name=f"Product {n}", discount="5")
            for n in range(30)
        )
    )
    text = text_of_pdf(several)
    assert all(f"Total Product {n} " in text for n in range(30))
    assert "Total due" in text


@pytest.mark.parametrize("count", [10, 19, 20, 38, 60])
def test_a_total_of_many_discounts_stays_on_its_page(count: int) -> None:
    sold = (
        product(line("Calls", PER_UNIT, "80"), name=f"Product {n}", discount="5")
        for n in range(count)
    )
    heights: list[float] = []

    def see(text: str, cm: list[float], tm: list[float], *_: object) -> None:
        if "Total due" in text:
            heights.append(tm[5] * cm[3] + cm[5])

    for page in pdf_of(issued(*sold)).pages:
        page.extract_text(visitor_text=see)
    assert len(heights) == 1
    assert 60 < heights[0] < 842


@pytest.mark.parametrize("count", range(18, 34, 2))
def test_how_to_pay_is_on_one_page(count: int) -> None:
    accounts = [
        {"account_name": "Northwind", "bank_name": "First Bank", "iban": "IE29", "swift": "AIBK",
         "account": "4711", "routing": "22", "bank_code": "33", "branch": "Dublin",
         "address": "1 Bank Street"}
    ]  # fmt: skip
    entity = {**PARTIES["entity"], "billing_details": {"billing_accounts": accounts}}
    lines = (line(f"Service {n}", PER_UNIT, "80") for n in range(count))
    document = issued(product(*lines, tax="20"), parties={**PARTIES, "entity": entity})
    [page] = [text for one in pdf_of(document).pages if "PAYMENT" in (text := one.extract_text())]
    assert all(said in page for said in ("Account holder", "1 Bank Street", "Reference"))
