"""The proof of a document: how each line, each product and the total came about. Pure.

It is made from rows: the document's own, what its lines came to at the cuts that they name, and the
price versions. An adjustment is told as what the document would say at a later cut, less all that
was issued for it before. Everything is computed again; `agrees` says whether it is what is stated.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Final
from uuid import UUID

import msgspec

from schemas.document import FEE_CELL
from schemas.errors import Conflict
from schemas.explaining import (
    LineStory,
    Measured,
    explain_cells_fee,
    explain_line,
    number,
    proration_text,
)
from schemas.money import ONE, currency_digits, round_fraction
from schemas.periods import Part, Row
from schemas.price import basis_of, cell_price, cell_values, from_json, is_usage
from schemas.pricing.terms import LinePrice
from schemas.proof_figures import (
    Answer,
    cell_of,
    digest_of,
    figure,
    json_number,
    measured_of,
    meter_of,
    step,
    tier_of,
)
from schemas.proration import prorate

_HUNDRED: Final = 100
_SUMS: Final = ("minimum_fee", "sub_total", "total", "discount")

AHEAD: Final = UUID(int=0)
"""Stands for the ref of all documents of events together that have billed ahead of another."""

Cuts = Mapping[tuple[UUID, UUID], Sequence[Row]]
"""Cut lines by period and contract line: one, or one a cell."""


@dataclass(frozen=True, kw_only=True)
class DocumentRows:
    """All that a proof is made of.

    family: the document last, behind what it corrects, or what has billed a part of its periods
    ahead. The products and lines are of them all, the cut lines of the document's own periods and
    cuts, the draws its own.
    """

    family: Sequence[Row]
    products: Sequence[Row]
    lines: Sequence[Row]
    cut_lines: Sequence[Row]
    draws: Sequence[Row]


def prove(rows: DocumentRows) -> Answer:
    """Return a document's proof as the API answers it."""
    return DocumentProof(rows).answer()


