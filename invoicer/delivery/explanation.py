"""How a line's amount came about, step by step, so that a person can do the sum again."""

from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Final

import msgspec

from invoicer.delivery import words
from invoicer.delivery.issued import IssuedLine
from schemas.document import FEE_CELL
from schemas.mean_price import exact_amount, mean_walk
from schemas.money import (
    AMOUNT_DIGITS,
    ONE,
    PRICE_DIGITS,
    QUANTITY_DIGITS,
    Price,
    Quantity,
    currency_digits,
    scaled_to_decimal,
)
from schemas.periods import Part
from schemas.price import (
    LinePrice,
    basis_of,
    billable_quantity,
    bounded_amount,
    cell_price,
    cell_values,
    is_usage,
    price_total,
    tier_walk,
    unit_price,
)
from schemas.pricing.package import packages
from schemas.proration import prorated_bound

_ONE_AMOUNT: Final = 10**AMOUNT_DIGITS
_HUNDRED: Final = 100
_WHOLE: Final = Part(before=0, through=1, whole=1)


_BOUNDED: Final = {
    "minimum": "To the minimum of {amount}",
    "maximum": "To the maximum of {amount}",
}
_EVENTS: Final = {
    (True, False): "1 event: {each} each",
    (False, False): "{count} events: {each} each",
    (True, True): "1 event, the first {free} free: {each} each",
    (False, True): "{count} events, the first {free} free: {each} each",
}
"""How the fees of events are named, by whether it is one event and whether some are free."""


class ViewStep(msgspec.Struct, frozen=True):
    """One tier of a line: quantity times unit price, plus the fee that the label names."""

    label: str
    quantity: str
    unit_price: str
    amount: str


class ViewLine(msgspec.Struct, frozen=True):
    """One line. notes: what happened between quantity times price and the amount."""

    item: str
    quantity: str
    unit_price: str
    amount: str
    steps: tuple[ViewStep, ...]
    notes: tuple[str, ...]


def explain_line(line: IssuedLine, part: Part, currency: str) -> ViewLine:
    """Show a line with its tiers and notes; inside `words.writing`."""
    if basis_of(line.price) == "CELLS":
        return _explain_cell(line, part, currency)
    each = unit_price(line.price)
    return ViewLine(
        item=words.entered(line.item),
        quantity=words.number(line.quantity, QUANTITY_DIGITS),
        unit_price="" if each is None else _price(each, currency),
        amount=words.money(line.amount, currency),
        steps=tuple(_steps(line, currency)),
        notes=tuple(_notes(line, part, currency)),
    )


def _explain_cell(line: IssuedLine, part: Part, currency: str) -> ViewLine:
    """Show a cell as the line that it is, or what a fee of all cells adds or takes off."""
    if line.cell == FEE_CELL:
        notes = []
        for word, fee in (("minimum", line.price.minimum_fee), ("maximum", line.price.maximum_fee)):
            if fee is not None and (line.amount > 0) == (word == "minimum"):
                notes.append(words.say(_BOUNDED[word], amount=_bound_text(fee, part, currency)))
        amount = words.money(line.amount, currency)
        return ViewLine(line.item, "", "", amount, (), tuple(notes))
    values = cell_values(line.cell)
    own = msgspec.structs.replace(
        cell_price(line.price, values), minimum_fee=None, maximum_fee=None
    )
    shown = explain_line(msgspec.structs.replace(line, price=own, cell=""), part, currency)
    return msgspec.structs.replace(
        shown, item=f"{line.item} ({', '.join(values) or words.say('other')})"
    )


def show_difference(line: IssuedLine, currency: str) -> ViewLine:
    """Show by how much a line has changed, and each of its tiers."""
    return ViewLine(
        item=words.entered(line.item),
        quantity=words.number(line.quantity, QUANTITY_DIGITS),
        unit_price="",
        amount=words.money(line.amount, currency),
        steps=tuple(_tier_changes(line, currency)),
        notes=(words.say("Difference to what was billed before"),),
    )


def _tier_changes(line: IssuedLine, currency: str) -> Iterator[ViewStep]:
    """Say what each tier has more than before, or less."""
    digits = currency_digits(currency)
    for tier in line.tiers:
        label = words.say("Last tier")
        if tier.up_to is not None:
            label = words.say("Tier up to {upper}", upper=words.plain(tier.up_to))
        if tier.flat_fee:
            fee = words.exact_money(tier.flat_fee, currency, digits)
            label = words.say("{tier}, {fee} flat", tier=label, fee=fee)
        yield ViewStep(
            label=label,
            quantity=words.plain(tier.quantity),
            unit_price=words.exact_money(tier.unit_price, currency, digits),
            amount=words.exact_money(tier.amount, currency, digits),
        )


def _steps(line: IssuedLine, currency: str) -> Iterator[ViewStep]:
    price = line.price
    if price.event_fees is not None:
        yield _events_step(line, currency)
    if price.model == "PACKAGE":
        yield _package_step(price, line.quantity, currency)
    bounds = [words.number(bound, QUANTITY_DIGITS) for bound in price.bounds]
    lowers = dict(zip([*price.bounds, None], ["", *bounds], strict=True))
    exact = line.exact_quantity
    for tier in tier_walk(price, line.quantity) if exact is None else mean_walk(price, exact):
        upper = "" if tier.up_to is None else words.number(tier.up_to, QUANTITY_DIGITS)
        label = _tier_label(lowers[tier.up_to], upper)
        if tier.flat_fee:
            fee = _price(tier.flat_fee, currency)
            label = words.say("{tier}, plus {fee} flat", tier=label, fee=fee)
        yield ViewStep(
            label=label,
            quantity=words.number(tier.quantity, QUANTITY_DIGITS),
            unit_price=_price(tier.unit_price, currency),
            amount=_money(Fraction(tier.amount, _ONE_AMOUNT), currency),
        )


