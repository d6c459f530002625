"""Prepaid credits: nothing is lost, nothing is spent twice, and what comes first is drawn first."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.credits import Balance, Grant, Span, carried_on, draw, read_grants, walk

FIRST = date(2026, 1, 1)
PERIODS = [
    Span(FIRST + timedelta(days=30 * n), FIRST + timedelta(days=30 * n + 30)) for n in range(6)
]
days = st.integers(-20, 200).map(lambda n: FIRST + timedelta(days=n))


@st.composite
def grants(draw_one: st.DrawFn) -> list[Grant]:
    found = []
    for place in range(draw_one(st.integers(1, 4))):
        starts, expires = sorted([draw_one(days), draw_one(days)])
        found.append(
            Grant(
                place=place,
                amount=draw_one(st.integers(1, 100)),
                starts=starts,
                expires=draw_one(st.sampled_from([None, expires])),
                priority=draw_one(st.integers(0, 2)),
                renews=draw_one(st.booleans()),
                roll_over=draw_one(st.sampled_from([0, 10, 1_000])),
            )
        )
    return found


@given(grants(), st.permutations(range(6)), st.lists(st.integers(-5, 150), min_size=6, max_size=6))
def test_credits_are_conserved_and_never_overdrawn_in_whatever_order_periods_come(
    given_grants: list[Grant], order: list[int], dues: list[int]
) -> None:
    draws: dict[tuple[int, date], int] = {}
    for index in order:
        start = PERIODS[index].start_date
        drawn = draw(given_grants, PERIODS, draws, start, dues[index])
        assert sum(drawn.values()) <= max(dues[index], 0)
        assert all(amount > 0 for amount in drawn.values())
        draws |= {(place, start): amount for place, amount in drawn.items()}
        for grant in given_grants:
            if sum(drawn.values()) < dues[index] and grant.pays_for(PERIODS[index]):
                more = draws | {(grant.place, start): drawn.get(grant.place, 0) + 1}
                assert min(balance.left for balance in walk(grant, PERIODS, more)) < 0
            for balance in walk(grant, PERIODS, draws):
                assert balance.granted == balance.drawn + balance.expired + balance.left
                assert min(balance.drawn, balance.expired, balance.left) >= 0


@given(grants(), st.lists(st.integers(0, 150), min_size=6, max_size=6))
def test_in_order_as_much_is_drawn_as_there_is(given_grants: list[Grant], dues: list[int]) -> None:
    draws: dict[tuple[int, date], int] = {}
    for index, (period, due) in enumerate(zip(PERIODS, dues, strict=True)):
        drawn = draw(given_grants, PERIODS[: index + 1], draws, period.start_date, due)
        draws |= {(place, period.start_date): amount for place, amount in drawn.items()}
        if sum(drawn.values()) < due:
            for grant in given_grants:
                if grant.pays_for(period):
                    assert walk(grant, PERIODS[: index + 1], draws)[-1].left == 0


def test_the_lowest_priority_goes_first_then_what_expires_first() -> None:
    last = Grant(place=0, amount=10, starts=FIRST, priority=2)
    lasting = Grant(place=1, amount=10, starts=FIRST, priority=1)
    ending = Grant(place=2, amount=10, starts=FIRST, priority=1, expires=date(2026, 3, 1))
    assert draw([last, lasting, ending], PERIODS[:1], {}, FIRST, 25) == {2: 10, 1: 10, 0: 5}


def test_a_grant_pays_for_the_period_in_which_it_expires_and_for_none_behind_it() -> None:
    grant = Grant(place=0, amount=100, starts=FIRST, expires=date(2026, 2, 1))
    second, third = PERIODS[1].start_date, PERIODS[2].start_date
    assert draw([grant], PERIODS, {}, second, 30) == {0: 30}
    assert draw([grant], PERIODS, {}, third, 30) == {}
    assert walk(grant, PERIODS[:3], {(0, second): 30})[-1] == Balance(100, 30, 70, 0)


def test_what_is_left_of_a_renewed_grant_rolls_over_up_to_its_bound() -> None:
    grant = Grant(place=0, amount=100, starts=FIRST, renews=True, roll_over=30)
    found = walk(grant, PERIODS[:3], {(0, FIRST): 50, (0, PERIODS[1].start_date): 125})
    assert found == [Balance(100, 50, 0, 50), Balance(200, 175, 20, 5), Balance(300, 175, 20, 105)]


def test_what_carries_a_product_on_keeps_its_credits_and_adds_others_behind_them() -> None:
    since = date(2026, 3, 1)
    stands = '[{"amount":"100","name":"Welcome"}]'
    more = '[{"amount":"100.00","name":"Welcome"},{"amount":"5"}]'
    text, is_kept = carried_on(stands, FIRST, more, since)
    assert is_kept
    assert [(grant.amount, grant.starts) for grant in read_grants(text, 2, since)] == [
        (10_000, FIRST),
        (500, since),
    ]
    # What it has become can be carried on once more, as it is or as it was sent.
    for sent in (text, more):
        assert carried_on(text, since, sent, date(2026, 4, 1))[1]


@pytest.mark.parametrize(
    "wanted",
    [
        "[]",
        '[{"amount":"99","name":"Welcome"}]',
        '[{"amount":"100","name":"Welcome","starts":"2026-01-02"}]',
        '[{"amount":"5"},{"amount":"100","name":"Welcome"}]',
    ],
)
def test_what_was_granted_cannot_be_taken_back(wanted: str) -> None:
    stands = '[{"amount":"100","name":"Welcome"}]'
    assert not carried_on(stands, FIRST, wanted, date(2026, 3, 1))[1]
