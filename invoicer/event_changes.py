"""Events billed one by one: what a change of one moves, and the document of the difference. Pure.

Totals are kept line by line as the changes come, in the order of rating; a document bills by how
much the rounded lines move. Lines whose totals depend on other events (a greatest or last value, a
mean) are the period's document's to bill, and so is what lines cost without any use.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

import msgspec
from msgspec.structs import replace

from invoicer.assembly import ProductTerms
from schemas.aggregation import PLAIN
from schemas.document import Adjustment, DocumentLine, DraftedDocument
from schemas.drafting import CutLine, ProductInput, draft_document, tax_lines
from schemas.event_drafting import draft_difference
from schemas.meter_formula import Formula
from schemas.money import ONE, PRICE_DIGITS, Amount, Price, Quantity, decimal_to_scaled
from schemas.periods import Period, period_at
from schemas.price import LinePrice, basis_of
from schemas.pricing.event_fees import FeeTally, Move, is_ordered, moved
from schemas.pricing.matrix import cell_name_of

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICRO: Final = timedelta(microseconds=1)


class Use(NamedTuple):
    """An event as it counts. quantity: as it came; the meter's formula makes it billable."""

    at: datetime
    quantity: int
    data: str | None


class Change(NamedTuple):
    """A row of event_due. before, after: None where the event does not count."""

    due_id: int
    event_ref: UUID
    place: int
    meter_id: int
    before: Use | None
    after: Use | None
    is_first: bool


class EventLine(msgspec.Struct, frozen=True):
    """A line that events feed."""

    contract_line_ref: UUID
    contract_product_ref: UUID
    pricing_line_id: int
    line_item_ref: UUID
    item: str
    price: LinePrice
    meter_id: int
    aggregation: str
    formula: Formula | None
    is_fed: bool = False

    @property
    def is_billed(self) -> bool:
        """Tell whether single events make its total, so that their documents bill it.

        Where other meters count toward its own, the period's document does.
        """
        return self.aggregation in PLAIN and not self.is_fed

    def billable(self, use: Use) -> int:
        """Return what an event adds."""
        if self.aggregation == "COUNT":
            return ONE
        if self.formula is None:
            return use.quantity
        return self.formula.billable(use.quantity, use.data)


class Total(msgspec.Struct):
    """What events have made of a line, or of a cell of it. tally: where they are priced one by one.

    A tally that is None has to be counted again.
    """

    quantity: int = 0
    event_count: int = 0
    tally: FeeTally | None = None


class Affected(NamedTuple):
    """A contract product in a period that a change moves. root: the period's document."""

    terms: ProductTerms
    period: Period
    period_ref: UUID
    root: UUID


Place = tuple[UUID, UUID, str]
"""Contract line, period and cell."""

Totals = dict[Place, Total]


def periods_of(change: Change, terms: ProductTerms) -> list[Period]:
    """Return the periods of a product that a change moves: that it leaves, that it enters."""
    found: list[Period] = []
    for use in (change.before, change.after):
        period = None if use is None else period_at(terms.billing, use.at)
        if period is not None and period not in found:
            found.append(period)
    return found


def lines_moved(lines: Iterable[EventLine], change: Change, product_ref: UUID) -> list[EventLine]:
    """Return the lines of a product that the change's meter feeds."""
    return [
        line
        for line in lines
        if line.meter_id == change.meter_id and line.contract_product_ref == product_ref
    ]


def move(
    totals: Totals, affected: Affected, lines: Sequence[EventLine], change: Change
) -> list[tuple[EventLine, Place]]:
    """Move the totals of one product and period; return those whose fees must be counted again."""
    again = []
    fees: dict[Place, tuple[EventLine, list[Move]]] = {}
    for sign, use in ((-1, change.before), (1, change.after)):
        if use is None or not affected.period.start <= use.at < affected.period.end:
            continue
        for line in lines:
            if not line.is_billed:
                continue
            basis = basis_of(line.price)
            cell = cell_name_of(line.price, use.data) if basis == "CELLS" else ""
            place = (line.contract_line_ref, affected.period_ref, cell)
            total = totals.setdefault(place, Total())
            quantity = line.billable(use)
            total.quantity += sign * quantity
            total.event_count += sign
            if basis == "EVENTS":
                key = (micros(use.at), change.event_ref.int)
                fees.setdefault(place, (line, []))[1].append((key, quantity, sign))
    for place, (line, moves) in fees.items():
        total = totals[place]
        before = total.tally or FeeTally.start(line.price)
        total.tally = moved(line.price, before, moves)
        if total.tally is None:
            assert is_ordered(line.price), "only what is free depends on order"
            again.append((line, place))
    return again