def _events_step(line: IssuedLine, currency: str) -> ViewStep:
    """Say what each event costs; together they cost the sum of the unrounded fees."""
    price, fees = line.price, line.price.event_fees
    assert fees is not None
    each = words.percent(price.price * _HUNDRED)
    if fees.fixed_fee:
        fee = _price(fees.fixed_fee, currency)
        each = words.say("{rate} plus {fee}", rate=each, fee=fee)
    if fees.minimum is not None:
        fee = _price(fees.minimum, currency)
        each = words.say("{each}, at least {fee}", each=each, fee=fee)
    if fees.maximum is not None:
        fee = _price(fees.maximum, currency)
        each = words.say("{each}, at most {fee}", each=each, fee=fee)
    label = _EVENTS[line.event_count == 1, bool(fees.included_events)]
    free, count = str(fees.included_events), str(line.event_count)
    return ViewStep(
        label=words.say(label, count=count, free=free, each=each),
        quantity=words.number(line.quantity, QUANTITY_DIGITS),
        unit_price="",
        amount=_money(_usage(line), currency),
    )


def _usage(line: IssuedLine) -> Fraction:
    """Return what the usage of a line came to, before its fees, discount and rounding."""
    if line.fees is not None:
        return Fraction(line.fees)
    if line.exact_quantity is not None:
        return exact_amount(line.price, line.exact_quantity, line.event_count)
    return Fraction(price_total(line.price, line.quantity, line.event_count), _ONE_AMOUNT)


def _package_step(price: LinePrice, quantity: Quantity, currency: str) -> ViewStep:
    billable = billable_quantity(price, quantity)
    count = packages(price, abs(billable))
    signed = Quantity(ONE * (count if billable >= 0 else -count))
    size = words.number(price.package_size, QUANTITY_DIGITS)
    return ViewStep(
        label=words.say("Packages of {size}", size=size),
        quantity=words.number(signed, QUANTITY_DIGITS),
        unit_price=_price(price.price, currency),
        amount=_money(Fraction(signed * price.price, _ONE_AMOUNT), currency),
    )


def _tier_label(lower: str, upper: str) -> str:
    if not lower:
        return words.say("Up to {upper}", upper=upper) if upper else words.say("Any quantity")
    if not upper:
        return words.say("Above {lower}", lower=lower)
    return words.say("Above {lower}, up to {upper}", lower=lower, upper=upper)


def _notes(line: IssuedLine, part: Part, currency: str) -> Iterator[str]:
    """Tell the steps from the tiers to the amount, in the order in which they are taken."""
    price = line.price
    if price.included_quantity:
        included = words.number(price.included_quantity, QUANTITY_DIGITS)
        charged = words.number(billable_quantity(price, line.quantity), QUANTITY_DIGITS)
        if price.event_fees is None:
            label = "{included} included free of charge, {charged} charged"
            yield words.say(label, included=included, charged=charged)
        else:
            yield words.say("The first {included} are free of charge", included=included)
    days = part if is_usage(price) else _WHOLE
    minimum = _bound(price.minimum_fee, days, currency)
    maximum = _bound(price.maximum_fee, days, currency)
    came_to = _usage(line)
    if minimum is not None and came_to < minimum:
        text = _bound_text(price.minimum_fee, days, currency)
        yield words.say("Raised to the minimum of {amount}", amount=text)
    if maximum is not None and came_to > maximum:
        text = _bound_text(price.maximum_fee, days, currency)
        yield words.say("Held at the maximum of {amount}", amount=text)
    if price.discount_percent:
        yield words.say("Less {rate} discount", rate=words.percent(price.discount_percent))
    exact = bounded_amount(price, came_to, minimum, maximum)
    if not is_usage(price) and price.recurring and not part.is_whole:
        said = share(_money(exact, currency), part)
        yield words.say("Part of a period: {share}", share=said)
    elif exact != Fraction(line.amount):
        yield words.say("Rounded from {amount}", amount=_money(exact, currency))


def _bound(fee: Price | None, part: Part, currency: str) -> Fraction | None:
    if fee is None:
        return None
    return prorated_bound(Fraction(fee, ONE), part, currency_digits(currency))


def _bound_text(fee: Price | None, part: Part, currency: str) -> str:
    """Write a fee that bounds a line, and in part of a period how much of it that is."""
    due = _bound(fee, part, currency)
    assert fee is not None
    assert due is not None
    text = _money(due, currency)
    return text if part.is_whole else f"{text} ({share(_price(fee, currency), part)})"


def share(fee: str, part: Part) -> str:
    """Write a share of a cycle's fee. What came before is taken off, so that parts add up."""
    through = f"{fee} × {part.through}/{part.whole}"
    if not part.before:
        return words.say("{share} days, rounded", share=through)
    both = f"{through} − {fee} × {part.before}/{part.whole}"
    return words.say("{share} days, each rounded", share=both)


def _price(price: int, currency: str) -> str:
    value = scaled_to_decimal(price, PRICE_DIGITS)
    return words.exact_money(value, currency, currency_digits(currency))


def _money(value: Fraction, currency: str) -> str:
    """Write exact money. Its denominator divides a power of ten, so the division ends."""
    exact = Decimal(value.numerator) / Decimal(value.denominator)
    return words.exact_money(exact, currency, currency_digits(currency))
