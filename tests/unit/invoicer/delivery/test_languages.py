"""Documents in the language, the numbers, the script and the colours of those they concern."""

import ast
import base64
import re
from io import BytesIO
from pathlib import Path

import msgspec
import pytest
from pypdf import PdfReader

from invoicer.delivery import explanation, view, words
from invoicer.delivery.html import document_html
from invoicer.delivery.mail import build_mail
from invoicer.delivery.parties import _ACCOUNT_LABELS
from invoicer.delivery.pdf import FONTS, render_pdf
from invoicer.delivery.view import TITLES, build_view
from tests.drawn_documents import LOGO, documents, written_in
from tests.issued_documents import PARTIES, issued, line, product

LABELS = Path(words.__file__).parent / "labels"
PER_UNIT = {"model": "PER_UNIT", "price": "1"}
ONE = product(line("Calls", PER_UNIT, "1234.5"), tax="10")
DRAWN = documents()


def in_locale(locale: str, currency: str = "EUR", **customer: str) -> str:
    return build_view(
        issued(ONE, currency=currency, parties=written_in(locale, **customer))
    ).total.value


def is_archivable(pdf: bytes) -> bool:
    return b"pdfaid:part" in pdf


@pytest.mark.parametrize("language", ["de", "fr", "es", "he", "ja"])
def test_a_language_has_every_label_with_its_places(language: str) -> None:
    labels = msgspec.json.decode((LABELS / f"{language}.json").read_bytes(), type=dict[str, str])
    german = msgspec.json.decode((LABELS / "de.json").read_bytes(), type=dict[str, str])
    assert labels.keys() == german.keys()
    for english, label in labels.items():
        assert set(re.findall(r"\{\w+\}", label)) == set(re.findall(r"\{\w+\}", english)), english


def test_every_label_of_the_code_is_translated() -> None:
    known = msgspec.json.decode((LABELS / "de.json").read_bytes(), type=dict[str, str])
    tables = (view._HEADINGS, TITLES, view._TOTAL_LABELS, view._TRUE_UPS, view._TRUE_UP_CHANGES)
    said = {
        label
        for table in tables
        for label in (table if isinstance(table, tuple) else table.values())
    }
    said |= {*explanation._BOUNDED.values(), *explanation._EVENTS.values()}
    said |= {*_ACCOUNT_LABELS.values()}
    for source in LABELS.parent.glob("*.py"):
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "words.say":
                label = node.args[0]
                said |= {str(label.value)} if isinstance(label, ast.Constant) else set()
    assert said <= known.keys(), said - known.keys()


@pytest.mark.parametrize(
    ("locale", "currency", "total"),
    [
        ("en-US", "USD", "$1,357.95"),
        ("de-DE", "EUR", "1.357,95 €"),
        ("de-CH", "CHF", "CHF 1\N{RIGHT SINGLE QUOTATION MARK}357.95"),
        ("fr-FR", "EUR", "1 357,95 €"),
        ("es-ES", "EUR", "1.357,95 €"),
        ("ja-JP", "JPY", "￥1,359"),  # two lines of rounding: 1,235 and 124
        ("fr-FR", "KWD", "1 357,950 KWD"),
        ("en-US", "BHD", "BHD 1,357.950"),
    ],
)
def test_money_is_written_as_the_customer_writes_it(locale: str, currency: str, total: str) -> None:
    assert re.sub(r"\s", " ", in_locale(locale, currency)) == total


def test_without_a_customers_locale_the_entitys_is_taken_and_else_english() -> None:
    entity = {**PARTIES["entity"], "locale": "de-DE"}
    german = build_view(issued(ONE, parties={**PARTIES, "entity": entity}))
    assert (german.language, german.title) == ("de", "Rechnung")
    assert build_view(issued(ONE, parties=written_in("nonsense"))).title == "Invoice"


def test_a_language_without_labels_has_english_ones_and_its_own_numbers() -> None:
    shown = build_view(issued(ONE, currency="EUR", parties=written_in("it-IT")))
    assert (shown.language, shown.title) == ("en", "Invoice")
    assert shown.total.value.startswith("1.357,95")


