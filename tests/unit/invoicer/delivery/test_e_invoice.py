"""The invoice for machines: valid by the rules of the standard, and true to the document."""

from decimal import Decimal
from io import BytesIO
from typing import Any, cast

import facturx
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pypdf import PdfReader
from pypdf.generic import ArrayObject, DictionaryObject, StreamObject

from invoicer.delivery.e_invoice import NotPossible, build_e_invoice, is_wanted
from invoicer.delivery.issued import IssuedDocument, IssuedTax
from invoicer.delivery.pdf import render_pdf
from invoicer.delivery.view import build_view
from invoicer.outbox import render
from schemas.money import currency_digits
from tests.drawn_documents import PER_UNIT, TIERED, documents
from tests.e_invoices import ISSUER, faults, parties, values
from tests.issued_documents import FROM_THE_17TH, PARTIES, issued, line, product

TOTALS = "SpecifiedTradeSettlementHeaderMonetarySummation"
NAMES = {
    "lines": "LineTotalAmount",
    "charges": "ChargeTotalAmount",
    "allowances": "AllowanceTotalAmount",
    "basis": "TaxBasisTotalAmount",
    "tax": "TaxTotalAmount",
    "whole": "GrandTotalAmount",
    "paid": "TotalPrepaidAmount",
    "due": "DuePayableAmount",
}


def wanted(document: IssuedDocument, **customer: str) -> IssuedDocument:
    own: dict[str, Any] = {**document.parties["customer"], **customer}
    return msgspec.structs.replace(document, parties={**parties(), "customer": own})


def xml_of(document: IssuedDocument) -> bytes:
    return build_e_invoice(document, build_view(document))


def totals(xml: bytes) -> dict[str, Decimal]:
    return {short: Decimal(values(xml, f"{TOTALS}/{name}")[0]) for short, name in NAMES.items()}


def check_sums(document: IssuedDocument) -> None:
    """See that an e-invoice is valid, and closes to the cent as its document does."""
    xml = xml_of(document)
    assert faults(xml) == []
    sign = -1 if document.accounting_event_type == "CREDIT" else 1
    found = totals(xml)
    amounts = values(xml, "SpecifiedTradeSettlementLineMonetarySummation/LineTotalAmount")
    assert sum(map(Decimal, amounts)) == found["lines"] == sign * document.sub_total
    assert found["basis"] == found["lines"] - found["allowances"] + found["charges"]
    assert found["tax"] == sign * document.total_tax
    assert found["whole"] == found["basis"] + found["tax"]
    assert found["due"] == found["whole"] - found["paid"] == sign * document.total
    taxes = values(xml, "ApplicableHeaderTradeSettlement/ApplicableTradeTax/CalculatedAmount")
    assert sum(map(Decimal, taxes)) == found["tax"]
    prices = map(Decimal, values(xml, "NetPriceProductTradePrice/ChargeAmount"))
    quantities = map(Decimal, values(xml, "BilledQuantity"))
    digits = Decimal(1).scaleb(-currency_digits(document.currency))
    for price, quantity, amount in zip(prices, quantities, map(Decimal, amounts), strict=True):
        assert abs(price * quantity - amount) <= digits / 2


@pytest.mark.parametrize("name", [name for name in documents() if name != "dinar"])
def test_every_kind_of_document_is_valid_and_closes(name: str) -> None:
    check_sums(wanted(documents()[name]))


NOTHING = msgspec.structs.replace(
    documents()["credit"],
    products=(),
    **dict.fromkeys(("sub_total", "total_discount", "total_tax", "total"), Decimal(0)),
)
PERCENTS = st.decimals("0", "100", places=2).map(str)
QUANTITIES = st.decimals("-1000", "100000", places=4).map(str)
FLAT = {"model": "FLAT", "price": "99.99", "quantity": "3"}
LINES = st.tuples(st.sampled_from([PER_UNIT, TIERED, FLAT]), QUANTITIES)
PRODUCTS = st.builds(
    lambda lines, minimum_fee, discount, tax, part: product(
        *(
            line(f"Item {n}", price, quantity if price is PER_UNIT else quantity.lstrip("-"))
            for n, (price, quantity) in enumerate(lines)
        ),
        minimum_fee=minimum_fee,
        discount=discount,
        tax=tax,
        **part,
    ),
    st.lists(LINES, min_size=1, max_size=4),
    st.none() | st.sampled_from(["50", "9000.5"]),
    PERCENTS,
    st.sampled_from(["0", "7", "19", "20.5", "0.0001"]),
    st.sampled_from([{}, {"part": FROM_THE_17TH}]),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(PRODUCTS, min_size=1, max_size=4), st.sampled_from(["EUR", "JPY", "USD"]))
def test_whatever_is_billed_is_valid_and_closes(products: list[Any], currency: str) -> None:
    check_sums(wanted(issued(*products, currency=currency)))


