"""The journal: entries balance, every deed has its own, and accounts say what the documents do.

What should be in the accounts is computed here from documents and payments alone.
"""

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

import asyncpg

from deploy.verify.check import Check, Finding, Scope, by_statements
from deploy.verify.oracle import exact, rounded
from runtime.postgres import Queries
from schemas.money import currency_digits

queries: Final = Queries.beside(__file__, "journal.sql")

_NOTHING: Final = Fraction(0)


@dataclass(frozen=True, kw_only=True)
class Stand:
    """Where a document stands: what is due of it, what is too much, and what credits pay of it.

    All of them with the signs of debits. row: a row of `families`.
    """

    row: asyncpg.Record
    due: Fraction
    too_much: Fraction
    set_off: Fraction

    @property
    def name(self) -> str:
        """What the document is called."""
        return f"document {self.row['document_number']}"


async def stands(scope: Scope) -> AsyncIterator[Sequence[Stand]]:
    """Yield all issued documents, each with the credits that take something off it."""
    family: list[asyncpg.Record] = []
    async for row in scope.rows(queries.families, scope.tenant_id):
        if family and family[0]["root"] != row["root"]:
            yield _settled(family)
            family = []
        family.append(row)
    if family:
        yield _settled(family)


def _settled(family: Sequence[asyncpg.Record]) -> list[Stand]:
    """Let what has come pay a document, then its credits, one by one; the rest is owed back."""
    head = family[0]
    is_headed = head["root"] == head["document_ref"] and head["state"] != "VOID"
    owed = Fraction(head["total"]) - Fraction(head["paid"]) if is_headed else _NOTHING
    left = max(owed, _NOTHING) if head["total"] >= 0 else _NOTHING
    open_before = left
    found = []
    for row in family:
        if row["document_ref"] == row["root"]:
            continue
        owed_back = -Fraction(row["total"]) + Fraction(row["paid"])
        if row["state"] == "VOID":
            found.append(Stand(row=row, due=_NOTHING, too_much=_NOTHING, set_off=_NOTHING))
            continue
        paying = min(max(owed_back, _NOTHING), left)
        left -= paying
        due, too_much = -max(owed_back - paying, _NOTHING), max(-owed_back, _NOTHING)
        found.append(Stand(row=row, due=due, too_much=too_much, set_off=-paying))
    if head["root"] != head["document_ref"]:
        return found
    if head["total"] >= 0:
        own = Stand(row=head, due=left, too_much=min(owed, _NOTHING), set_off=open_before - left)
    else:
        due, too_much = min(owed, _NOTHING), max(owed, _NOTHING)
        own = Stand(row=head, due=due, too_much=too_much, set_off=_NOTHING)
    return [own, *found]


async def check_accounts(scope: Scope, finding: Finding) -> None:
    """Compare what is booked for each document with what should be."""
    async for family in stands(scope):
        head = family[0].row
        ahead = _ahead(head, _NOTHING)
        share = ahead / Fraction(head["net"]) if head["net"] else _NOTHING
        for one in family:
            finding.counted += 1
            deferred = ahead if one.row is head else _ahead(one.row, share)
            for account, expected in _expected(one, deferred).items():
                booked = Fraction(one.row[account] or 0)
                if booked != expected:
                    finding.broken(
                        f"{one.name} has {exact(booked)} in {account.upper()}, "
                        f"which should be {exact(expected)}"
                    )


def _expected(one: Stand, deferred: Fraction) -> dict[str, Fraction]:
    row = one.row
    if row["state"] == "VOID":
        return dict.fromkeys((*_BILLED, *_SETTLED), _NOTHING)
    is_given_up = row["state"] == "UNCOLLECTIBLE"
    return {
        "prepaid_credits": Fraction(row["credits_amount"]),
        "deferred_revenue": -deferred,
        "tax": -Fraction(row["total_tax"]),
        "revenue": deferred - Fraction(row["net"]),
        "receivable": _NOTHING if is_given_up else one.due,
        "bad_debt": one.due if is_given_up else _NOTHING,
        "customer_credit": one.too_much,
        "cash": Fraction(row["paid"]),
        "set_off": one.set_off,
    }


_BILLED: Final = ("prepaid_credits", "deferred_revenue", "tax", "revenue")
_SETTLED: Final = ("receivable", "bad_debt", "customer_credit", "cash", "set_off")


def _ahead(row: asyncpg.Record, share: Fraction) -> Fraction:
    """Return what a document bills for time to come. share: of a credit, that of its document."""
    digits = currency_digits(row["currency"])
    if row["kind"] == "CREDIT":
        return rounded(Fraction(row["net"]) * share, digits) if row["is_early"] else _NOTHING
    total = _NOTHING
    products: list[list[Any]] = json.loads(row["ahead"] or "[]", parse_float=Decimal)
    for amount, discount, used in products:
        of_used = Fraction(discount) * Fraction(used) / Fraction(amount) if amount else _NOTHING
        served = Fraction(used) - rounded(of_used, digits)
        total += Fraction(amount) - Fraction(discount) - served
    return total


CHECKS: Final = (
    Check(
        name="journal",
        sentence="every issued document is booked, and every entry comes to zero in its currency",
        unit="entries",
        run=by_statements(
            *(queries.entries_counted, queries.entries_unbalanced),
            *(queries.entries_misplaced, queries.entries_missing),
        ),
    ),
    Check(
        name="accounts",
        sentence="of every document the accounts hold what it bills, what came, and what is due",
        unit="documents",
        run=check_accounts,
    ),
    Check(
        name="cash",
        sentence="every payment is booked once, and once more when it is taken back",
        unit="payments",
        run=by_statements(queries.payments_counted, queries.payments_misbooked),
    ),
)
