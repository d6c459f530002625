"""What is booked into which account when something happens to a document: double entry. Pure.

Money is in the currency's minor unit, debits above zero and credits below, so that whatever is
booked comes to zero. An entry is about one document, and is the difference between where the
document stands now and what is booked for it: booking twice books nothing the second time.
"""

from collections.abc import Iterable
from enum import StrEnum
from fractions import Fraction
from typing import Final, NamedTuple

from schemas.document import DocumentState
from schemas.money import round_fraction
from schemas.paying import Account


class LedgerAccount(StrEnum):
    """The accounts. The order is that of the columns of `journal_entry`."""

    RECEIVABLE = "RECEIVABLE"  # asset: what customers owe
    CASH = "CASH"  # asset: money that has come
    PREPAID_CREDITS = "PREPAID_CREDITS"  # liability: credits sold ahead; documents draw on them
    CUSTOMER_CREDIT = "CUSTOMER_CREDIT"  # liability: money beyond what was owed, the customer's
    DEFERRED_REVENUE = "DEFERRED_REVENUE"  # liability: billed for time that is still to come
    TAX = "TAX"  # liability: owed to the tax office
    REVENUE = "REVENUE"  # income, after discounts
    BAD_DEBT = "BAD_DEBT"  # expense: what was given up
    SET_OFF = "SET_OFF"  # between a document and the credits that take something off it


class EntryKind(StrEnum):
    """What an entry of the journal is for."""

    ISSUE = "ISSUE"  # the first entry of every document
    SET_OFF = "SET_OFF"  # a credit pays for a part of its document, or does so no more
    PAYMENT = "PAYMENT"
    REVERSAL = "REVERSAL"  # a payment taken back
    WRITE_OFF = "WRITE_OFF"
    VOID = "VOID"


class Balances(NamedTuple):
    """An amount for each of `LedgerAccount`: what an entry moves, or what is booked by now."""

    receivable: int = 0
    cash: int = 0
    prepaid_credits: int = 0
    customer_credit: int = 0
    deferred_revenue: int = 0
    tax: int = 0
    revenue: int = 0
    bad_debt: int = 0
    set_off: int = 0


class Unserved(NamedTuple):
    """A product of a document whose period ends after the day of issue.

    total, discount: of the product. used: what lines with usage come to, which was served.
    """

    total: int
    discount: int
    used: int


NOTHING: Final = Balances()


def deferred_part(products: Iterable[Unserved]) -> int:
    """Return how much of what products come to was billed ahead, less their discounts.

    A discount is split as the product is; its part for what was served is rounded once.
    """
    deferred = 0
    for total, discount, used in products:
        of_used = round_fraction(Fraction(discount * used, total), 0) if total else 0
        deferred += (total - discount) - (used - of_used)
    return deferred


def deferred_share(net: int, of_net: int, of_deferred: int) -> int:
    """Return how much of a credit is taken off what its document billed ahead; rounded once.

    net: of the credit. of_net, of_deferred: of the document, of the same sign conventions.
    """
    return round_fraction(Fraction(net * of_deferred, of_net), 0) if of_net else 0


def issue(net: int, tax: int, credits_amount: int, deferred: int) -> Balances:
    """Book a document that is issued.

    net: after discounts, before tax. credits_amount: drawn from prepaid credits, which pay for so
    much of it. deferred: what of net is for time to come.
    """
    return Balances(
        receivable=net + tax - credits_amount,
        prepaid_credits=credits_amount,
        deferred_revenue=-deferred,
        tax=-tax,
        revenue=deferred - net,
    )


def settle(account: Account, state: DocumentState, booked: Balances) -> Balances:
    """Book what has become of a document's money since: payments, set-offs, what was given up.

    What it has billed stays as it is booked. account: of the document as it stands now.
    """
    if state is DocumentState.VOID:
        return Balances(*(-amount for amount in booked))
    due, too_much = account.due, account.left - account.due
    is_given_up = state is DocumentState.UNCOLLECTIBLE
    stands = booked._replace(
        receivable=0 if is_given_up else due,
        bad_debt=due if is_given_up else 0,
        customer_credit=too_much,
        cash=account.paid,
        set_off=account.set_off,
    )
    return Balances(*(now - before for now, before in zip(stands, booked, strict=True)))