def test_a_line_of_one_price_is_quantity_times_price_and_others_are_one_unit() -> None:
    document = wanted(documents()["tiered"])
    xml = xml_of(document)
    assert values(xml, "BilledQuantity") == ["1", "12"]
    assert values(xml, "NetPriceProductTradePrice/ChargeAmount") == ["1313.61", "0.0125"]
    assert values(xml, "SpecifiedTradeProduct/Name") == [
        "API platform: API calls",
        "API platform: Seats",
    ]
    [words] = values(xml, "SpecifiedTradeProduct/Description")
    assert words.startswith("123,456.5; Up to 1,000, plus $10.00 flat: 1,000 × $0.03 = $40.00; ")
    assert words.endswith("Rounded from $1,313.6085")


def test_a_minimum_is_a_line_and_a_discount_an_allowance() -> None:
    xml = xml_of(wanted(documents()["partial"]))
    names = values(xml, "SpecifiedTradeProduct/Name")
    assert [name.partition(" to the ")[0] for name in names][1] == "API platform: Added up"
    xml = xml_of(wanted(documents()["tiered"]))
    assert values(xml, "SpecifiedTradeAllowanceCharge/ActualAmount") == ["65.69"]
    assert values(xml, "SpecifiedTradeAllowanceCharge/ChargeIndicator/Indicator") == ["false"]


def test_a_credit_note_states_positive_amounts_and_what_it_corrects() -> None:
    document = documents()["credit"]
    xml = xml_of(wanted(document))
    assert values(xml, "ExchangedDocument/TypeCode") == ["381"]
    assert totals(xml)["due"] == -document.total > 0
    assert values(xml, "InvoiceReferencedDocument/IssuerAssignedID") == ["INV-2026-000"]
    assert values(xml, "SpecifiedTradeSettlementPaymentMeans/TypeCode") == []


@pytest.mark.parametrize(
    ("tax", "vat_number", "expected"),
    [
        ("19", "DE136695976", ("S", "19", [])),
        ("0", "DE136695976", ("AE", "0", ["Reverse charge"])),
        ("0", "IE6388047V", ("Z", "0", [])),
        ("0", "12-3456789", ("Z", "0", [])),
        ("5.50", "12-3456789", ("S", "5.5", [])),
    ],
)
def test_why_a_tax_is_what_it_is(tax: str, vat_number: str, expected: tuple[Any, ...]) -> None:
    document = wanted(issued(product(line("Calls", PER_UNIT, "100"), tax=tax)), ein=vat_number)
    xml = xml_of(document)
    assert faults(xml) == []
    place = "ApplicableHeaderTradeSettlement/ApplicableTradeTax"
    assert values(xml, f"{place}/CategoryCode") == [expected[0]]
    assert values(xml, f"{place}/RateApplicablePercent") == [expected[1]]
    assert values(xml, f"{place}/ExemptionReason") == expected[2]


def test_a_tax_that_was_rounded_in_parts_is_the_documents() -> None:
    document = documents()["tiered"]
    total_tax, total = document.total_tax + 1, document.total + 1
    moved = msgspec.structs.replace(
        *(document,),
        total_tax=total_tax,
        total=total,
        is_rest=True,
        tax_changes=(IssuedTax("INV-2026-000", Decimal(1)),),
    )
    assert totals(xml_of(wanted(moved)))["tax"] == total_tax


@pytest.mark.parametrize(
    ("document", "lack"),
    [
        (wanted(documents()["dinar"]), "currency"),
        (wanted(documents()["plain"], country=""), "buyer_country"),
        (wanted(NOTHING), "lines"),
        (
            msgspec.structs.replace(
                documents()["plain"], parties={**PARTIES, "entity": {**ISSUER, "vat_id": None}}
            ),
            "seller_vat_id",
        ),
    ],
)
def test_what_the_standard_wants_and_is_not_there(document: IssuedDocument, lack: str) -> None:
    with pytest.raises(NotPossible) as caught:
        xml_of(document)
    assert caught.value.lack == lack
    assert is_wanted(document)
    # The invoice goes out all the same.
    assert list(PdfReader(BytesIO(render(document).pdf)).attachments) == []


def test_the_pdf_carries_it_as_readers_look_for_it() -> None:
    document = wanted(documents()["tiered"])
    pdf = render(document).pdf
    assert facturx.get_xml_from_pdf(pdf, check_xsd=True) == ("factur-x.xml", xml_of(document))
    reader = PdfReader(BytesIO(pdf))
    root = cast("DictionaryObject", reader.trailer["/Root"])
    [attached] = cast("ArrayObject", root["/AF"])
    named = cast("DictionaryObject", attached.get_object())
    assert str(named["/AFRelationship"]) == "/Alternative"
    metadata = cast("StreamObject", root["/Metadata"]).get_data().decode()
    assert "<fx:ConformanceLevel>EN 16931</fx:ConformanceLevel>" in metadata
    assert "<pdfaid:part>3</pdfaid:part>" in metadata
    # All that was there without it still is, and the same document gives the same bytes.
    assert pdf == render(document).pdf
    assert metadata.count("<pdfaExtension:schemas>") == 1


def test_nobody_gets_one_who_did_not_ask() -> None:
    document = documents()["tiered"]
    assert not is_wanted(document)
    assert b"factur-x" not in render(document).pdf
    assert render(document).pdf == render_pdf(build_view(document))
