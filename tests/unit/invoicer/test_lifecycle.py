"""The ways of a document."""

import pytest

from invoicer.lifecycle import REDRAWN, TRANSITIONS, check_transition
from schemas.document import DocumentState
from schemas.errors import Conflict


def test_every_state_has_its_ways() -> None:
    assert set(TRANSITIONS) == set(DocumentState)


def test_what_is_issued_is_never_a_draft_again() -> None:
    for state in set(DocumentState) - REDRAWN:
        assert not TRANSITIONS[state] & REDRAWN


def test_every_state_is_reached_from_a_draft() -> None:
    reached = {DocumentState.DRAFT}
    while (more := reached.union(*(TRANSITIONS[state] for state in reached))) != reached:
        reached = more
    assert reached == set(DocumentState)


def test_a_way_that_is_not_in_the_table_is_refused() -> None:
    check_transition(DocumentState.DRAFT, DocumentState.ISSUED)
    with pytest.raises(Conflict, match="transition_not_allowed"):
        check_transition(DocumentState.PAID, DocumentState.VOID)