class DocumentProof:
    """The proof of one document in the making."""

    def __init__(self, rows: DocumentRows) -> None:
        self._rows = rows
        self._own = rows.family[-1]
        self._digits = currency_digits(self._own["currency"])
        self._numbers = {row["document_ref"]: row["document_number"] for row in rows.family}
        cuts: dict[tuple[UUID, UUID], list[Row]] = {}
        for row in rows.cut_lines:
            cuts.setdefault((row["period_ref"], row["contract_line_ref"]), []).append(row)
        self._cuts: Cuts = cuts
        self._periods = {
            (row["document_ref"], row["position"]): row["period_ref"] for row in rows.products
        }
        self._position = 0

    def answer(self) -> Answer:
        """Return the whole proof."""
        own = self._own
        products = [self.product(row) for row in self._rows.products if self.is_own(row)]
        steps, agrees = self.totals()
        said = [line["agrees"] for product in products for line in product["lines"]]
        said += [product["agrees"] for product in products]
        return {
            "invoice_ref": own["document_ref"],
            "document_number": own["document_number"],
            "state": own["state"],
            "kind": own["kind"],
            "accounting_event_type": own["accounting_event_type"],
            "currency": own["currency"],
            "issue_date": own["issue_date"],
            "corrects": [
                {
                    "invoice_ref": row["document_ref"],
                    "document_number": row["document_number"],
                    "total": json_number(Fraction(row["total"])),
                }
                for row in self._rows.family[:-1]
                if not row["is_ahead"] and row["document_ref"] != AHEAD
            ],
            "billed_ahead": [
                {
                    "invoice_ref": row["document_ref"],
                    "document_number": row["document_number"],
                    "total": json_number(Fraction(row["part_total"])),
                }
                for row in self._rows.family[:-1]
                if row["is_ahead"] and row["document_ref"] != AHEAD
            ],
            "products": products,
            "steps": steps,
            "total": json_number(Fraction(own["total"])),
            "agrees": agrees and all(said),
        }

    def amount_of(self, line: Row, product: Row, part: Part) -> int:
        """Return what a line comes to as it was cut, rounded, in minor."""
        cells = self._cuts[product["period_ref"], line["contract_line_ref"]]
        return self._story(line["cell"], cells, from_json(cells[0]["price"]), part)[0].amount

    def is_own(self, row: Row) -> bool:
        """Tell whether a row is the document's, and not of one that it corrects."""
        return bool(row["document_ref"] == self._own["document_ref"])

    def product(self, row: Row) -> Answer:
        """Explain a product with its lines."""
        part = part_of(row)
        lines = [
            self._line(line, row, part)
            for line in self._rows.lines
            if self.is_own(line) and line["product_position"] == row["position"]
        ]
        steps, agrees = self._product_steps(row, part)
        return {
            "product_name": row["product_name"],
            "period": {
                "start": row["start_date"],
                "end": row["end_date"],
                "timezone": row["timezone"],
                "start_at": row["start_at"],
                "end_at": row["end_at"],
                "days": {"before": part.before, "through": part.through, "whole": part.whole},
            },
            "cut": {
                "cut_number": row["cut_number"],
                "partition": row["partition"],
                "offset": row["cut_offset"],
                "cut_at": row["cut_at"],
            },
            "lines": lines,
            "steps": steps,
            "total": json_number(Fraction(row["total"])),
            "agrees": agrees,
        }

    def _line(self, line: Row, product: Row, part: Part) -> Answer:
        self._position += 1
        cells = self._cuts.get((product["period_ref"], line["contract_line_ref"]))
        if cells is None:
            detail = f"line {line['item']!r} is of no cut: `meterline verify` says what is wrong"
            raise Conflict("proof_impossible", detail)
        cut = next((row for row in cells if row["cell"] == line["cell"]), cells[0])
        is_there = cut["cell"] == line["cell"]
        price = from_json(cut["price"])
        if product["is_ahead"] and is_usage(price):  # its minimum is known only at the end
            price = msgspec.structs.replace(price, minimum_fee=None)
        story, measured = self._story(line["cell"], cells, price, part)
        sign = -1 if product["is_given_back"] else 1
        before = self._issued_before(line, product)
        amount = sign * story.amount - sum(self._minor(row["amount"]) for row in before)
        return {
            "position": self._position,
            "line_item_ref": line["line_item_ref"],
            "item": line["item"],
            "model": line["model"],
            "cell": cell_of(price, line["cell"]),
            "price": msgspec.Raw(cut["price"].encode()),
            "meter": meter_of(cut),
            "event_count": measured.event_count,
            **figure("quantity", measured.quantity),
            "included_quantity": json_number(Fraction(price.included_quantity, ONE)),
            **figure("billable_quantity", story.billable),
            "tiers": [tier_of(tier) for tier in story.tiers],
            "steps": [
                {"step": step.step, "how": step.how, **figure("amount", step.amount)}
                for step in story.steps
            ],
            **figure("unrounded", story.unrounded),
            "redrawn": self._money(sign * story.amount),
            "issued": [
                {
                    "document_number": self._numbers[row["document_ref"]],
                    "amount": json_number(Fraction(row["amount"])),
                }
                for row in before
            ],
            "amount": json_number(Fraction(line["amount"])),
            "events_digest": digest_of(cut if is_there else None),
            "usage": None if not is_there else self._usage_path(line, cut),
            "agrees": self._minor(line["amount"]) == amount,
        }

    def _usage_path(self, line: Row, cut: Row) -> str | None:
        """Return where the list is that the digest is of."""
        if cut["events_digest"] is None:
            return None
        ref = line["line_item_ref"]
        path = f"/api/invoices/{self._own['document_ref']}/usage.csv?line={ref}"
        own = [row for row in self._rows.lines if self.is_own(row) and row["line_item_ref"] == ref]
        places = {(row["product_position"], row["contract_line_ref"]) for row in own}
        # Of several lines of one line item, a charge says which one.
        return path if len(places) == 1 else f"{path}&charge_ref={line['charge_ref']}"

    def _story(
        self, cell: str, cells: Sequence[Row], price: LinePrice, part: Part
    ) -> tuple[LineStory, Measured]:
        """Explain a line, a cell of one, or the fee of all its cells."""
        if basis_of(price) != "CELLS":
            measured = measured_of(cells[0], price)
            return explain_line(price, measured, part, self._digits), measured
        alone = msgspec.structs.replace(price, minimum_fee=None, maximum_fee=None)
        stories = {
            row["cell"]: explain_line(
                cell_price(alone, cell_values(row["cell"])),
                measured_of(row, price),
                part,
                self._digits,
            )
            for row in cells
        }
        if cell == FEE_CELL:
            quantities = {row["cell"]: measured_of(row, price).quantity for row in cells}
            rounded = sum(story.amount for story in stories.values())
            story = explain_cells_fee(price, quantities, rounded, part, self._digits)
            return story, Measured(Fraction(0), 0)
        own = next((row for row in cells if row["cell"] == cell), None)
        measured = Measured(Fraction(0), 0) if own is None else measured_of(own, price)
        story = stories.get(cell) or explain_line(
            cell_price(alone, cell_values(cell)), measured, part, self._digits
        )
        return story, measured

    def _issued_before(self, line: Row, product: Row) -> list[Row]:
        """Return the lines of the documents before that are of the same line and period."""
        key = (line["contract_line_ref"], line["cell"])
        return [
            row
            for row in self._rows.lines
            if not self.is_own(row)
            and (row["contract_line_ref"], row["cell"]) == key
            and self._periods[row["document_ref"], row["product_position"]] == product["period_ref"]
        ]

    def _product_steps(self, row: Row, part: Part) -> tuple[list[Answer], bool]:
        """Tell how a product's total comes about; of an adjustment, that of all so far."""
        so_far = self._so_far(row)
        lines, total, digits = so_far["sub_total"], so_far["sub_total"], self._digits
        steps = [step("LINES", "the sum of its lines", lines)]
        if row["whole_minimum_fee"] is not None and not row["is_ahead"]:
            whole = Fraction(row["whole_minimum_fee"])
            fee = Fraction(prorate(whole, part, digits), 10**digits)
            total = max(lines, fee)
            how = number(whole) if part.is_whole else proration_text(whole, part, digits)
            steps.append(step("MINIMUM_FEE", f"at least {how}", total))
        for one in json.loads(row["true_ups"], parse_float=Decimal):
            total += Fraction(one["true_up"])
            of = "over the period" if one["over"] == "PERIOD" else "over the contract"
            how = f"committed {one['amount']} {of}, {one['spent']} spent"
            steps.append(step("COMMITMENT", how, total))
        if len(self._rows.family) > 1 and so_far["total"] != total:
            # What commitments were short of is told by the documents before, and by the difference.
            total = so_far["total"]
            steps.append(step("COMMITMENT", "with what was missing to commitments", total))
        discount = Fraction(0)
        if rate := Fraction(row["discount_rate"]):
            discount = Fraction(round_fraction(total * rate / _HUNDRED, digits), 10**digits)
            how = f"{number(rate)} % discount, rounded, taken off the document"
            steps.append(step("DISCOUNT", how, discount))
        steps += self._less_issued(row, total)
        return steps, (total, discount) == (so_far["total"], so_far["discount"])

    def _so_far(self, row: Row) -> dict[str, Fraction]:
        """Add up what all documents so far say of a product in a period."""
        key = (row["contract_product_ref"], row["period_ref"])
        own = [
            one
            for one in self._rows.products
            if (one["contract_product_ref"], one["period_ref"]) == key
        ]
        return {name: sum((Fraction(one[name]) for one in own), Fraction(0)) for name in _SUMS}

    def _less_issued(self, row: Row, total: Fraction) -> list[Answer]:
        """Tell what an adjustment leaves of a product that is drawn anew."""
        left = Fraction(row["total"])
        if len(self._rows.family) == 1 or (row["is_ahead"] and left == total):
            return []
        return [step("ISSUED", f"less the {number(total - left)} issued before", left)]

    def totals(self) -> tuple[list[Answer], bool]:
        """Tell how the document's total comes about."""
        digits, family = self._digits, self._rows.family
        own = {_key(row) for row in self._rows.products if self.is_own(row)}
        last: dict[tuple[UUID, UUID], Row] = {}
        for row in self._rows.products:
            if self._own["kind"] != "PERIOD" or _key(row) in own:
                last[_key(row)] = row if self.is_own(row) else last.get(_key(row), row)
        products = [(row, self._so_far(row)) for row in last.values()]
        sub_total = sum((sums["total"] for _, sums in products), Fraction(0))
        discount = sum((sums["discount"] for _, sums in products), Fraction(0))
        steps = [step("PRODUCTS", "the sum of the products' totals", sub_total)]
        total = sub_total
        if discount:
            total -= discount
            steps.append(step("DISCOUNT", f"less discounts of {number(discount)}", total))
        for rate, base in self._tax_bases(products):
            tax = Fraction(round_fraction(base * rate / _HUNDRED, digits), 10**digits)
            total += tax
            how = f"plus {number(rate)} % tax of {number(base)}, which is {number(tax)}"
            steps.append(step("TAX", how, total))
        for row in family[:-1]:
            before = Fraction(row["part_total"])
            total -= before
            how = f"less the {number(before)} of {row['document_number']}"
            steps.append(step("ISSUED", how, total))
        for draw in self._rows.draws:
            total -= Fraction(draw["amount"])
            name = f" ({draw['name']})" if draw["name"] else ""
            how = f"less {number(Fraction(draw['amount']))} drawn from credit{name}"
            steps.append(step("CREDIT", how, total))
        return steps, total == Fraction(self._own["total"])

    def _tax_bases(
        self, products: Iterable[tuple[Row, Mapping[str, Fraction]]]
    ) -> list[tuple[Fraction, Fraction]]:
        """Return what each tax rate is due on, the lowest rate first."""
        bases: dict[tuple[Fraction, bool], Fraction] = {}
        for row, sums in products:
            if rate := Fraction(row["tax_rate"]):
                place = (rate, bool(row["is_ahead"]))  # what is billed ahead is rounded by itself
                bases[place] = bases.get(place, Fraction(0)) + sums["total"] - sums["discount"]
        return [(rate, base) for (rate, _), base in sorted(bases.items())]

    def _minor(self, amount: Decimal) -> int:
        return round_fraction(Fraction(amount), self._digits)

    def _money(self, minor: int) -> msgspec.Raw:
        return json_number(Fraction(minor, 10**self._digits))


def _key(row: Row) -> tuple[UUID, UUID]:
    return row["contract_product_ref"], row["period_ref"]


def part_of(row: Row) -> Part:
    """Return the days of its whole cycle that a product's period covers."""
    return Part.of(
        start_date=row["start_date"],
        end_date=row["end_date"],
        full_start_date=row["full_start_date"],
        full_end_date=row["full_end_date"],
    )
