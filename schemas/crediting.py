"""How much of a document a person can still take off, and how much of that is tax. Pure.

Money is in the currency's minor unit.
"""

from fractions import Fraction
from typing import Final, NamedTuple

from schemas.document import DocumentState
from schemas.errors import Conflict
from schemas.money import round_fraction

_S = DocumentState
CREDITABLE: Final = frozenset(
    {_S.ISSUED, _S.SENT, _S.PARTIALLY_PAID, _S.PAID, _S.LATE, _S.PAYMENT_FAILED}
)
"""States of a document of which something can be taken off."""


class Creditable(NamedTuple):
    """What a document asks for: its total, the tax in that, and what is left of both by now.

    total: > 0, after prepaid credits. tax: >= 0, its share of the document's.
    """

    total: int
    tax: int
    total_left: int
    tax_left: int

    @classmethod
    def of(
        cls, *, total: int, credits_amount: int, total_tax: int, before: int, tax_before: int
    ) -> "Creditable":
        """Tell what is left of a document. total: after the prepaid credits that have paid for it.

        before, tax_before: what was taken off it, below zero.
        """
        tax = round_fraction(Fraction(total_tax * total, total + credits_amount), 0)
        left = total + before
        tax_left = max(0, tax + tax_before)
        return cls(total, tax, left, min(tax_left, max(0, left)))


class Credit(NamedTuple):
    """A part that is taken off: what it comes to, and the tax in that; both >= 0."""

    amount: int
    tax: int


def take_off(document: Creditable, amount: int | None) -> Credit:
    """Take an amount off a document, None for all that is left.

    The tax is the amount's share, rounded once; the last part takes what is left, so that parts
    add up to the document, whatever they are. amount: > 0.
    Raises Conflict `credit_exceeds_document`, `document_credited`.
    """
    if document.total_left <= 0:
        raise Conflict("document_credited", "nothing is left of this document to be credited")
    asked = document.total_left if amount is None else amount
    if asked > document.total_left:
        raise Conflict("credit_exceeds_document", "is more than what is left of the document")
    share = round_fraction(Fraction(asked * document.tax, document.total), 0)
    net_left = document.total_left - document.tax_left
    tax = min(max(share, asked - net_left), document.tax_left, asked)
    return Credit(asked, tax)
