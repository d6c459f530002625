"""The invoice for machines inside a document's PDF: Factur-X, profile EN 16931. Pure.

It says what the document says, in the terms of the European standard. A line of one price is
quantity times price; where an amount came about otherwise (tiers, bounds, shares of a period,
differences), it is one unit at that amount, with the sum in words. What is added to lines for a
minimum is a line; discounts are allowances of the document. A credit note states positive amounts.
"""

from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Final

import msgspec

from invoicer.delivery.cii import Node
from invoicer.delivery.explanation import ViewLine
from invoicer.delivery.issued import IssuedDocument, IssuedLine, IssuedProduct
from invoicer.delivery.parties import chosen_account
from invoicer.delivery.view import View
from schemas.countries import find_country
from schemas.money import (
    PRICE_DIGITS,
    QUANTITY_DIGITS,
    currency_digits,
    decimal_to_scaled,
    round_percent,
    scaled_to_decimal,
)

FACTUR_X: Final = "FACTUR_X"
FILE_NAME: Final = "factur-x.xml"
CONFORMANCE: Final = "EN 16931"
_GUIDELINE: Final = "urn:cen.eu:en16931:2017"
_TYPES: Final = {"INVOICE": "380", "CREDIT": "381", "DEBIT": "383"}
_ONE: Final = "C62"
"""The unit "one" of UN/ECE Recommendation 20: units of usage have names of their own."""
_TRANSFER: Final = "30"
_SEPA: Final = "58"
_DIGITS_MAX: Final = 2
_DAY: Final = timedelta(days=1)
_ZERO: Final = Decimal(0)


class NotPossible(Exception):
    """The document lacks what the standard demands. lack: a word for it, as metrics name it."""

    def __init__(self, lack: str, detail: str) -> None:
        super().__init__(detail)
        self.lack = lack


class Tax(msgspec.Struct, frozen=True):
    """What of a document is taxed by one rate; money in the currency. category: of UNTDID 5305."""

    category: str
    reason: str
    reason_code: str
    rate: Decimal
    base: Decimal
    amount: Decimal


def is_wanted(document: IssuedDocument) -> bool:
    """Tell whether the issuer had turned e-invoices on when the document was drafted."""
    entity: Mapping[str, Any] = document.parties.get("entity", {})
    return entity.get("e_invoice") == FACTUR_X


def build_e_invoice(document: IssuedDocument, view: View) -> bytes:
    """Return a document as XML. view: of the same document. Raises NotPossible."""
    if currency_digits(document.currency) > _DIGITS_MAX:
        detail = f"{document.currency} has more digits than the two that EN 16931 allows"
        raise NotPossible("currency", detail)
    return _EInvoice(document, view).to_bytes()


