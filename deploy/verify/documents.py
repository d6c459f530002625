"""Documents: every cut is billed once, every figure recomputed, every issued one has its files."""

import json
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

import asyncpg

from deploy.verify.check import Check, Finding, Scope, by_statements, plural
from deploy.verify.oracle import (
    HUNDRED,
    Days,
    bounded,
    exact,
    line_amount,
    prorated,
    read_price,
    rounded,
    usage_amount,
)
from runtime.postgres import Queries
from schemas.money import currency_digits

queries = Queries.beside(__file__, "documents.sql")

_TRUE_UP: Final = ("amount", "spent", "true_up")


async def check_invoiced(scope: Scope, finding: Finding) -> None:
    """Look for cuts that no document has taken up; young ones are still on their way."""
    finding.counted = await scope.count(queries.cuts_counted, scope.tenant_id)
    await _late(scope, finding, queries.cuts_without_input, "cuts", "on the way")


async def check_files(scope: Scope, finding: Finding) -> None:
    """Digest every file again, and look for issued documents without theirs."""
    finding.counted = await scope.count(queries.issued_counted, scope.tenant_id)
    async for row in scope.rows(queries.files_altered, scope.tenant_id):
        finding.broken(row["witness"])
    await _late(scope, finding, queries.files_missing, "files", "in the making")


async def _late(scope: Scope, finding: Finding, statement: str, unit: str, where: str) -> None:
    """Count what is missing: late things are broken, young ones a note."""
    young = 0
    async for row in scope.rows(statement, scope.tenant_id):
        if row["is_late"]:
            finding.broken(row["witness"])
        else:
            young += 1
    if young:
        finding.notes.append(f"{plural(young, unit)} {where}")


async def check_lines(scope: Scope, finding: Finding) -> None:
    """Match billed lines with cut ones, then price and round each again."""
    finding.counted = await scope.count(queries.lines_counted, scope.tenant_id)
    for statement in (queries.lines_misplaced, queries.sums_misplaced):
        async for row in scope.rows(statement, scope.tenant_id):
            finding.broken(row["witness"])
    async for row in scope.rows(queries.family_lines, scope.tenant_id):
        _check_line(finding, row)
    cells: list[asyncpg.Record] = []
    async for row in scope.rows(queries.lines, scope.tenant_id):
        has_cells = read_price(row["price"]).model == "MATRIX"
        if cells and not (has_cells and _place(row) == _place(cells[0])):
            _check_cells(finding, cells)
            cells = []
        if has_cells:
            cells.append(row)
        else:
            _check_line(finding, row)
    if cells:
        _check_cells(finding, cells)


def _place(row: asyncpg.Record) -> tuple[object, ...]:
    return row["document_ref"], row["product_position"], row["contract_line_ref"]


def _check_line(finding: Finding, row: asyncpg.Record) -> None:
    """Price a line and round it once."""
    price = read_price(row["price"])
    quantity = Fraction(row["exact_quantity"] or row["quantity"])
    name = f"line {row['item']!r} of document {row['document_ref']}"
    if not price.is_metered and quantity != price.quantity:
        finding.broken(f"{name} holds {exact(quantity)}, not the price's own quantity")
        return
    if (price.each is None) != (row["fees"] is None):
        finding.broken(f"{name} states fees of {row['fees']}")
        return
    usage = None if row["fees"] is None else Fraction(row["fees"])
    digits = currency_digits(row["currency"])
    expected = line_amount(price, quantity, row["event_count"], _days(row), digits, usage)
    if Fraction(row["amount"]) != expected:
        finding.broken(f"{name} is {row['amount']} where its total costs {exact(expected)}")


def _check_cells(finding: Finding, rows: Sequence[asyncpg.Record]) -> None:
    """Price each cell and round it; a fee of all of them is a row of its own, where it is due."""
    head = rows[0]
    price, digits = read_price(head["price"]), currency_digits(head["currency"])
    name = f"line {head['item']!r} of document {head['document_ref']}"
    usage = amount = Fraction(0)
    for row in rows:
        if row["cell"] != "fee":
            own = usage_amount(price, Fraction(row["quantity"]), row["event_count"], row["cell"])
            expected = rounded(own - own * price.discount / HUNDRED, digits)
            usage += own
            amount += expected
            if Fraction(row["amount"]) != expected:
                finding.broken(f"{name}, cell {row['cell']}, is {row['amount']}, not {expected}")
    whole = line_amount(price, Fraction(0), 0, _days(head), digits, usage)
    is_bounded = bounded(price, usage, _days(head), digits) != usage
    fees = [Fraction(row["amount"]) for row in rows if row["cell"] == "fee"]
    if fees != ([whole - amount] if is_bounded else []):
        finding.broken(f"{name} has fees {fees} where its cells cost {exact(whole)} together")


async def check_totals(scope: Scope, finding: Finding) -> None:
    """Add every document up again from its lines."""
    for documents in (queries.products, queries.families):
        products: list[asyncpg.Record] = []
        async for row in scope.rows(documents, scope.tenant_id):
            if products and products[0]["document_ref"] != row["document_ref"]:
                _check_document(finding, products)
                products = []
            products.append(row)
        if products:
            _check_document(finding, products)
    broken = (
        *(queries.adjustments_broken, queries.waiting_broken, queries.contracts_broken),
        *(queries.voids_broken, queries.credits_broken, queries.line_credits_broken),
    )
    for statement in broken:
        async for row in scope.rows(statement, scope.tenant_id):
            finding.broken(row["witness"])
    if waiting := await scope.count(queries.waiting_counted, scope.tenant_id):
        unit = "documents that have changed since they were issued"
        finding.notes.append(f"{plural(waiting, unit)} wait for the next one of their contract")


