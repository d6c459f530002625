"""Drafting: from the cut totals of a contract's products to a document, line by line. Pure.

The same inputs give the same document, byte for byte. Order of the arithmetic, each step rounded
where `schemas.money` says so and nowhere else:

    line        usage amount, minimum and maximum fee, line's discount, rounded once
    product     sum of its lines, at least the prorated minimum fee, and what commitments miss;
                of a part that is billed ahead, the sum of its lines alone
    discount    the product's percentage of that total, rounded a product
    tax         each rate over the discounted totals that bear it, rounded a rate
    document    sub total - discounts + taxes - credits
"""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import groupby
from typing import Final
from uuid import UUID

import msgspec
from msgspec.structs import replace

from schemas.commitments import Commitment, true_up
from schemas.document import (
    FEE_CELL,
    AccountingEventType,
    DocumentLine,
    DocumentProduct,
    DocumentTax,
    DraftedDocument,
)
from schemas.errors import InvalidInput
from schemas.mean_price import cut_amount, exact_amount, mean_walk
from schemas.money import (
    AMOUNT_DIGITS,
    ONE,
    Amount,
    Price,
    Quantity,
    currency_digits,
    round_amount,
    round_fraction,
    round_percent,
)
from schemas.periods import Part
from schemas.price import (
    LinePrice,
    TierCharge,
    basis_of,
    bounded_amount,
    cell_price,
    cell_values,
    exact_total,
    is_usage,
    price_total,
    tier_walk,
    unit_price,
)
from schemas.proration import prorate, prorated_bound

_WHOLE: Final = Part(before=0, through=1, whole=1)


class CutLine(msgspec.Struct, frozen=True):
    """One line of a product at its cut.

    quantity: the meter's total at the cut; 0 without usage, and where the price fixes its own.
    charge_ref, event_count, events_digest: of the usage behind it; None, 0, None without any.
    exact_quantity: in units, where the quantity is only the nearest number with 18 digits.
    fees: what its events have come to one by one, where they are priced so.
    cell: which one of its line's it is, as it is stored, where the price is one of cells.
    """

    line_item_ref: UUID
    contract_line_ref: UUID
    pricing_line_id: int
    item: str
    price: LinePrice
    quantity: Quantity = Quantity(0)
    charge_ref: UUID | None = None
    event_count: int = 0
    events_digest: bytes | None = None
    exact_quantity: Fraction | None = None
    fees: Amount = Amount(0)
    cell: str = ""


class ProductInput(msgspec.Struct, frozen=True):
    """One contract product in one period, with the terms that hold for it.

    lines: every line of the contract product, those without usage too, in the pricing's order.
    part: the days of the whole cycle that the period covers (`Part.of` the period's dates).
    is_first_period: index 0, in which fees that are not recurring are due.
    minimum_fee: for a whole period, currency; None for none. discount, tax: percent.
    spent_before: the totals of all periods before, minor, for the last one; else None.
    is_ahead: it is what is billed before the period is over, `lines` being those that are: what is
    known only at the end stays out, and that is every minimum.
    """

    contract_product_ref: UUID
    period_ref: UUID
    cut_number: int
    product_name: str
    lines: Sequence[CutLine]
    part: Part = _WHOLE
    is_first_period: bool = True
    minimum_fee: Price | None = None
    discount_percent: Price = Price(0)
    tax_percent: Price = Price(0)
    commitments: Sequence[Commitment] = ()
    spent_before: int | None = None
    is_ahead: bool = False


