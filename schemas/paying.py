"""What a payment makes of a document: how much is due, and where the document stands. Pure.

Amounts are whole numbers of the currency's minor unit. A credit document has a total below zero:
paying it means paying the customer back, with the signs turned around.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from schemas.document import DocumentState
from schemas.errors import Conflict

_S = DocumentState

PAYABLE: Final = frozenset(
    {_S.ISSUED, _S.SENT, _S.PARTIALLY_PAID, _S.PAID, _S.LATE, _S.PAYMENT_FAILED, _S.UNCOLLECTIBLE}
)
"""States in which money can come for a document."""


class Account(NamedTuple):
    """What a document asks for, what has come, and what was settled without money.

    set_off: of the total's sign; what credits that were taken off a document pay of it, and of such
    a credit, what it pays of its document.
    """

    total: int
    paid: int
    set_off: int = 0

    @property
    def left(self) -> int:
        """What is still to be paid; of the other sign than the total's, what is too much."""
        return self.total - self.set_off - self.paid

    @property
    def due(self) -> int:
        """What is still to be paid, of the total's sign; 0 when too much has come."""
        return max(self.left, 0) if self.total >= 0 else min(self.left, 0)

    @property
    def overpaid(self) -> int:
        """What has come beyond the total, never below zero."""
        return abs(self.left - self.due)


def pay_by_credits(document: Account | None, credits_: Sequence[Account]) -> list[Account]:
    """Let credits pay, in their order, for what is still due of the document that they are of.

    What was paid back of a credit pays for nothing. document: None where there is none to be paid.
    Returns the credits as they stand then; together they pay what is set off of the document.
    """
    left = 0 if document is None or document.total < 0 else document.total - document.paid
    found = []
    for one in credits_:
        pays = max(min(left, one.paid - one.total), 0)
        left -= pays
        found.append(one._replace(set_off=-pays))
    return found


def amount_to_pay(account: Account, asked: int | None) -> int:
    """Return what a payment comes to: what was said, above zero, or else all that is due."""
    if asked is None:
        return account.due
    return asked if account.total >= 0 else -asked


def check_payable(state: DocumentState) -> None:
    """Raise Conflict unless money can come for a document in a state."""
    if state not in PAYABLE:
        raise Conflict("document_not_payable", f"a document that is {state} can't be paid")


def state_after(
    account: Account, state: DocumentState, *, was_sent: bool, is_settled: bool = False
) -> DocumentState:
    """Return where a document stands once what has come for it has changed.

    was_sent: it has left for the customer. is_settled: somebody says that it is paid; where nothing
    is due, nothing has to come. What is late stays so until all has come.
    """
    if not account.due and (account.paid or is_settled):
        return _S.PAID
    if account.paid:
        return state if state is _S.LATE else _S.PARTIALLY_PAID
    if state in {_S.PAID, _S.PARTIALLY_PAID}:
        return _S.SENT if was_sent else _S.ISSUED
    return state
