"""Mails and pages of documents as a real browser lays them out, on a desk and on a telephone."""

from collections.abc import AsyncIterator
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
import pytest_asyncio

from gateway.manage import hosted_page
from invoicer.delivery.html import document_html
from invoicer.delivery.issued import IssuedDocument
from invoicer.delivery.mail import build_mail
from invoicer.delivery.usage_files import UsageFiles
from tests.browser import Page, chromium, page
from tests.drawn_documents import documents

BROWSER = chromium()
DRAWN = documents()
NAMES = [
    *("plain", "tiered", "credit", "partial", "many"),
    *("hebrew_name", "arabic_name", "hebrew", "yen", "dinar"),
]
LINK = "https://bills.example.com/i/" + "A" * 60
WIDTHS = (1280, 390, 320)

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")

#: Texts that reach out of the window, or out of a box that cuts them; what scrolls by itself may.
CUT = """(() => {
  const cut = [], wide = document.documentElement.clientWidth;
  for (const box of document.querySelectorAll('body *')) {
    const own = [...box.childNodes].some(n => n.nodeType === 3 && n.data.trim());
    if (!own || box.closest('.scroll')) continue;
    const at = box.getBoundingClientRect();
    if (at.left < -0.5 || at.right > wide + 0.5 || box.scrollWidth > box.clientWidth + 1
        && getComputedStyle(box).display !== 'inline') cut.push(box.innerText);
  }
  return cut;
})()"""

#: Cells of texts that lie over each other.
OVER = """(() => {
  const over = [];
  for (const row of document.querySelectorAll('tr, dl')) {
    const cells = [...row.children].map(c => {
      const r = document.createRange(); r.selectNodeContents(c);
      return [c, r.getBoundingClientRect()];
    });
    cells.forEach(([one, a], i) => cells.slice(i + 1).forEach(([other, b]) => {
      if (a.width && b.width && a.left < b.right - 1 && b.left < a.right - 1
          && a.top < b.bottom - 1 && b.top < a.bottom - 1)
        over.push(one.innerText + ' | ' + other.innerText);
    }));
  }
  return over;
})()"""

#: How wide the narrowest description is: a word needs more than a column of letters.
NARROWEST = """Math.min(...[...document.querySelectorAll('.scroll td:first-child')]
  .map(cell => cell.getBoundingClientRect().width))"""

#: By how much the lines are wider than the window that scrolls over them.
HIDDEN = """(box => box.scrollWidth - box.clientWidth)(document.querySelector('.scroll'))"""

#: The luminance contrast of each text with what is behind it, where that is less than 4.5.
FAINT = """(() => {
  const parse = c => c.match(/[0-9.]+/g).map(Number);
  const lum = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = box => {
    for (let at = box; at; at = at.parentElement) {
      const c = parse(getComputedStyle(at).backgroundColor);
      if (c.length === 3 || c[3] > 0) return c;
    }
    return [255, 255, 255];
  };
  const faint = new Set();
  for (const box of document.querySelectorAll('body *')) {
    if (![...box.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
    if (box.tagName === 'STYLE') continue;
    const [a, b] = [lum(parse(getComputedStyle(box).color)), lum(ground(box))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) faint.add(box.innerText.slice(0, 40) + ' ' + ratio.toFixed(2));
  }
  return [...faint];
})()"""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def browser() -> AsyncIterator[Page]:
    assert BROWSER is not None
    async with page(BROWSER) as opened:
        yield opened


def mail_of(document: IssuedDocument) -> str:
    html = document_html(document)
    usage = UsageFiles(too_long=("CSV", "PDF"))
    files = {"HTML": html, "PDF": b"%PDF"}
    mail = build_mail(document, files, "billing@example.com", link=LINK, usage=usage)
    body = mail.get_body(("html",))
    assert body is not None
    return str(body.get_content())


def page_of(document: IssuedDocument) -> str:
    row = {
        "currency": document.currency,
        "state": "LATE",
        "due_date": date(2026, 10, 1),
        "total": document.total,
        "has_usage_list": True,
    }
    head = hosted_page.header(row, max(document.total, Decimal(0)), "A" * 60)
    return hosted_page.under_header(document_html(document), head).decode()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["mail", "page"])
async def test_nothing_is_cut_off_or_faint_whatever_the_window(
    browser: Page, kind: str, name: str, tmp_path: Path
) -> None:
    file = tmp_path / f"{kind}-{name}.html"
    file.write_text((mail_of if kind == "mail" else page_of)(DRAWN[name]))
    for width in WIDTHS:
        for is_dark in (False, True):
            await browser.show_as(width, is_dark=is_dark)
            await browser.open(file.as_uri())
            await browser.wait("document.readyState === 'complete'")
            picture = tmp_path / f"{kind}-{name}-{width}-{'dark' if is_dark else 'light'}.png"
            await browser.screenshot(picture, is_whole=True)
            assert await browser.evaluate("document.documentElement.scrollWidth") <= width
            assert await browser.evaluate(CUT) == [], width
            assert await browser.evaluate(OVER) == [], width
            assert await browser.evaluate(NARROWEST) >= 100, width
            assert await browser.evaluate(HIDDEN) <= 0, width
            assert await browser.evaluate(FAINT) == [], (width, is_dark)