class _EInvoice:
    """One document on its way to XML. sign: -1 for credit notes, whose amounts are turned round."""

    def __init__(self, document: IssuedDocument, view: View) -> None:
        self.document, self.view = document, view
        self.sign = -1 if document.accounting_event_type == "CREDIT" else 1
        self.digits = currency_digits(document.currency)
        self.seller: Mapping[str, Any] = document.parties.get("entity", {})
        self.buyer: Mapping[str, Any] = document.parties.get("customer", {})
        self.seller_vat = vat_number(self.seller.get("vat_id"))
        self.buyer_vat = vat_number(self.buyer.get("ein"))
        self.lines = 0
        if not self.seller_vat:
            raise NotPossible("seller_vat_id", "the issuer has no VAT number")

    def to_bytes(self) -> bytes:
        root, document = Node.root(), self.document
        context = root.add("rsm:ExchangedDocumentContext")
        context.add("ram:GuidelineSpecifiedDocumentContextParameter").text("ram:ID", _GUIDELINE)
        head = root.add("rsm:ExchangedDocument")
        head.text("ram:ID", document.document_number)
        head.text("ram:TypeCode", _TYPES[document.accounting_event_type])
        head.day("ram:IssueDateTime", document.issue_date)
        if self.view.note.strip():
            head.add("ram:IncludedNote").text("ram:Content", self.view.note)
        trade = root.add("rsm:SupplyChainTradeTransaction")
        for product, shown in zip(document.products, self.view.products, strict=True):
            for line, explained in zip(product.lines, shown.lines, strict=True):
                self._line(trade, product, line, explained)
            for added, label in _added(product, [fact.label for fact in shown.adjustments]):
                self._sum(trade, product, label, added)
        if not self.lines:  # EN 16931 wants a line, and a document of taxes alone has none
            raise NotPossible("lines", "the document has no lines")
        self._agreement(trade.add("ram:ApplicableHeaderTradeAgreement"))
        trade.add("ram:ApplicableHeaderTradeDelivery")
        self._settlement(trade.add("ram:ApplicableHeaderTradeSettlement"))
        return root.to_bytes()

    def _category(self, rate: Decimal) -> tuple[str, str, str]:
        """Return the category of a rate, and why it is not taxed, as words and as a code.

        Without a tax, a customer with a VAT number of another member state owes it themselves; of
        others it is not known why, and zero-rated says no more than the rate.
        """
        if rate:
            return "S", "", ""
        if self.buyer_vat and self.seller_vat[:2] != self.buyer_vat[:2]:
            return "AE", "Reverse charge", "VATEX-EU-AE"
        return "Z", "", ""

    def _money(self, amount: Decimal) -> Decimal:
        """Return an amount as it is stated: turned round on a credit note, with all its digits."""
        turned = amount * self.sign
        return turned.quantize(Decimal(1).scaleb(-self.digits)) + _ZERO

    def _line(
        self, trade: Node, product: IssuedProduct, line: IssuedLine, explained: ViewLine
    ) -> None:
        plain = _plain_price(line, self.digits)
        if plain is None:
            self._sum(trade, product, explained.item, line.amount, _in_words(explained))
            return
        quantity, price = plain
        self._item(trade, product, explained.item, "", (quantity * self.sign, price), line.amount)

    def _sum(
        self, trade: Node, product: IssuedProduct, name: str, amount: Decimal, detail: str = ""
    ) -> None:
        """Add a line of one unit; of minus one where it takes off, since no price is below zero."""
        stated = self._money(amount)
        unit = Decimal(-1 if stated < 0 else 1)
        self._item(trade, product, name, detail, (unit, abs(stated)), amount)

    def _item(
        self,
        trade: Node,
        product: IssuedProduct,
        name: str,
        detail: str,
        of: tuple[Decimal, Decimal],
        amount: Decimal,
    ) -> None:
        """Add a line. of: its quantity and price. amount: what it comes to, as in the document."""
        self.lines += 1
        item = trade.add("ram:IncludedSupplyChainTradeLineItem")
        item.add("ram:AssociatedDocumentLineDocument").text("ram:LineID", str(self.lines))
        goods = item.add("ram:SpecifiedTradeProduct")
        goods.text("ram:Name", f"{product.product_name}: {name}")
        goods.text("ram:Description", detail)
        quantity, price = of
        agreement = item.add("ram:SpecifiedLineTradeAgreement")
        agreement.add("ram:NetPriceProductTradePrice").number("ram:ChargeAmount", price)
        delivery = item.add("ram:SpecifiedLineTradeDelivery")
        delivery.number("ram:BilledQuantity", quantity, unitCode=_ONE)
        settlement = item.add("ram:SpecifiedLineTradeSettlement")
        self._rate(settlement.add("ram:ApplicableTradeTax"), _rate(product))
        _span(settlement, product.start_date, product.end_date)
        total = settlement.add("ram:SpecifiedTradeSettlementLineMonetarySummation")
        total.number("ram:LineTotalAmount", self._money(amount))

    def _rate(self, tax: Node, rate: Decimal) -> None:
        tax.text("ram:TypeCode", "VAT")
        tax.text("ram:CategoryCode", self._category(rate)[0])
        tax.number("ram:RateApplicablePercent", rate)

    def _agreement(self, agreement: Node) -> None:
        seller = agreement.add("ram:SellerTradeParty")
        _names(seller, self.seller, self.seller.get("registration_number"))
        _address(seller, self.seller, "address", "seller_country")
        seller.add("ram:SpecifiedTaxRegistration").text("ram:ID", self.seller_vat, schemeID="VA")
        buyer = agreement.add("ram:BuyerTradeParty")
        _names(buyer, self.buyer, None)
        _address(buyer, self.buyer, "billing_address", "buyer_country")
        if self.buyer_vat:
            buyer.add("ram:SpecifiedTaxRegistration").text("ram:ID", self.buyer_vat, schemeID="VA")
        contract: Mapping[str, Any] = self.document.parties.get("contract", {})
        if order := str(contract.get("po_number") or ""):
            agreement.add("ram:BuyerOrderReferencedDocument").text("ram:IssuerAssignedID", order)
        if number := contract.get("contract_number"):
            named = agreement.add("ram:ContractReferencedDocument")
            named.text("ram:IssuerAssignedID", str(number))

    def _settlement(self, settlement: Node) -> None:
        document = self.document
        settlement.text("ram:PaymentReference", document.document_number)
        settlement.text("ram:InvoiceCurrencyCode", document.currency)
        if self.sign > 0:
            self._payment(settlement)
        taxes = list(self._taxes())
        for tax in taxes:
            self._tax(settlement.add("ram:ApplicableTradeTax"), tax)
        _span(settlement, document.period_start, document.period_end)
        for product in document.products:
            self._discount(settlement, product)
        if self.sign > 0:
            terms = settlement.add("ram:SpecifiedTradePaymentTerms")
            terms.day("ram:DueDateDateTime", document.due_date)
        self._totals(settlement.add("ram:SpecifiedTradeSettlementHeaderMonetarySummation"))
        for number in _corrected(document):
            settlement.add("ram:InvoiceReferencedDocument").text("ram:IssuerAssignedID", number)

    def _payment(self, settlement: Node) -> None:
        account = chosen_account(self.document.parties)
        iban = "".join(str(account.get("iban") or "").split())
        other = str(account.get("account") or "").strip()
        if not iban and not other:
            return
        means = settlement.add("ram:SpecifiedTradeSettlementPaymentMeans")
        is_sepa = bool(iban) and self.document.currency == "EUR"
        means.text("ram:TypeCode", _SEPA if is_sepa else _TRANSFER)
        payee = means.add("ram:PayeePartyCreditorFinancialAccount")
        payee.text("ram:IBANID", iban)
        payee.text("ram:AccountName", str(account.get("account_name") or ""))
        if not iban:
            payee.text("ram:ProprietaryID", other)
        if bic := "".join(str(account.get("swift") or "").split()):
            bank = means.add("ram:PayeeSpecifiedCreditorFinancialInstitution")
            bank.text("ram:BICID", bic)

    def _taxes(self) -> Iterator[Tax]:
        """Yield what each rate comes to; together they are the document's tax.

        Where that was rounded otherwise, part by part, the widest base bears the difference.
        """
        bases: dict[Decimal, Decimal] = {}
        for product in self.document.products:
            rate = _rate(product)
            bases[rate] = bases.get(rate, _ZERO) + product.total - product.discount
        amounts = {rate: self._tax_on(base, rate) for rate, base in bases.items()}
        left = self.document.total_tax - sum(amounts.values(), _ZERO)
        if left:
            amounts[max(bases, key=lambda rate: (bool(rate), abs(bases[rate])))] += left
        for rate in sorted(bases):
            yield Tax(*self._category(rate), rate, bases[rate], amounts[rate])

    def _tax_on(self, base: Decimal, rate: Decimal) -> Decimal:
        percent = decimal_to_scaled(rate, PRICE_DIGITS)
        tax = round_percent(decimal_to_scaled(base, self.digits), percent)  # type: ignore[arg-type]
        return scaled_to_decimal(tax, self.digits)

    def _tax(self, node: Node, tax: Tax) -> None:
        node.number("ram:CalculatedAmount", self._money(tax.amount))
        node.text("ram:TypeCode", "VAT")
        node.text("ram:ExemptionReason", tax.reason)
        node.number("ram:BasisAmount", self._money(tax.base))
        node.text("ram:CategoryCode", tax.category)
        node.text("ram:ExemptionReasonCode", tax.reason_code)
        node.number("ram:RateApplicablePercent", tax.rate)

    def _discount(self, settlement: Node, product: IssuedProduct) -> None:
        """State a discount as an allowance; one that is taken back as a charge."""
        discount = self._money(product.discount)
        if not discount:
            return
        stated = settlement.add("ram:SpecifiedTradeAllowanceCharge")
        stated.flag("ram:ChargeIndicator", value=discount < 0)
        stated.number("ram:ActualAmount", abs(discount))
        stated.text("ram:Reason", f"Discount: {product.product_name}")
        self._rate(stated.add("ram:CategoryTradeTax"), _rate(product))

    def _totals(self, totals: Node) -> None:
        document = self.document
        discounts = [self._money(product.discount) for product in document.products]
        allowances = sum((one for one in discounts if one > 0), _ZERO)
        charges = -sum((one for one in discounts if one < 0), _ZERO)
        basis = self._money(document.sub_total - document.total_discount)
        tax = self._money(document.total_tax)
        totals.number("ram:LineTotalAmount", self._money(document.sub_total))
        totals.number("ram:ChargeTotalAmount", charges)
        totals.number("ram:AllowanceTotalAmount", allowances)
        totals.number("ram:TaxBasisTotalAmount", basis)
        totals.number("ram:TaxTotalAmount", tax, currencyID=document.currency)
        totals.number("ram:GrandTotalAmount", basis + tax)
        totals.number("ram:TotalPrepaidAmount", self._money(document.credits_amount))
        totals.number("ram:DuePayableAmount", self._money(document.total))