def product_input(
    affected: Affected, lines: Sequence[EventLine], totals: Mapping[Place, Total]
) -> ProductInput:
    """Put together what a product is drafted from: the usage of these lines alone."""
    terms = affected.terms
    return ProductInput(
        contract_product_ref=terms.contract_product_ref,
        period_ref=affected.period_ref,
        cut_number=0,
        product_name=terms.product_name,
        lines=[row for line in lines for row in _rows(line, affected.period_ref, totals)],
        part=affected.period.part,
        is_first_period=affected.period.index == 0,
        discount_percent=Price(decimal_to_scaled(terms.discount, PRICE_DIGITS)),
        tax_percent=Price(decimal_to_scaled(terms.tax, PRICE_DIGITS)),
    )


def _rows(line: EventLine, period_ref: UUID, totals: Mapping[Place, Total]) -> list[CutLine]:
    """Return a line as it would be cut, each cell that was used so far by itself."""
    cells = [""]
    if basis_of(line.price) == "CELLS":
        names = line.price.cell_names.values()
        used = {cell for ref, period, cell in totals if (ref, period) == _of(line, period_ref)}
        cells += [name for name in names if name in used]
    rows = []
    for cell in cells:
        total = totals.get((line.contract_line_ref, period_ref, cell), Total())
        rows.append(
            CutLine(
                line_item_ref=line.line_item_ref,
                contract_line_ref=line.contract_line_ref,
                pricing_line_id=line.pricing_line_id,
                item=line.item,
                price=line.price,
                quantity=Quantity(total.quantity),
                event_count=total.event_count,
                fees=Amount(0) if total.tally is None else total.tally.amount,
                cell=cell,
            )
        )
    return rows


def _of(line: EventLine, period_ref: UUID) -> tuple[UUID, UUID]:
    return line.contract_line_ref, period_ref


def draft_change(
    currency: str,
    roots: Sequence[UUID],
    after: Sequence[ProductInput],
    before: Sequence[ProductInput],
) -> DraftedDocument:
    """Draw up what has come between two states of the same products. roots: of each product.

    The tax of each root's part is rounded by itself.
    """
    draft = draft_difference(draft_document(after, currency), draft_document(before, currency))
    products = tuple(
        replace(product, root=root, lines=tuple(filter(_is_shown, product.lines)))
        for product, root in zip(draft.products, roots, strict=True)
    )
    parts = []
    for root in dict.fromkeys(roots):
        own = [product for product in products if product.root == root]
        total_tax = sum(tax.tax for tax in tax_lines(own))
        sub_total = sum(product.total for product in own)
        discount = sum(product.discount for product in own)
        parts.append(Adjustment(root, sub_total, discount, total_tax))
    total_tax = sum(part.total_tax for part in parts)
    return replace(
        draft,
        products=products,
        taxes=tax_lines(products) if len(parts) == 1 else (),
        total_tax=total_tax,
        total=draft.sub_total - draft.total_discount + total_tax,
        adjustments=tuple(parts),
    )


def _is_shown(line: DocumentLine) -> bool:
    """Tell whether a line is on the document: cells that have not moved are not."""
    has_moved = line.quantity or line.amount or line.event_count
    return bool(has_moved) or basis_of(line.price) != "CELLS"


def is_empty(draft: DraftedDocument) -> bool:
    """Tell whether a document says nothing of any line."""
    lines = (line for product in draft.products for line in product.lines)
    return not any(line.quantity or line.amount or line.event_count for line in lines)


def micros(at: datetime) -> int:
    """Return an instant as events are ordered by: microseconds since 1970."""
    return (at - _EPOCH) // _MICRO


def write_tally(tally: FeeTally | None) -> str | None:
    """Write a tally as it is stored."""
    if tally is None:
        return None
    figures = (tally.amount, tally.free_events, tally.free_units, *tally.frontier)
    return " ".join(map(str, figures))


def read_tally(text: str | None) -> FeeTally | None:
    """Read what `write_tally` wrote."""
    if text is None:
        return None
    amount, events, units, at, ref = map(int, text.split())
    return FeeTally(Amount(amount), events, units, (at, ref))
