"""The states of a document and the ways between them: one table, pure.

The database holds the same table (`document_transition`) and refuses what is not in it, whoever
writes.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from schemas.document import DocumentState
from schemas.errors import Conflict


class Cause(StrEnum):
    """Who may move a document."""

    INVOICER = "INVOICER"  # draws drafts, issues what is complete
    PERSON = "PERSON"  # somebody with `billing:write`, on purpose
    MAIL = "MAIL"  # the mail server has taken it
    PAYMENT = "PAYMENT"  # money came, failed to come, or went back
    CLOCK = "CLOCK"  # its due date has passed


_S = DocumentState
_C = Cause
_PAYMENT: Final = frozenset({_C.PAYMENT})
_PERSON: Final = frozenset({_C.PERSON})
_LATE: Final = frozenset({_C.CLOCK, _C.PAYMENT})
_GIVEN_UP: Final = frozenset({_C.PERSON, _C.PAYMENT})

TRANSITIONS: Final[Mapping[tuple[DocumentState, DocumentState], frozenset[Cause]]] = (
    MappingProxyType(
        {
            (_S.DRAFT, _S.UNDER_REVIEW): frozenset({_C.INVOICER, _C.PERSON}),
            (_S.DRAFT, _S.ISSUED): frozenset({_C.INVOICER}),
            (_S.UNDER_REVIEW, _S.DRAFT): _PERSON,
            (_S.UNDER_REVIEW, _S.ISSUED): _PERSON,
            (_S.ISSUED, _S.SENT): frozenset({_C.MAIL}),
            (_S.ISSUED, _S.PARTIALLY_PAID): _PAYMENT,
            (_S.ISSUED, _S.PAID): _PAYMENT,
            (_S.ISSUED, _S.LATE): _LATE,
            (_S.ISSUED, _S.PAYMENT_FAILED): _PAYMENT,
            (_S.ISSUED, _S.VOID): _PERSON,
            (_S.SENT, _S.PARTIALLY_PAID): _PAYMENT,
            (_S.SENT, _S.PAID): _PAYMENT,
            (_S.SENT, _S.LATE): _LATE,
            (_S.SENT, _S.PAYMENT_FAILED): _PAYMENT,
            (_S.SENT, _S.VOID): _PERSON,
            (_S.PARTIALLY_PAID, _S.ISSUED): _PAYMENT,
            (_S.PARTIALLY_PAID, _S.SENT): _PAYMENT,
            (_S.PARTIALLY_PAID, _S.PAID): _PAYMENT,
            (_S.PARTIALLY_PAID, _S.LATE): _LATE,
            (_S.PARTIALLY_PAID, _S.PAYMENT_FAILED): _PAYMENT,
            (_S.PARTIALLY_PAID, _S.UNCOLLECTIBLE): _GIVEN_UP,
            (_S.LATE, _S.PARTIALLY_PAID): _PAYMENT,
            (_S.LATE, _S.PAID): _PAYMENT,
            (_S.LATE, _S.PAYMENT_FAILED): _PAYMENT,
            (_S.LATE, _S.VOID): _PERSON,
            (_S.LATE, _S.UNCOLLECTIBLE): _GIVEN_UP,
            (_S.PAYMENT_FAILED, _S.PARTIALLY_PAID): _PAYMENT,
            (_S.PAYMENT_FAILED, _S.PAID): _PAYMENT,
            (_S.PAYMENT_FAILED, _S.LATE): _LATE,
            (_S.PAYMENT_FAILED, _S.VOID): _PERSON,
            (_S.PAYMENT_FAILED, _S.UNCOLLECTIBLE): _GIVEN_UP,
            (_S.PAID, _S.ISSUED): _PAYMENT,  # a payment that went back
            (_S.PAID, _S.SENT): _PAYMENT,
            (_S.PAID, _S.PARTIALLY_PAID): _PAYMENT,
            (_S.PAID, _S.LATE): _LATE,
            (_S.PAID, _S.PAYMENT_FAILED): _PAYMENT,
            (_S.UNCOLLECTIBLE, _S.PARTIALLY_PAID): _PAYMENT,
            (_S.UNCOLLECTIBLE, _S.PAID): _PAYMENT,
        }
    )
)
"""Every way that there is, with who may cause it. VOID has no way out."""

REDRAWN: Final = frozenset({_S.DRAFT, _S.UNDER_REVIEW})
"""States in which a document still follows its inputs and has no number."""

VOIDABLE: Final = frozenset(old for old, new in TRANSITIONS if new is _S.VOID)
"""States from which a document can be voided: issued, and no money has come for it."""


def ways_from(state: DocumentState) -> frozenset[DocumentState]:
    """Return the states that a document in a state can come to."""
    return frozenset(new for old, new in TRANSITIONS if old is state)


def check_transition(old: DocumentState, new: DocumentState, cause: Cause) -> None:
    """Raise Conflict `transition_not_allowed` unless the cause may take a document there."""
    causes = TRANSITIONS.get((old, new))
    if causes is None:
        allowed = ", ".join(sorted(ways_from(old))) or "nothing"
        detail = f"a document that is {old} can become {allowed}, not {new}"
        raise Conflict("transition_not_allowed", detail)
    if cause not in causes:
        by = " or ".join(sorted(causes))
        detail = f"a document goes from {old} to {new} by {by} alone, not by {cause}"
        raise Conflict("transition_not_allowed", detail)
