"""Which part of a document's total each line bears, and what crediting part of one takes: pure.

Money is in the currency's minor unit. A line's share is fixed by what the document says, whatever
is credited in which order: parts of lines are the steps of one staircase, so that all parts of all
lines come to exactly the document.
"""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import accumulate, groupby, pairwise
from typing import NamedTuple

from schemas.crediting import Credit, Creditable
from schemas.errors import Conflict
from schemas.money import PRICE_DIGITS, decimal_to_scaled, round_fraction
from schemas.periods import Row

Place = tuple[int, int]
"""A product of the document, and a line of it, by their positions."""

_HUNDRED = 100 * 10**PRICE_DIGITS


class BilledLine(NamedTuple):
    """A line as it was billed, and what was credited of it by now.

    amount: before its product's discount, without tax. quantity: exact. discount, tax: percent as
    `Price`. product_total: of its product, which a minimum fee may have raised over its lines.
    """

    place: Place
    item: str
    amount: int
    quantity: Fraction
    product_total: int
    discount: int
    tax: int
    credited: int
    credited_quantity: Fraction

    @classmethod
    def of_row(cls, row: Row, digits: int) -> "BilledLine":
        """Read a row of `load_billed_lines`. digits: of its currency."""
        return cls(
            place=(row["product_position"], row["position"]),
            item=row["item"],
            amount=decimal_to_scaled(row["amount"], digits),
            quantity=Fraction(row["exact_quantity"] or row["quantity"]),
            product_total=decimal_to_scaled(row["product_total"], digits),
            discount=decimal_to_scaled(row["discount_rate"], PRICE_DIGITS),
            tax=decimal_to_scaled(row["tax_rate"], PRICE_DIGITS),
            credited=decimal_to_scaled(row["credited"], digits),
            credited_quantity=Fraction(row["credited_quantity"]),
        )


class Asked(NamedTuple):
    """What is to be credited of a line item.

    An amount of its lines, or a quantity of its one line; with neither, all that is left.
    """

    places: Sequence[Place]
    amount: int | None
    quantity: Fraction | None


class LineCredit(NamedTuple):
    """What is credited of one line.

    amount: as the line's. total, tax: its part of the document's.
    """

    place: Place
    amount: int
    quantity: Fraction | None
    total: int
    tax: int


def shares(lines: Sequence[BilledLine], total: int, tax: int) -> dict[Place, Credit]:
    """Return each line's share of a document's total, and of the tax in that.

    In proportion to what it came to after discount and with tax; what a product came to beyond its
    lines is nobody's. Rounded as a running sum, so that shares add up.
    """
    places: list[Place | None] = []
    gross, taxes = [], []
    for _, group in groupby(lines, key=lambda line: line.place[0]):
        own = list(group)
        parts = [(line.place, line.amount) for line in own]
        rest = own[0].product_total - sum(amount for _, amount in parts)
        for place, amount in [*parts, (None, rest)]:
            net = amount * Fraction(_HUNDRED - own[0].discount, _HUNDRED)
            places.append(place)
            taxes.append(net * Fraction(own[0].tax, _HUNDRED))
            gross.append(net + taxes[-1])
    steps = zip(places, _apportion(total, gross), _apportion(tax, taxes), strict=True)
    return {place: Credit(part, of_tax) for place, part, of_tax in steps if place is not None}


def _apportion(whole: int, weights: Sequence[Fraction]) -> list[int]:
    """Split a whole by weights: the steps of its rounded running sum."""
    of = sum(weights)
    if not of:
        return [0] * len(weights)
    rising = [
        round_fraction(whole * part / of, 0) for part in accumulate(weights, initial=Fraction(0))
    ]
    return [after - before for before, after in pairwise(rising)]


def credit_lines(
    document: Creditable, lines: Sequence[BilledLine], asked: Iterable[Asked]
) -> tuple[Credit, list[LineCredit]]:
    """Credit parts of lines: what that takes off the document, and line by line.

    Raises Conflict `line_not_creditable`, `credit_exceeds_line`, `credit_exceeds_document`,
    `credit_is_nothing`.
    """
    known = {line.place: line for line in lines}
    borne = shares(lines, document.total, document.tax)
    taken: list[LineCredit] = []
    for one in asked:
        own = [known[place] for place in one.places]
        for line, amount, quantity in _parts(own, one):
            taken.append(_take(line, borne[line.place], amount, quantity))
            known[line.place] = line._replace(
                credited=line.credited + amount,
                credited_quantity=line.credited_quantity + (quantity or 0),
            )
    total, tax = sum(one.total for one in taken), sum(one.tax for one in taken)
    if total > document.total_left:
        raise Conflict("credit_exceeds_document", "is more than what is left of the document")
    if total <= 0:
        raise Conflict("credit_is_nothing", "comes to nothing of the document's total")
    net_left = document.total_left - document.tax_left
    return Credit(total, min(max(tax, total - net_left), document.tax_left, total)), taken


def _parts(
    lines: Sequence[BilledLine], asked: Asked
) -> list[tuple[BilledLine, int, Fraction | None]]:
    """Say how much of which lines is meant; several of one line item are filled in their order."""
    if not lines:
        raise Conflict("line_not_creditable", "the document has no such line")
    item = lines[0].item
    left = sum(max(0, line.amount - line.credited) for line in lines)
    if left <= 0:
        raise Conflict("line_not_creditable", f"nothing of {item!r} is left to be credited")
    if asked.quantity is not None:
        return [_by_quantity(lines, asked.quantity)]
    wanted = left if asked.amount is None else asked.amount
    if wanted > left:
        raise Conflict("credit_exceeds_line", f"is more than what is left of {item!r}")
    parts: list[tuple[BilledLine, int, Fraction | None]] = []
    for line in lines:
        amount = min(wanted, max(0, line.amount - line.credited))
        wanted -= amount
        if amount:
            parts.append((line, amount, None))
    return parts


def _by_quantity(
    lines: Sequence[BilledLine], quantity: Fraction
) -> tuple[BilledLine, int, Fraction | None]:
    """Turn a quantity into its part of the line's amount; the last of it takes what is left."""
    line = lines[0]
    if len(lines) > 1:
        detail = f"{line.item!r} has several lines: credit an amount of them"
        raise Conflict("line_not_creditable", detail)
    after = line.credited_quantity + quantity
    if line.quantity <= 0 or after > line.quantity:
        raise Conflict("credit_exceeds_line", f"is more than what is left of {line.item!r}")
    left = line.amount - line.credited
    amount = round_fraction(line.amount * quantity / line.quantity, 0)
    return line, left if after == line.quantity else min(amount, left), quantity


def _take(line: BilledLine, borne: Credit, amount: int, quantity: Fraction | None) -> LineCredit:
    before, after = line.credited, line.credited + amount

    def step(whole: int) -> int:
        upper, lower = (Fraction(whole * part, line.amount) for part in (after, before))
        return round_fraction(upper, 0) - round_fraction(lower, 0)

    return LineCredit(line.place, amount, quantity, step(borne.amount), step(borne.tax))