def vat_number(text: object) -> str:
    """Return a VAT number of the European Union in its compact form, empty where it is none."""
    from stdnum.eu import vat  # noqa: PLC0415 - 5 MiB, needed for e-invoices alone

    compact = "".join(str(text or "").split()).replace("-", "").replace(".", "").upper()
    return compact if compact[:2].isalpha() and vat.is_valid(compact) else ""


def _rate(product: IssuedProduct) -> Decimal:
    """Return the tax in percent, with no digit more than it needs."""
    rate = scaled_to_decimal(product.tax_rate, PRICE_DIGITS).normalize()
    return rate if rate else _ZERO


def _plain_price(line: IssuedLine, digits: int) -> tuple[Decimal, Decimal] | None:
    """Return quantity and price of a line that is their product, as it was rounded; else None."""
    price = line.price
    if price.model not in ("PER_UNIT", "FLAT") or line.exact_quantity is not None:
        return None
    each = getattr(price, "price", None)
    if each is None or each < 0:
        return None
    quantity = scaled_to_decimal(line.quantity, QUANTITY_DIGITS)
    unit = scaled_to_decimal(each, PRICE_DIGITS)
    is_product = _rounded(quantity, unit, digits) == line.amount
    return (_trimmed(quantity), _trimmed(unit)) if is_product else None


