"""Parts of periods that are billed ahead: fixed fees, usage up to an instant, no minimum."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from itertools import groupby
from typing import Final
from uuid import UUID

import asyncpg

from deploy.verify.check import Check, Finding, Scope
from deploy.verify.oracle import HUNDRED, Days, exact, line_amount, read_price, rounded
from runtime.postgres import Queries
from schemas.money import currency_digits

queries = Queries.beside(__file__, "ahead.sql")


async def check_ahead(scope: Scope, finding: Finding) -> None:
    """Draw up every part again from its cut, and see that it is settled."""
    finding.counted = await scope.count(queries.aheads_counted, scope.tenant_id)
    for statement in (queries.unsettled, queries.unmade):
        async for row in scope.rows(statement, scope.tenant_id):
            finding.broken(row["witness"])
    rows = await scope.connection.fetch(queries.aheads, scope.tenant_id)
    heads = []
    for _, lines in groupby(rows, key=lambda row: (row["document_ref"], row["position"])):
        own = list(lines)
        heads.append(own[0])
        for problem in _problems(own):
            root = own[0]["root_document_ref"]
            finding.broken(f"document {own[0]['document_ref']}, ahead for {root}: {problem}")
    taxes = _taxes(heads)
    for row in await scope.connection.fetch(queries.taxes, scope.tenant_id):
        expected = taxes.get(row["document_ref"])
        if expected is not None and expected != Fraction(row["total_tax"]):
            finding.broken(
                f"document {row['document_ref']} bills {row['total_tax']} of tax ahead, "
                f"which comes to {exact(expected)}"
            )


def _taxes(parts: Sequence[asyncpg.Record]) -> dict[UUID, Fraction]:
    """Return the tax that each document bills ahead, a rate rounded once.

    One that gives something back is left out: that is as much as was billed, which may have been
    rounded together with others.
    """
    given = {part["document_ref"] for part in parts if not part["is_own"]}
    bases: dict[tuple[UUID, str, Decimal], Fraction] = defaultdict(Fraction)
    for part in parts:
        place = (part["document_ref"], part["currency"], part["tax_rate"])
        bases[place] += Fraction(part["total"]) - Fraction(part["discount"])
    taxes: dict[UUID, Fraction] = defaultdict(Fraction)
    for (ref, currency, rate), base in bases.items():
        if ref not in given:
            taxes[ref] += rounded(base * Fraction(rate) / HUNDRED, currency_digits(currency))
    return taxes


def _problems(rows: Sequence[asyncpg.Record]) -> list[str]:
    """Return what is wrong with one part, given with the lines of its cut."""
    head = rows[0]
    sign = 1 if head["is_own"] else -1
    digits = currency_digits(head["currency"])
    days = Days.between(
        head["start_date"], head["end_date"], head["full_start_date"], head["full_end_date"]
    )
    problems = []
    if head["is_own"] is None or head["cut_number"] != 0:
        problems.append("nothing was cut for it")
    if head["lines"] != head["lines_cut"]:
        problems.append(f"{head['lines']} lines, {head['lines_cut']} of them were cut")
    expected = Fraction(0)
    for row in rows:
        if row["contract_line_ref"] is None:
            continue
        price = replace(read_price(row["price"]), minimum=None)
        if not price.is_metered:
            price = read_price(row["price"])
        quantity = Fraction(row["cut_quantity"]) if price.is_metered else price.quantity
        due = sign * line_amount(price, quantity, row["cut_events"], days, digits)
        expected += due
        stated = (row["quantity"], row["event_count"], row["amount"], row["events_digest"])
        cut = (sign * quantity, sign * row["cut_events"], due, row["cut_digest"])
        if stated != cut:
            problems.append(f"line {row['contract_line_ref']} states {stated}, not {cut}")
    rate = Fraction(head["discount_percent"])
    discount = sign * rounded(sign * expected * rate / HUNDRED, digits)
    whole = {
        "sub_total": expected,
        "total": expected,
        "discount": discount,
        "minimum_fee": Fraction(0),
        "discount_rate": rate,
        "tax_rate": Fraction(head["tax"]),
    }
    problems += [
        f"{name} is {head[name]}, which comes to {exact(value)}"
        for name, value in whole.items()
        if Fraction(head[name]) != value
    ]
    if head["true_ups"] != "[]":
        problems.append("it states true-ups")
    return problems


CHECKS: Final = (
    Check(
        name="ahead",
        sentence="what is billed before a period is over is what was known, and is settled once",
        unit="parts billed ahead",
        run=check_ahead,
    ),
)
