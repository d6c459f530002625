"""The ways of a document."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.document import DocumentState
from schemas.errors import Conflict
from schemas.lifecycle import REDRAWN, TRANSITIONS, VOIDABLE, Cause, check_transition, ways_from

S = DocumentState


def test_what_is_issued_is_never_a_draft_again() -> None:
    for state in set(S) - REDRAWN:
        assert not ways_from(state) & REDRAWN


def test_every_state_is_reached_from_a_draft_and_only_void_is_an_end() -> None:
    reached = {S.DRAFT}
    while (more := reached.union(*(ways_from(state) for state in reached))) != reached:
        reached = more
    assert reached == set(S)
    assert [state for state in S if not ways_from(state)] == [S.VOID]


def test_only_a_person_approves_rejects_and_voids() -> None:
    for (old, new), causes in TRANSITIONS.items():
        if old is S.UNDER_REVIEW or new is S.VOID:
            assert causes == {Cause.PERSON}


def test_nothing_is_voided_once_money_has_come_for_it() -> None:
    assert {S.ISSUED, S.SENT, S.LATE, S.PAYMENT_FAILED} == VOIDABLE


@pytest.mark.parametrize(("old", "new"), [*product(S, S)])
def test_a_way_is_open_to_those_that_the_table_names_and_to_nobody_else(old: S, new: S) -> None:
    allowed = TRANSITIONS.get((old, new), frozenset())
    for cause in Cause:
        if cause in allowed:
            check_transition(old, new, cause)
        else:
            with pytest.raises(Conflict, match="transition_not_allowed"):
                check_transition(old, new, cause)


@given(st.lists(st.tuples(st.sampled_from(S), st.sampled_from(Cause)), max_size=12))
def test_whatever_is_tried_a_document_is_issued_once(tries: list[tuple[S, Cause]]) -> None:
    state, history = S.DRAFT, [S.DRAFT]
    for new, cause in tries:
        try:
            check_transition(state, new, cause)
        except Conflict:
            continue
        state = new
        history.append(state)
    is_issued = [one not in REDRAWN for one in history]
    assert is_issued == sorted(is_issued), "once it has a number it keeps it"
    assert S.VOID not in history[:-1]
