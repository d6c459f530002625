"""Prepaid credits: nothing is lost, nothing is spent twice, and what comes first is drawn first."""

from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from schemas.credits import Balance, Grant, Span, draw, walk

FIRST = date(2026, 1, 1)
PERIODS = [
    Span(n, FIRST + timedelta(days=30 * n), FIRST + timedelta(days=30 * n + 30)) for n in range(6)
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
    draws: dict[tuple[int, int], int] = {}
    for index in order:
        drawn = draw(given_grants, PERIODS, draws, index, dues[index])
        assert sum(drawn.values()) <= max(dues[index], 0)
        assert all(amount > 0 for amount in drawn.values())
        draws |= {(place, index): amount for place, amount in drawn.items()}
        for grant in given_grants:
            if sum(drawn.values()) < dues[index] and grant.pays_for(PERIODS[index]):
                more = draws | {(grant.place, index): drawn.get(grant.place, 0) + 1}
                assert min(balance.left for balance in walk(grant, PERIODS, more)) < 0
            for balance in walk(grant, PERIODS, draws):
                assert balance.granted == balance.drawn + balance.expired + balance.left
                assert min(balance.drawn, balance.expired, balance.left) >= 0


@given(grants(), st.lists(st.integers(0, 150), min_size=6, max_size=6))
def test_in_order_as_much_is_drawn_as_there_is(given_grants: list[Grant], dues: list[int]) -> None:
    draws: dict[tuple[int, int], int] = {}
    for period, due in zip(PERIODS, dues, strict=True):
        drawn = draw(given_grants, PERIODS[: period.index + 1], draws, period.index, due)
        draws |= {(place, period.index): amount for place, amount in drawn.items()}
        if sum(drawn.values()) < due:
            for grant in given_grants:
                if grant.pays_for(period):
                    assert walk(grant, PERIODS[: period.index + 1], draws)[-1].left == 0


def test_the_lowest_priority_goes_first_then_what_expires_first() -> None:
    last = Grant(place=0, amount=10, starts=FIRST, priority=2)
    lasting = Grant(place=1, amount=10, starts=FIRST, priority=1)
    ending = Grant(place=2, amount=10, starts=FIRST, priority=1, expires=date(2026, 3, 1))
    assert draw([last, lasting, ending], PERIODS[:1], {}, 0, 25) == {2: 10, 1: 10, 0: 5}


def test_a_grant_pays_for_the_period_in_which_it_expires_and_for_none_behind_it() -> None:
    grant = Grant(place=0, amount=100, starts=FIRST, expires=date(2026, 2, 1))
    assert draw([grant], PERIODS, {}, 1, 30) == {0: 30}
    assert draw([grant], PERIODS, {}, 2, 30) == {}
    assert walk(grant, PERIODS[:3], {(0, 1): 30})[-1] == Balance(100, 30, 70, 0)


def test_what_is_left_of_a_renewed_grant_rolls_over_up_to_its_bound() -> None:
    grant = Grant(place=0, amount=100, starts=FIRST, renews=True, roll_over=30)
    found = walk(grant, PERIODS[:3], {(0, 0): 50, (0, 1): 125})
    assert found == [Balance(100, 50, 0, 50), Balance(200, 175, 20, 5), Balance(300, 175, 20, 105)]
