"""The states of a contract, the ways between them, and what its days make of it: pure.

The database holds the same table (`contract_transition`) and refuses what is not in it, whoever
writes.
"""

from collections.abc import Iterable
from datetime import date
from enum import StrEnum
from typing import Final


class ContractState(StrEnum):
    """What people have made of a contract."""

    DRAFT = "DRAFT"  # kept apart: nothing is rated or billed by it
    ACTIVE = "ACTIVE"  # published
    CANCELLED = "CANCELLED"  # ended early, or a draft that was dropped


class Phase(StrEnum):
    """What the calendar makes of a contract that was published; no one writes it down."""

    SCHEDULED = "SCHEDULED"  # its first day is still to come
    RUNNING = "RUNNING"
    ENDED = "ENDED"  # its last day is over


_S = ContractState

TRANSITIONS: Final = frozenset(
    {
        (_S.DRAFT, _S.DRAFT, "contract.draft_edited"),
        (_S.DRAFT, _S.ACTIVE, "contract.published"),
        (_S.DRAFT, _S.CANCELLED, "contract.draft_dropped"),
        (_S.ACTIVE, _S.ACTIVE, "contract.edited"),
        (_S.ACTIVE, _S.CANCELLED, "contract.cancelled"),
    }
)
"""Every way that there is: from, to, and the action that the audit log has for it."""

BEGINNINGS: Final = {"contract.drafted": _S.DRAFT, "contract.made": _S.ACTIVE}
"""The actions that begin a contract, and the state that each begins with."""


def ways_from(state: ContractState) -> frozenset[ContractState]:
    """Return the states that a contract in a state can come to; none from CANCELLED."""
    return frozenset(new for old, new, _ in TRANSITIONS if old is state)


def state_after(action: str) -> ContractState | None:
    """Return the state that an action leaves a contract in; None: it is not about its state."""
    new = {said: after for _, after, said in TRANSITIONS}
    return (BEGINNINGS | new).get(action)


def phase_of(spans: Iterable[tuple[date, date | None, date]]) -> Phase:
    """Return the phase of a published contract.

    spans: of each product its first day in force, its last one (None: until it is cancelled), and
    today in its time zone. A product whose last day is before its first one never counts.
    """
    counting = [(first, last, today) for first, last, today in spans if not last or first <= last]
    if all(last is not None and last < today for _, last, today in counting):
        return Phase.ENDED
    is_ahead = all(today < first for first, _, today in counting)
    return Phase.SCHEDULED if is_ahead else Phase.RUNNING
