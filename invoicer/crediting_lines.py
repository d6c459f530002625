"""Credits of single lines: what a document has billed on each, and rows of what is taken off."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final
from uuid import UUID

from invoicer.subject import Subject, minor_of, queries
from runtime.postgres import Connection
from schemas.crediting import Credit, Creditable
from schemas.crediting_lines import Asked, BilledLine, LineCredit, credit_lines
from schemas.errors import InvalidInput
from schemas.money import currency_digits, scaled_to_decimal

_COLUMNS: Final = (
    *("shard_key", "document_ref", "position", "tenant_id", "parent_document_ref"),
    *("product_position", "line_position", "amount", "quantity", "total"),
)


async def take_off_lines(
    connection: Connection, subject: Subject, left: Creditable
) -> tuple[Credit, list[LineCredit]]:
    """Work out what crediting the lines that are asked for takes off. Raises as `credit_lines`."""
    digits = currency_digits(subject.row["currency"])
    rows = await connection.fetch(queries.load_billed_lines, *subject.place)
    lines = [BilledLine.of_row(row, digits) for row in rows]
    asked = [_asked(one, digits) for one in subject.details["lines"]]
    return credit_lines(left, lines, asked)


def _asked(said: Mapping[str, Any], digits: int) -> Asked:
    amount, quantity = said.get("amount"), said.get("quantity")
    try:
        minor = None if amount is None else minor_of(Decimal(amount), digits)
    except InvalidInput as error:
        detail = error.problems[0].detail
        raise InvalidInput("line_amount_digits", detail, "/lines") from None
    places = [(place[0], place[1]) for place in said["places"]]
    return Asked(places, minor, None if quantity is None else Fraction(quantity))


async def write_line_credits(
    connection: Connection, subject: Subject, ref: UUID, taken: Sequence[LineCredit]
) -> None:
    """Write what a credit, still a draft, takes off which lines."""
    digits = currency_digits(subject.row["currency"])
    shard_key, parent = subject.place
    rows = [
        (
            *(shard_key, ref, position, subject.row["tenant_id"], parent, *one.place),
            scaled_to_decimal(one.amount, digits),
            None if one.quantity is None else _decimal(one.quantity),
            scaled_to_decimal(one.total, digits),
        )
        for position, one in enumerate(taken)
    ]
    await connection.copy_records_to_table("document_line_credit", records=rows, columns=_COLUMNS)


def _decimal(quantity: Fraction) -> Decimal:
    """Return a quantity as it was said, which is a decimal."""
    return Decimal(quantity.numerator) / Decimal(quantity.denominator)