def _check_document(finding: Finding, rows: Sequence[asyncpg.Record]) -> None:
    """Recompute one document; its rows are its products, or one without if it has none."""
    finding.counted += 1
    head = rows[0]
    name = f"document {head['document_number'] or head['document_ref']}"
    products = [row for row in rows if row["position"] is not None]
    if not products and not head["has_along"]:
        finding.broken(f"{name} has no products")
        return
    digits = currency_digits(head["currency"])
    problems = [problem for row in products for problem in _product_problems(row, digits)]
    problems += _head_problems(head, products, digits)
    for problem in problems:
        finding.broken(f"{name}: {problem}")


def _product_problems(row: asyncpg.Record, digits: int) -> list[str]:
    """Return what does not add up in one product."""
    days, fee = _days(row), row["minimum_fee_due"]
    minimum = Fraction(0) if fee is None else prorated(Fraction(fee), days, digits)
    lines = Fraction(row["lines_amount"] or 0)
    total = lines if fee is None else max(lines, minimum)
    true_ups = _true_ups(row, total, days, digits)
    if _stated(row["true_ups"]) != true_ups:
        return [f"product {row['product_name']!r} states other true-ups than {true_ups}"]
    total += sum((one[-1] for one in true_ups), Fraction(0))
    return _differences(
        row,
        {
            "sub_total": lines,
            "minimum_fee": minimum,
            "total": total,
            "discount_rate": Fraction(row["discount_percent"]),
            "discount": rounded(total * Fraction(row["discount_percent"]) / HUNDRED, digits),
            "tax_rate": Fraction(row["tax"]),
        },
        f"product {row['product_name']!r} has ",
    )


def _stated(true_ups: str) -> list[list[Any]]:
    """Read the true-ups that a document states."""
    stated = json.loads(true_ups, parse_float=Decimal)
    return [[one["over"], *(Fraction(one[name]) for name in _TRUE_UP)] for one in stated]


def _true_ups(row: asyncpg.Record, total: Fraction, days: Days, digits: int) -> list[list[Any]]:
    """Return what each commitment comes to: what of, committed, spent before, and added."""
    found: list[list[Any]] = []
    terms = {one["over"]: Fraction(one["amount"]) for one in json.loads(row["commitments"])}
    if "PERIOD" in terms:
        due = prorated(terms["PERIOD"], days, digits)
        found.append(["PERIOD", due, total, max(due - total, Fraction(0))])
        total += found[-1][-1]
    if "CONTRACT" in terms and row["is_last"]:
        due, spent = rounded(terms["CONTRACT"], digits), Fraction(row["spent_before"]) + total
        found.append(["CONTRACT", due, spent, max(due - spent, Fraction(0))])
    return found


def _head_problems(
    head: asyncpg.Record, products: Sequence[asyncpg.Record], digits: int
) -> list[str]:
    """Return what does not add up in a document, given what its products state."""
    sub_total = sum((Fraction(row["total"]) for row in products), Fraction(0))
    discount = sum((Fraction(row["discount"]) for row in products), Fraction(0))
    taxed: dict[Decimal, Fraction] = {}
    for row in products:
        base = Fraction(row["total"]) - Fraction(row["discount"])
        taxed[row["tax_rate"]] = taxed.get(row["tax_rate"], Fraction(0)) + base
    taxes = (rounded(base * Fraction(rate) / HUNDRED, digits) for rate, base in taxed.items())
    tax = sum(taxes, Fraction(0))
    total = sub_total - discount + tax - Fraction(head["credits_amount"])
    problems = _differences(
        head,
        {
            "document_sub_total": sub_total,
            "total_discount": discount,
            "total_tax": tax,
            "document_total": total,
        },
        "",
    )
    whole = Fraction(head["whole_total"])  # with what it corrects of others
    kind = "CREDIT" if whole < 0 else "INVOICE"
    if head["accounting_event_type"] != kind:
        problems.append(f"a total of {exact(whole)} is no {head['accounting_event_type']}")
    return problems


def _differences(row: asyncpg.Record, expected: dict[str, Fraction], subject: str) -> list[str]:
    return [
        f"{subject}{name.removeprefix('document_')} {row[name]}, which comes to {exact(value)}"
        for name, value in expected.items()
        if Fraction(row[name]) != value
    ]


def _days(row: asyncpg.Record) -> Days:
    return Days.between(
        row["start_date"], row["end_date"], row["full_start_date"], row["full_end_date"]
    )


CHECKS: Final = (
    Check(
        name="invoiced",
        sentence="every cut is on its way to a document for 15 minutes at most",
        unit="cuts",
        run=check_invoiced,
    ),
    Check(
        name="lines",
        sentence="every line cut is billed once, at its total's price, rounded once",
        unit="billed lines",
        run=check_lines,
    ),
    Check(
        name="documents",
        sentence="documents add up: lines, minimum fees, discounts, taxes, voids and credits too",
        unit="documents",
        run=check_totals,
    ),
    Check(
        name="numbers",
        sentence="document numbers of a series have no gap, no repeat, and follow time",
        unit="issued documents",
        run=by_statements(
            queries.issued_counted,
            queries.numbers_broken,
            queries.sequences_broken,
            queries.names_repeated,
        ),
    ),
    Check(
        name="files",
        sentence="every issued document has its files, each as its digest says",
        unit="issued documents",
        run=check_files,
    ),
)
