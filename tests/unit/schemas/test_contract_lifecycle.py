"""The ways of a contract, and its phases."""

from datetime import date

import pytest

from schemas.contract_lifecycle import (
    BEGINNINGS,
    TRANSITIONS,
    ContractState,
    Phase,
    phase_of,
    state_after,
    ways_from,
)

S = ContractState
JUNE, JULY, AUGUST = date(2026, 6, 1), date(2026, 7, 1), date(2026, 8, 1)


def test_what_was_published_is_never_a_draft_again_and_what_was_cancelled_stays() -> None:
    assert S.DRAFT not in ways_from(S.ACTIVE)
    assert not ways_from(S.CANCELLED)


def test_every_state_is_reached_and_every_action_tells_where_it_leads() -> None:
    assert {state_after(action) for action in BEGINNINGS} == {S.DRAFT, S.ACTIVE}
    assert {state_after(action) for _, _, action in TRANSITIONS} == set(S)
    assert state_after("contract.closing_asked") is None


@pytest.mark.parametrize(
    ("spans", "phase"),
    [
        ([(JULY, None, JUNE)], Phase.SCHEDULED),
        ([(JULY, None, JULY)], Phase.RUNNING),
        ([(JUNE, JULY, JULY)], Phase.RUNNING),
        ([(JUNE, JULY, AUGUST)], Phase.ENDED),
        ([(JUNE, JULY, AUGUST), (JUNE, None, AUGUST)], Phase.RUNNING),
        ([(JUNE, JUNE, JULY), (AUGUST, None, JULY)], Phase.RUNNING),
        ([(AUGUST, JULY, JUNE), (JUNE, JUNE, JULY)], Phase.ENDED),
        ([(AUGUST, JULY, JUNE)], Phase.ENDED),
    ],
)
def test_the_phase_is_told_by_the_days_of_all_products(
    spans: list[tuple[date, date | None, date]], phase: Phase
) -> None:
    assert phase_of(spans) is phase
