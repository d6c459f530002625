"""What was issued so far: a document and all that corrects it, added up from their rows."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from uuid import UUID

import asyncpg

from invoicer.assembly import DocumentKey
from invoicer.repository import document_columns, queries
from runtime.postgres import Connection
from schemas.adjustments import Billed, BilledLine, BilledProduct, LineKey, ProductKey
from schemas.commitments import TrueUp
from schemas.money import AMOUNT_DIGITS, PRICE_DIGITS, Price, currency_digits, decimal_to_scaled


async def load_billed(
    connection: Connection, documents: Sequence[DocumentKey]
) -> dict[UUID, Billed]:
    """Add up each document and what was issued as differences to it."""
    keys = document_columns(documents)
    totals = await connection.fetch(queries.load_billed, *keys)
    digits = {row["root"]: currency_digits(row["currency"]) for row in totals}
    lines: dict[tuple[UUID, ProductKey], dict[LineKey, BilledLine]] = defaultdict(dict)
    for row in await connection.fetch(queries.load_billed_lines, *keys):
        place = (row["root"], (row["contract_product_ref"], row["period_ref"]))
        lines[place][row["contract_line_ref"], row["cell"]] = BilledLine(
            quantity=sum(map(Fraction, row["quantities"]), Fraction(0)),
            amount=decimal_to_scaled(row["amount"], digits[row["root"]]),
            event_count=int(row["event_count"]),
            fees=decimal_to_scaled(row["fees"], AMOUNT_DIGITS),
        )
    products: dict[UUID, dict[ProductKey, BilledProduct]] = defaultdict(dict)
    for row in await connection.fetch(queries.load_billed_products, *keys):
        root, product = row["root"], (row["contract_product_ref"], row["period_ref"])
        products[root][product] = _product(row, lines[root, product], digits[root])
    return {
        row["root"]: Billed(
            products=products[row["root"]],
            total_tax=decimal_to_scaled(row["total_tax"], digits[row["root"]]),
            adjustments=row["adjustments"],
        )
        for row in totals
    }


def _product(
    row: asyncpg.Record, lines: Mapping[LineKey, BilledLine], digits: int
) -> BilledProduct:
    return BilledProduct(
        minimum_fee=decimal_to_scaled(row["minimum_fee"], digits),
        sub_total=decimal_to_scaled(row["sub_total"], digits),
        total=decimal_to_scaled(row["total"], digits),
        discount=decimal_to_scaled(row["discount"], digits),
        discount_percent=Price(decimal_to_scaled(row["discount_rate"], PRICE_DIGITS)),
        tax_percent=Price(decimal_to_scaled(row["tax_rate"], PRICE_DIGITS)),
        lines=lines,
        true_ups=_true_ups(row["true_ups"], digits),
    )


def _true_ups(texts: Iterable[str], digits: int) -> tuple[TrueUp, ...]:
    """Add up what each commitment came to, by what it is over."""
    sums: dict[str, list[int]] = {}
    for text in texts:
        for one in json.loads(text, parse_float=Decimal, parse_int=Decimal):
            known = sums.setdefault(one["over"], [0, 0, 0])
            for at, name in enumerate(("amount", "spent", "true_up")):
                known[at] += decimal_to_scaled(one[name], digits)
    return tuple(TrueUp(over, *figures) for over, figures in sums.items())  # type: ignore[arg-type]
