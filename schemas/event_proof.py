"""The proof of the document of an event: its lines with the event, less without it. Pure.

A document of an event, and each of its adjustments, bills by how much one change moves the rounded
lines of a period, in the order of rating. So both sides are counted from the events themselves, up
to the change and up to the one before it, and told like every other line. Discount and tax are
those of the difference.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any, Final
from uuid import UUID

from schemas.aggregation import PLAIN
from schemas.meter_formula import Formula, parse_formula
from schemas.money import (
    AMOUNT_DIGITS,
    ONE,
    QUANTITY_DIGITS,
    decimal_to_scaled,
    scaled_to_decimal,
)
from schemas.periods import Row
from schemas.price import basis_of, from_json
from schemas.pricing.event_fees import FeeTally
from schemas.pricing.matrix import cell_name_of
from schemas.proof import DocumentProof, DocumentRows, part_of
from schemas.proof_figures import Answer

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICRO: Final = timedelta(microseconds=1)


def count_line(
    line: Mapping[str, Any], period_ref: UUID, events: Iterable[Row]
) -> list[Mapping[str, Any]]:
    """Return what a line has come to, in the columns of cut lines: a row, or one a cell.

    line: with its price and meter; is_fed: others count toward that, and what single events make of
    it is told by the document of the period. events: of the meter and period, in order of time.
    """
    price = from_json(line["price"])
    formula = None if line["formula"] is None else parse_formula(line["formula"])
    basis = basis_of(price)
    totals: dict[str, list[int]] = {"": [0, 0]}
    tally = FeeTally.start(price) if basis == "EVENTS" else None
    is_billed = line["aggregation"] in PLAIN and not line["is_fed"]
    for event in events if is_billed else ():
        data = event["additional_data"]
        quantity = _billable(line["aggregation"], formula, event)
        total = totals.setdefault(cell_name_of(price, data) if basis == "CELLS" else "", [0, 0])
        total[0] += quantity
        total[1] += 1
        if tally is not None:
            at = (event["occurred_at"] - _EPOCH) // _MICRO
            tally.count(price, (at, event["event_ref"].int), quantity)
    fees = scaled_to_decimal(0 if tally is None else tally.amount, AMOUNT_DIGITS)
    names = [*price.cell_names.values(), ""] if basis == "CELLS" else [""]
    return [
        {
            **line,
            **{"period_ref": period_ref, "cell": cell, "amount": fees, "exact_quantity": None},
            "quantity": scaled_to_decimal(totals[cell][0], QUANTITY_DIGITS),
            **{"event_count": totals[cell][1], "events_digest": None},
        }
        for cell in names
        if cell in totals
    ]


def _billable(aggregation: str, formula: Formula | None, event: Row) -> int:
    """Return what an event adds to its line."""
    if aggregation == "COUNT":
        return ONE
    quantity = decimal_to_scaled(event["quantity"], QUANTITY_DIGITS)
    return quantity if formula is None else formula.billable(quantity, event["additional_data"])


def prove_event(rows: DocumentRows, before: Sequence[Row]) -> Answer:
    """Return the proof of a document of an event as the API answers it.

    rows: its cut lines are what its lines have come to with the change; before: without it.
    """
    return _EventProof(rows, before).answer()


class _EventProof(DocumentProof):
    """The proof of one document of an event in the making."""

    def __init__(self, rows: DocumentRows, before: Sequence[Row]) -> None:
        super().__init__(rows)
        self._without = DocumentProof(replace(rows, cut_lines=before))
        self._numbers = {self._own["document_ref"]: None}

    def _issued_before(self, line: Row, product: Row) -> list[Row]:
        """Return what the line had come to without the change, as if it had been issued."""
        amount = self._without.amount_of(line, product, part_of(product))
        money = scaled_to_decimal(amount, self._digits)
        return [{"document_ref": self._own["document_ref"], "amount": money}]

    def _tax_bases(
        self, products: Iterable[tuple[Row, Mapping[str, Fraction]]]
    ) -> list[tuple[Fraction, Fraction]]:
        """Return what each tax rate is due on, for each period's document by itself."""
        roots: dict[UUID, list[tuple[Row, Mapping[str, Fraction]]]] = {}
        for row, sums in products:
            roots.setdefault(row["root_document_ref"], []).append((row, sums))
        return [base for own in roots.values() for base in DocumentProof._tax_bases(self, own)]
