"""How a contract product stands while a period runs: what was used, what it comes to, what is left.

It is drafted from the charges so far as its document will be, so both say the same. Pure.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from fractions import Fraction
from itertools import takewhile
from typing import Any, Final
from uuid import UUID

import msgspec

from schemas.commitments import TrueUp, read_commitments, true_up
from schemas.credits import Balance, Draws, Grant, Span, read_grants, walk
from schemas.document import DocumentProduct
from schemas.drafting import CutLine, ProductInput, draft_document
from schemas.money import (
    AMOUNT_DIGITS,
    PRICE_DIGITS,
    QUANTITY_DIGITS,
    Amount,
    Price,
    Quantity,
    currency_digits,
    decimal_to_scaled,
)
from schemas.periods import BillingTerms, Period, Row, period_at, periods, periods_of_lineage
from schemas.price import from_json

Totals = Mapping[tuple[UUID, datetime], Sequence[Any]]
"""What a line has come to in the period that begins at an instant: a row with quantity, amount,
event_count, exact_quantity, charge_ref and cell, or one a cell."""

_NO_PERIOD: Final = UUID(int=0)


class Standing(msgspec.Struct, frozen=True):
    """A product in its running period. Money in minor.

    drafted: as its document would have it, but for what commitments add. commitments: what each has
    come to, `added` being what is missing. credits: each grant with its balance by the documents
    drawn up. unbilled: what the periods without a document come to, after discount and tax, this
    one with them: credits are to pay for it.
    """

    period: Period
    drafted: DocumentProduct
    commitments: tuple[TrueUp, ...]
    credits: tuple[tuple[Grant, Balance], ...]
    unbilled: int

    @property
    def credit_left(self) -> int:
        """What is left of all credits once the periods without a document are paid."""
        return max(sum(b.left for _, b in self.credits) - max(self.unbilled, 0), 0)


def product_so_far(
    terms: Row, period: Period, lines: Sequence[Row], totals: Totals
) -> ProductInput:
    """Put together what a product is drafted from: all its lines, with their usage so far.

    terms: a contract product's row. lines: those of any products, in the pricing's order.
    """
    minimum = terms["minimum_fee"]
    return ProductInput(
        contract_product_ref=terms["contract_product_ref"],
        period_ref=_NO_PERIOD,
        cut_number=0,
        product_name=terms["product_name"],
        lines=[
            _line(row, total)
            for row in lines
            if row["contract_product_ref"] == terms["contract_product_ref"]
            for total in totals.get((row["contract_line_ref"], period.start), [None])
        ],
        part=period.part,
        is_first_period=period.index == 0,
        minimum_fee=None if minimum is None else _price(minimum),
        discount_percent=_price(terms["discount"]),
        tax_percent=_price(terms["tax"]),
    )


def _price(value: Any) -> Price:  # noqa: ANN401 - a NUMERIC of the driver
    return Price(decimal_to_scaled(value, PRICE_DIGITS))


def _line(row: Row, total: Mapping[str, Any] | None) -> CutLine:
    line = CutLine(
        line_item_ref=row["line_item_ref"],
        contract_line_ref=row["contract_line_ref"],
        pricing_line_id=row["pricing_line_id"],
        item=row["item"],
        price=from_json(row["price"]),
    )
    if total is None:
        return line
    return msgspec.structs.replace(
        line,
        quantity=Quantity(decimal_to_scaled(total["quantity"], QUANTITY_DIGITS)),
        charge_ref=total["charge_ref"],
        event_count=total["event_count"],
        exact_quantity=Fraction(total["exact_quantity"]) if total["exact_quantity"] else None,
        cell=total["cell"],
        fees=Amount(
            decimal_to_scaled(total["amount"], AMOUNT_DIGITS) if line.price.event_fees else 0
        ),
    )


def running_period(terms: Row, now: datetime) -> Period | None:
    """Return the period that an instant lies in; None when the contract is not in force."""
    return period_at(BillingTerms.of_row(terms), now)


def unbilled_periods(terms: Row, last: Period, billed: Mapping[datetime, int]) -> Iterator[Period]:
    """Return the periods up to one that have no document. billed: totals by starts of periods."""
    by_then = takewhile(lambda one: one.start <= last.start, periods(BillingTerms.of_row(terms)))
    return (one for one in by_then if one.start not in billed)


def stand(
    terms: Row,
    last: Period,
    lines: Sequence[Row],
    totals: Totals,
    billed: Mapping[datetime, int],
    draws: Draws,
    lineage: Sequence[Row] = (),
) -> Standing:
    """Work out how a product stands in a period.

    totals: of all periods that have no document up to this one. billed: of the others, the totals
    of their documents, minor, by the starts of periods. draws: by all of them. lineage: the rows of
    what the product carries on and of what carries it on, its own among them; none: it is alone.
    """
    digits = currency_digits(terms["currency"])
    spent = sum(total for start, total in billed.items() if start < last.start)
    unbilled = 0
    for row in lineage or [terms]:
        for period in unbilled_periods(row, last, billed):
            if period.start < last.start:
                draft = draft_document(
                    [product_so_far(row, period, lines, totals)], row["currency"]
                )
                spent += draft.products[0].total
                unbilled += draft.total
    draft = draft_document([product_so_far(terms, last, lines, totals)], terms["currency"])
    if last.start not in billed:
        unbilled += draft.total
    drafted = draft.products[0]
    committed = read_commitments(terms["commitments"])
    grants = read_grants(terms["credits"], digits, terms["billing_start_date"])
    all_terms = [BillingTerms.of_row(row) for row in lineage or [terms]]
    by_then = takewhile(lambda one: one.start <= last.start, periods_of_lineage(all_terms))
    spans = [Span(one.start_date, one.end_date) for one in by_then] if grants else []
    return Standing(
        period=last,
        drafted=drafted,
        commitments=true_up(committed, drafted.total, last.part, digits, spent),
        credits=tuple((grant, [Balance(), *walk(grant, spans, draws)][-1]) for grant in grants),
        unbilled=unbilled,
    )


def sum_draws(rows: Iterable[Row], digits: int) -> Draws:
    """Add up what was drawn, and below zero what was given back, by credit and period.

    rows: with place, start_date and amount.
    """
    draws: dict[tuple[int, date], int] = {}
    for row in rows:
        key = (row["place"], row["start_date"])
        draws[key] = draws.get(key, 0) + decimal_to_scaled(row["amount"], digits)
    return draws