def _rounded(quantity: Decimal, unit: Decimal, digits: int) -> Decimal:
    scale = QUANTITY_DIGITS + PRICE_DIGITS
    exact = decimal_to_scaled(quantity, QUANTITY_DIGITS) * decimal_to_scaled(unit, PRICE_DIGITS)
    half = 10 ** (scale - digits) // 2
    minor = (abs(exact) + half) // 10 ** (scale - digits)
    return scaled_to_decimal(minor if exact >= 0 else -minor, digits)


def _trimmed(value: Decimal) -> Decimal:
    """Return a number without the zeros behind its last digit."""
    trimmed = value.normalize()
    return trimmed if trimmed else _ZERO


def _in_words(line: ViewLine) -> str:
    """Say how the amount of a line came about."""
    parts = [f"{line.quantity} × {line.unit_price}" if line.unit_price else line.quantity]
    parts += [
        f"{step.label}: {step.quantity} × {step.unit_price} = {step.amount}" for step in line.steps
    ]
    return "; ".join(filter(None, (*parts, *line.notes)))


def _added(product: IssuedProduct, labels: list[str]) -> Iterator[tuple[Decimal, str]]:
    """Yield what minimums add to the lines of a product, as one sum."""
    if added := product.total - product.sub_total:
        yield added, "; ".join(labels) or "Minimum"


def _corrected(document: IssuedDocument) -> list[str]:
    """Return the numbers of the documents that one corrects."""
    named = [document.corrects, *(product.corrects for product in document.products)]
    return sorted({number for number in named if number})


def _names(party: Node, details: Mapping[str, Any], registration: object) -> None:
    name, legal = (str(details.get(key) or "").strip() for key in ("name", "legal_name"))
    party.text("ram:Name", legal or name)
    trading = name if legal and name != legal else ""
    if registration or trading:
        organisation = party.add("ram:SpecifiedLegalOrganization")
        organisation.text("ram:ID", str(registration or ""))
        organisation.text("ram:TradingBusinessName", trading)


def _address(party: Node, details: Mapping[str, Any], street: str, lack: str) -> None:
    code = find_country(str(details.get("country") or ""))
    if code is None:
        raise NotPossible(lack, "EN 16931 wants the country of issuer and customer")
    address = party.add("ram:PostalTradeAddress")
    lines = [one.strip() for one in str(details.get(street) or "").splitlines() if one.strip()]
    address.text("ram:PostcodeCode", str(details.get("zip_code") or ""))
    for name, text in zip(("One", "Two"), lines, strict=False):
        address.text(f"ram:Line{name}", text)
    address.text("ram:LineThree", ", ".join(lines[2:]))
    address.text("ram:CityName", str(details.get("city") or ""))
    address.text("ram:CountryID", code)
    address.text("ram:CountrySubDivisionName", str(details.get("country_state") or ""))


def _span(node: Node, start: date, end: date) -> None:
    """Add days. end: the day after the last."""
    span = node.add("ram:BillingSpecifiedPeriod")
    span.day("ram:StartDateTime", start)
    span.day("ram:EndDateTime", max(start, end - _DAY))
