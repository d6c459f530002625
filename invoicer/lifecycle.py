"""The states of a document and the ways between them: one table, pure."""

from collections.abc import Mapping
from typing import Final

from schemas.document import DocumentState
from schemas.errors import Conflict

_S = DocumentState

TRANSITIONS: Final[Mapping[DocumentState, frozenset[DocumentState]]] = {
    _S.DRAFT: frozenset({_S.UNDER_REVIEW, _S.ISSUED}),
    _S.UNDER_REVIEW: frozenset({_S.DRAFT, _S.ISSUED}),
    _S.ISSUED: frozenset(
        {_S.SENT, _S.PARTIALLY_PAID, _S.PAID, _S.LATE, _S.PAYMENT_FAILED, _S.VOID}
    ),
    _S.SENT: frozenset({_S.PARTIALLY_PAID, _S.PAID, _S.LATE, _S.PAYMENT_FAILED, _S.VOID}),
    _S.PARTIALLY_PAID: frozenset({_S.PAID, _S.LATE, _S.PAYMENT_FAILED, _S.UNCOLLECTIBLE}),
    _S.LATE: frozenset({_S.PARTIALLY_PAID, _S.PAID, _S.PAYMENT_FAILED, _S.VOID, _S.UNCOLLECTIBLE}),
    _S.PAYMENT_FAILED: frozenset({_S.PARTIALLY_PAID, _S.PAID, _S.LATE, _S.VOID, _S.UNCOLLECTIBLE}),
    _S.UNCOLLECTIBLE: frozenset({_S.PARTIALLY_PAID, _S.PAID}),
    _S.PAID: frozenset(),
    _S.VOID: frozenset(),
}

REDRAWN: Final = frozenset({_S.DRAFT, _S.UNDER_REVIEW})
"""States in which a document still follows its inputs and has no number."""


def check_transition(old: DocumentState, new: DocumentState) -> None:
    """Raise Conflict `transition_not_allowed` unless a document may go from old to new."""
    if new not in TRANSITIONS[old]:
        allowed = ", ".join(sorted(TRANSITIONS[old])) or "nothing"
        detail = f"a document that is {old} can become {allowed}, not {new}"
        raise Conflict("transition_not_allowed", detail)