def draft_document(
    products: Sequence[ProductInput], currency: str, credits_amount: int = 0
) -> DraftedDocument:
    """Draw up the document of these products, in the order given.

    currency: ISO 4217, of every product. credits_amount: minor, >= 0, taken off last.
    A document below zero is a CREDIT.
    Raises InvalidInput for an unknown currency, or a line priced in another one.
    """
    digits = currency_digits(currency)
    drafted = tuple(_draft_product(product, currency, digits) for product in products)
    taxes = tax_lines(drafted)
    sub_total = sum(product.total for product in drafted)
    total_discount = sum(product.discount for product in drafted)
    total_tax = sum(tax.tax for tax in taxes)
    total = sub_total - total_discount + total_tax - credits_amount
    is_credit = total < 0
    return DraftedDocument(
        accounting_event_type=AccountingEventType.CREDIT
        if is_credit
        else AccountingEventType.INVOICE,
        currency=currency,
        currency_digits=digits,
        is_partial_period=any(not product.part.is_whole for product in products),
        products=drafted,
        taxes=taxes,
        sub_total=sub_total,
        total_discount=total_discount,
        total_tax=total_tax,
        credits_amount=credits_amount,
        total=total,
    )


def _draft_product(product: ProductInput, currency: str, digits: int) -> DocumentProduct:
    if product.is_ahead:
        product = _without_minimums(product)
    lines = tuple(_draft_lines(product, currency, digits))
    sub_total = total = sum(line.amount for line in lines)
    minimum = None
    if product.minimum_fee is not None:
        minimum = prorate(Fraction(product.minimum_fee, ONE), product.part, digits)
        total = max(sub_total, minimum)
    true_ups = true_up(product.commitments, total, product.part, digits, product.spent_before)
    total += sum(one.added for one in true_ups)
    discount = round_percent(total, product.discount_percent)
    return DocumentProduct(
        contract_product_ref=product.contract_product_ref,
        period_ref=product.period_ref,
        cut_number=product.cut_number,
        product_name=product.product_name,
        part=product.part,
        lines=lines,
        minimum_fee=minimum,
        sub_total=sub_total,
        total=total,
        discount_percent=product.discount_percent,
        discount=discount,
        discounted=total - discount,
        tax_percent=product.tax_percent,
        true_ups=true_ups,
    )


def _without_minimums(product: ProductInput) -> ProductInput:
    """Leave out what holds for the whole period alone; a fixed fee's own bounds are its price."""
    lines = [
        replace(line, price=replace(line.price, minimum_fee=None)) if is_usage(line.price) else line
        for line in product.lines
    ]
    return replace(product, lines=lines, minimum_fee=None, commitments=())


def _draft_lines(product: ProductInput, currency: str, digits: int) -> Iterator[DocumentLine]:
    for _, group in groupby(product.lines, key=lambda line: line.contract_line_ref):
        rows = list(group)
        price = rows[0].price
        if basis_of(price) == "CELLS":
            yield from _draft_cells(rows, product.part, currency, digits)
        elif price.recurring or product.is_first_period:
            yield from (_draft_line(row, product.part, currency, digits) for row in rows)


def _draft_cells(
    rows: Sequence[CutLine], part: Part, currency: str, digits: int
) -> Iterator[DocumentLine]:
    """Draw up a row a cell, in the order of the price, the default last; each is rounded once.

    What a minimum or maximum fee of all cells together adds or takes off is a row of its own.
    """
    price = rows[0].price
    order = [*price.cell_names.values(), ""]
    amount, usage = 0, Fraction(0)
    for row in sorted(rows, key=lambda row: order.index(row.cell)):
        own = cell_price(price, cell_values(row.cell))
        alone = replace(own, minimum_fee=None, maximum_fee=None)
        drafted = _draft_line(replace(row, price=alone), part, currency, digits)
        yield replace(drafted, price=price)
        amount += drafted.amount
        usage += exact_total(alone, row.quantity)
    minimum, maximum = _bounds(price, part, digits)
    undiscounted = replace(price, discount_percent=Price(0))
    if bounded_amount(undiscounted, usage, minimum, maximum) != usage:
        whole = round_fraction(bounded_amount(price, usage, minimum, maximum), digits)
        yield DocumentLine(
            line_item_ref=rows[0].line_item_ref,
            contract_line_ref=rows[0].contract_line_ref,
            pricing_line_id=rows[0].pricing_line_id,
            item=rows[0].item,
            price=price,
            quantity=Quantity(0),
            unit_price=None,
            tiers=(),
            usage_amount=Amount(0),
            amount=whole - amount,
            charge_ref=None,
            event_count=0,
            events_digest=None,
            cell=FEE_CELL,
        )


