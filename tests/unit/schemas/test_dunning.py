"""When a customer is reminded: each step once, in order, and never of what is long past."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.dunning import STALE_DAYS, STEP_MAX, STEP_MIN, next_step

DUE = date(2026, 3, 31)
SCHEDULE = [-3, 1, 14]
steps = st.lists(st.integers(STEP_MIN, STEP_MAX), max_size=10)


@pytest.mark.parametrize(
    ("days", "made", "step"),
    [
        (-4, [], None),
        (-3, [], -3),
        (-3, [-3], None),
        (0, [], -3),
        (0, [-3], None),
        (1, [], 1),
        (1, [-3, 1], None),
        (13, [-3, 1], None),
        (14, [-3, 1], 14),
        (20, [-3, 1], 14),
        (21, [-3, 1], None),
    ],
)
def test_a_step_is_due_from_its_day_on_for_a_week(
    days: int, made: list[int], step: int | None
) -> None:
    assert next_step(SCHEDULE, DUE, DUE + timedelta(days=days), made) == step


@given(steps, st.lists(st.integers(0, 9), max_size=60))
def test_each_step_is_made_once_and_in_order(schedule: list[int], pauses: list[int]) -> None:
    day, made = DUE + timedelta(days=STEP_MIN), list[int]()
    for pause in pauses:
        day += timedelta(days=pause)
        while (step := next_step(schedule, DUE, day, made)) is not None:
            assert step in schedule
            assert all(step > earlier for earlier in made)
            assert 0 <= (day - DUE).days - step < STALE_DAYS
            made.append(step)


@given(steps)
def test_whoever_looks_every_day_makes_every_step(schedule: list[int]) -> None:
    made: list[int] = []
    for days in range(STEP_MIN, STEP_MAX + 1):
        step = next_step(schedule, DUE, DUE + timedelta(days=days), made)
        made += [] if step is None else [step]
    assert made == sorted(set(schedule))
