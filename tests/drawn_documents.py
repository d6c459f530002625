"""Documents of every kind, and a tool that draws them for the eye.

`python -m tests.drawn_documents DIRECTORY` writes each as PDF, HTML and mail, with a picture of
each page of the PDF and of the page in a browser.
"""

import base64
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import msgspec

from invoicer.delivery.html import document_html
from invoicer.delivery.issued import IssuedDocument, IssuedTax
from invoicer.delivery.mail import build_mail
from invoicer.delivery.pdf import render_pdf
from invoicer.delivery.view import build_view
from tests.issued_documents import FROM_THE_17TH, PARTIES, issued, line, product

PER_UNIT: Final = {"model": "PER_UNIT", "price": "0.0125"}
TIERED: Final = {
    "model": "GRADUATED",
    "tiers": [
        {"up_to": "1000", "unit_price": "0.03", "flat_fee": "10"},
        {"up_to": "50000", "unit_price": "0.0125"},
        {"unit_price": "0.009"},
    ],
}
SVG: Final = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 240 60">'
    '<rect width="60" height="60" rx="12" fill="#0b6e4f"/>'
    '<path d="M15 45V15l15 20 15-20v30" stroke="#fff" stroke-width="6" fill="none"/>'
    '<rect x="75" y="22" width="150" height="16" rx="8" fill="#0b6e4f"/></svg>'
)
LOGO: Final = "data:image/svg+xml;base64," + base64.b64encode(SVG.encode()).decode()


def written_in(locale: str, **customer: str) -> dict[str, Any]:
    """Return parties whose documents are written in a locale."""
    return {**PARTIES, "customer": {**PARTIES["customer"], "locale": locale, **customer}}


def documents() -> dict[str, IssuedDocument]:
    """Return one of each kind, by name."""
    calls = line("API calls", TIERED, "123456.5")
    plain = product(line("Storage, GB-month", PER_UNIT, "48000"), tax="19")
    tiered = product(calls, line("Seats", PER_UNIT, "12"), tax="19", discount="5")
    partial = product(calls, part=FROM_THE_17TH, minimum_fee="9000", tax="19")
    many = product(
        *(line(f"Metered service {n}", PER_UNIT, str(n * 37)) for n in range(400)), tax="20"
    )
    credit = issued(product(line("API calls", PER_UNIT, "-4800"), tax="19"))
    branded = msgspec.structs.replace(issued(plain), logo=LOGO)
    entity = {**PARTIES["entity"], "accent_colour": "#0b6e4f"}
    return {
        "plain": msgspec.structs.replace(branded, parties={**PARTIES, "entity": entity}),
        "tiered": issued(tiered),
        "credit": msgspec.structs.replace(
            credit,
            corrects="INV-2026-000",
            tax_changes=(IssuedTax("INV-2026-000", credit.total_tax),),
        ),
        "partial": issued(partial),
        "many": issued(many),
        "hebrew_name": issued(
            tiered, parties=written_in("en-US", legal_name="חברת מדידה בע״מ 2026")
        ),
        "arabic_name": issued(
            plain, parties=written_in("de", legal_name="شركة القياس المتقدم للخدمات")
        ),
        "hebrew": issued(
            tiered, currency="ILS", parties=written_in("he-IL", legal_name="חברת מדידה בע״מ")
        ),
        "yen": issued(
            tiered, currency="JPY", parties=written_in("ja-JP", legal_name="株式会社メーター東京")
        ),
        "dinar": issued(tiered, currency="KWD", parties=written_in("fr-FR")),
        "german": issued(partial, currency="EUR", parties=written_in("de-DE")),
        "spanish": issued(tiered, currency="EUR", parties=written_in("es-ES")),
    }


def draw(name: str, document: IssuedDocument, folder: Path) -> None:
    """Write the files of a document and the pictures of them."""
    html, pdf = document_html(document), render_pdf(build_view(document))
    place = folder / name
    place.with_suffix(".html").write_bytes(html)
    place.with_suffix(".pdf").write_bytes(pdf)
    mail = build_mail(document, {"HTML": html, "PDF": pdf}, "billing@example.com")
    place.with_suffix(".eml").write_bytes(bytes(mail))
    subprocess.run(
        ["pdftoppm", "-png", "-r", "60", place.with_suffix(".pdf"), folder / f"{name}.pdf"],
        check=True,
    )
    browser = ["/usr/bin/chromium", "--headless", "--no-sandbox", "--disable-gpu"]
    picture = folder / f"{name}.html.png"
    subprocess.run(
        [*browser, f"--screenshot={picture}", "--window-size=900,1200", place.with_suffix(".html")],
        check=True,
        capture_output=True,
    )


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    for each, drawn in documents().items():
        draw(each, drawn, target)