@pytest.mark.parametrize("name", sorted(DRAWN))
def test_every_document_has_its_glyphs_and_stays_on_its_pages(name: str) -> None:
    pdf = render_pdf(build_view(DRAWN[name]))
    assert is_archivable(pdf)
    assert pdf == render_pdf(build_view(DRAWN[name]))
    for page in PdfReader(BytesIO(pdf)).pages:
        places: list[tuple[float, float]] = []

        def see(
            text: str, cm: list[float], tm: list[float], *_: object, into: list[tuple[float, float]]
        ) -> None:
            if text.strip():
                into.append((tm[4] * cm[0] + cm[4], abs(tm[5] * cm[3] + cm[5])))

        page.extract_text(visitor_text=lambda *given, into=places: see(*given, into=into))
        assert places
        assert all(0 < x < page.mediabox.width for x, _ in places)
        assert all(0 < y < page.mediabox.height for _, y in places)


@pytest.mark.parametrize(
    "name",
    [
        "חברת מדידה",
        "شركة القياس",
        "株式会社メーター東京",
        "บริษัท มาตรวัด",
        "मीटर कंपनी",
        "Ωμέγα",
        "Счётчик",
    ],
)
def test_a_name_in_any_of_the_scripts_is_drawn(name: str) -> None:
    pdf = render_pdf(build_view(issued(ONE, parties=written_in("en", legal_name=name))))
    assert is_archivable(pdf)


def test_numbers_keep_their_sign_before_them_from_right_to_left() -> None:
    shown = build_view(DRAWN["hebrew"])
    assert shown.is_rtl
    discount = shown.totals[1].value
    assert discount.startswith("\N{LEFT-TO-RIGHT ISOLATE}-65.69")
    assert '<html lang="he" dir="rtl">' in document_html(DRAWN["hebrew"]).decode()


def test_logo_and_colour_are_those_of_the_entity() -> None:
    html = document_html(DRAWN["plain"]).decode()
    assert f'src="{LOGO}"' in html
    assert "--accent: #0b6e4f" in html
    entity = {**PARTIES["entity"], "accent_colour": "red; } body { display: none"}
    assert (
        "--accent: #1f4e79"
        in document_html(issued(ONE, parties={**PARTIES, "entity": entity})).decode()
    )


def test_a_logo_that_cannot_be_drawn_is_left_out_of_the_pdf() -> None:
    broken = "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\nbroken").decode()
    document = msgspec.structs.replace(issued(ONE), logo=broken)
    assert is_archivable(render_pdf(build_view(document)))


def test_the_fonts_are_those_that_are_named() -> None:
    named = (FONTS / "VENDORED.md").read_text()
    assert {path.name for path in FONTS.glob("*.ttf")} == set(
        re.findall(r"\| (\S+\.ttf) \|", named)
    )


@pytest.mark.parametrize(
    ("name", "subject", "said"),
    [
        (
            "german",
            "Rechnung INV-2026-001 von Northwind Metering Ltd",
            "Fällig am: 1. Oktober 2026",
        ),
        ("yen", "Northwind Metering Ltd 請求書 INV-2026-001", "支払期限: 2026年10月1日"),
        ("plain", "Invoice INV-2026-001 of Northwind Metering Ltd", "Due on: 1 October 2026"),
    ],
)
def test_the_mail_is_in_the_language_of_its_document(name: str, subject: str, said: str) -> None:
    mail = build_mail(DRAWN[name], {"HTML": b"<p>", "PDF": b"%PDF"}, "billing@example.com")
    assert mail["Subject"] == subject
    text = mail.get_body(("plain",))
    assert text is not None
    assert said in text.get_content()


def test_the_subject_of_a_mail_has_no_characters_that_are_not_seen() -> None:
    mail = build_mail(DRAWN["hebrew"], {"HTML": b"<p>", "PDF": b"%PDF"}, "billing@example.com")
    assert mail["Subject"].isprintable()
    assert "חשבונית" in mail["Subject"]


def test_a_long_address_among_right_to_left_labels_is_read_forwards() -> None:
    parties = written_in("he-IL", email="accounts.payable.department@customer.example")
    [page] = PdfReader(BytesIO(render_pdf(build_view(issued(ONE, parties=parties))))).pages
    text = page.extract_text().replace("\N{ZERO WIDTH SPACE}", "")
    assert "accounts.payable.department@customer.example" in "".join(text.split())