def _bounds(price: LinePrice, part: Part, digits: int) -> tuple[Fraction | None, Fraction | None]:
    """Return the minimum and the maximum fee of usage in a period."""
    minimum, maximum = (
        None if fee is None else prorated_bound(Fraction(fee, ONE), part, digits)
        for fee in (price.minimum_fee, price.maximum_fee)
    )
    return minimum, maximum


def _draft_line(line: CutLine, part: Part, currency: str, digits: int) -> DocumentLine:
    price = line.price
    fees = line.fees if basis_of(price) == "EVENTS" else None
    if price.currency not in (None, currency):
        detail = f"line {line.item!r} is priced in {price.currency}, its document in {currency}"
        raise InvalidInput("currency_mismatch", detail)
    exact = line.exact_quantity
    tiers: tuple[TierCharge, ...] = ()
    if fees is not None:
        usage_amount = fees
    elif exact is None:
        tiers = tuple(tier_walk(price, line.quantity))
        usage_amount = price_total(price, line.quantity, line.event_count)
    else:
        tiers = tuple(mean_walk(price, exact))
        usage_amount = cut_amount(exact_amount(price, exact, line.event_count))
    return DocumentLine(
        line_item_ref=line.line_item_ref,
        contract_line_ref=line.contract_line_ref,
        pricing_line_id=line.pricing_line_id,
        item=line.item,
        price=price,
        quantity=line.quantity if is_usage(price) else price.quantity,
        unit_price=unit_price(price),
        tiers=tiers,
        usage_amount=usage_amount,
        amount=line_minor(price, line.quantity, part, digits, line.event_count, exact, fees),
        charge_ref=line.charge_ref,
        event_count=line.event_count,
        events_digest=line.events_digest,
        exact_quantity=exact,
        cell=line.cell,
    )


def line_minor(
    price: LinePrice,
    quantity: Quantity,
    part: Part,
    digits: int,
    event_count: int | None = None,
    exact: Fraction | None = None,
    fees: Amount | None = None,
) -> int:
    """Price one line for a period and round it, in minor. exact: see `CutLine.exact_quantity`.

    fees: what its events have come to one by one, where the price is one of those.

    Usage is charged in full and only the fees that bound it are prorated; a flat line is prorated
    as a whole, its fees and discount included, so that its parts add up; a fee that is not
    recurring is due in full however short its period.
    """
    if is_usage(price):
        has_bounds = price.minimum_fee is not None or price.maximum_fee is not None
        if not has_bounds and not price.discount_percent and exact is None:
            # as most lines are, and much cheaper
            if fees is None:
                return round_amount(price_total(price, quantity, event_count), digits)
            return round_amount(fees, digits)
        minimum, maximum = _bounds(price, part, digits)
        if fees is not None:
            usage = Fraction(fees, 10**AMOUNT_DIGITS)
        elif exact is None:
            usage = exact_total(price, quantity, event_count)
        else:
            usage = exact_amount(price, exact, event_count or 0)
        return round_fraction(bounded_amount(price, usage, minimum, maximum), digits)
    minimum, maximum = (
        None if fee is None else Fraction(fee, ONE)
        for fee in (price.minimum_fee, price.maximum_fee)
    )
    whole = bounded_amount(price, exact_total(price, quantity), minimum, maximum)
    return prorate(whole, part if price.recurring else _WHOLE, digits)


def tax_lines(products: Sequence[DocumentProduct]) -> tuple[DocumentTax, ...]:
    """Sum what each rate is due on, lowest rate first, and round each rate's tax once."""
    bases: dict[Price, int] = {}
    for product in products:
        if product.tax_percent:
            bases[product.tax_percent] = bases.get(product.tax_percent, 0) + product.discounted
    return tuple(
        DocumentTax(percent, base, round_percent(base, percent))
        for percent, base in sorted(bases.items())
    )
