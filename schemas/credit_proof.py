"""The proof of a credit that people have made: what it takes off its document, and why. Pure."""

from collections.abc import Iterable, Sequence
from fractions import Fraction

from schemas.crediting import Credit, Creditable, take_off
from schemas.crediting_lines import Asked, BilledLine, LineCredit, credit_lines
from schemas.errors import Conflict
from schemas.money import currency_digits, decimal_to_scaled
from schemas.periods import Row
from schemas.proof_figures import Answer, json_number, step


def prove_credit(
    own: Row, of: Row, before: Row, lines: Sequence[Row], taken: Sequence[Row]
) -> Answer:
    """Return the proof of a credit.

    own: its document; of: the one that it is a credit of; before: what was taken off that one by
    then. lines: of that one, with what earlier credits took off each; taken: what this one did.
    """
    digits = currency_digits(own["currency"])
    left = _left(of, before, digits)
    try:
        credit, parts = _credit(own, left, lines, taken, digits)
    except Conflict:  # it can't be: more is taken off than there was
        credit, parts = Credit(0, 0), []
    stated = [decimal_to_scaled(row["total"], digits) for row in taken]
    agrees = (
        -credit.amount == decimal_to_scaled(own["total"], digits)
        and -credit.tax == decimal_to_scaled(own["total_tax"], digits)
        and [part.total for part in parts] == stated
    )
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
                "invoice_ref": of["document_ref"],
                "document_number": of["document_number"],
                "total": json_number(Fraction(of["total"])),
            }
        ],
        "billed_ahead": [],
        "products": [],
        "steps": _steps(of, left, credit, zip(taken, parts, strict=False), 10**digits),
        "total": json_number(Fraction(own["total"])),
        "agrees": agrees,
    }


def _steps(
    of: Row, left: Creditable, credit: Credit, parts: Iterable[tuple[Row, LineCredit]], unit: int
) -> list[Answer]:
    """Show how a credit came about. unit: how many minor units its currency's has."""
    asks = f"what {of['document_number']} asks for"
    return [
        step("DOCUMENT", asks, Fraction(left.total, unit)),
        step("ISSUED", "taken off it before", Fraction(left.total_left - left.total, unit)),
        *(step("LINE", _words(row), Fraction(-part.total, unit)) for row, part in parts),
        step("CREDIT", "taken off by this", Fraction(-credit.amount, unit)),
        step("TAX", "the tax in that", Fraction(-credit.tax, unit)),
    ]


def _left(of: Row, before: Row, digits: int) -> Creditable:
    return Creditable.of(
        total=decimal_to_scaled(of["total"], digits),
        credits_amount=decimal_to_scaled(of["credits_amount"], digits),
        total_tax=decimal_to_scaled(of["total_tax"], digits),
        before=decimal_to_scaled(before["total"], digits),
        tax_before=decimal_to_scaled(before["total_tax"], digits),
    )


def _credit(
    own: Row, left: Creditable, lines: Sequence[Row], taken: Sequence[Row], digits: int
) -> tuple[Credit, list[LineCredit]]:
    """Take off again what was asked for."""
    if not taken:
        return take_off(left, -decimal_to_scaled(own["total"], digits)), []
    asked = [
        Asked(
            [(row["product_position"], row["line_position"])],
            None if row["quantity"] is not None else decimal_to_scaled(row["amount"], digits),
            None if row["quantity"] is None else Fraction(row["quantity"]),
        )
        for row in taken
    ]
    return credit_lines(left, [BilledLine.of_row(row, digits) for row in lines], asked)


def _words(row: Row) -> str:
    quantity = "" if row["quantity"] is None else f", quantity {row['quantity'].normalize():f}"
    amount = f"{row['amount']} of {row['item']!r}{quantity}"
    return f"{amount}, as its share of the document after discount and with tax"
