"""What a payment makes of a document: table and properties."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.document import DocumentState
from schemas.errors import Conflict
from schemas.lifecycle import TRANSITIONS, Cause
from schemas.paying import (
    PAYABLE,
    Account,
    amount_to_pay,
    check_payable,
    pay_by_credits,
    state_after,
)

S = DocumentState
amounts = st.integers(-(10**15), 10**15)


@pytest.mark.parametrize(
    ("total", "paid", "due", "overpaid"),
    [
        (100, 0, 100, 0),
        (100, 40, 60, 0),
        (100, 100, 0, 0),
        (100, 130, 0, 30),
        (0, 0, 0, 0),
        (0, 5, 0, 5),
        (-100, 0, -100, 0),
        (-100, -40, -60, 0),
        (-100, -130, 0, 30),
    ],
)
def test_what_is_due_and_what_is_too_much(total: int, paid: int, due: int, overpaid: int) -> None:
    assert (Account(total, paid).due, Account(total, paid).overpaid) == (due, overpaid)


@given(amounts, st.integers(0, 10**15))
def test_paid_is_what_was_asked_for_less_due_and_plus_too_much(total: int, magnitude: int) -> None:
    paid = magnitude if total >= 0 else -magnitude
    account = Account(total, paid)
    sign = 1 if total >= 0 else -1
    assert paid == total - account.due + sign * account.overpaid
    assert not (account.due and account.overpaid)


@given(amounts)
def test_to_pay_without_an_amount_is_to_pay_what_is_due(total: int) -> None:
    account = Account(total, 0)
    assert Account(total, amount_to_pay(account, None)).due == 0
    assert amount_to_pay(account, 7) == (7 if total >= 0 else -7)


@given(
    st.sampled_from(sorted(PAYABLE)), amounts, st.integers(0, 10**15), st.booleans(), st.booleans()
)
def test_every_move_is_one_that_payments_may_cause(
    state: DocumentState, total: int, magnitude: int, was_sent: bool, is_settled: bool
) -> None:
    account = Account(total, magnitude if total >= 0 else -magnitude)
    after = state_after(account, state, was_sent=was_sent, is_settled=is_settled)
    if after is not state:
        assert Cause.PAYMENT in TRANSITIONS[state, after]
    if account.paid:
        in_part = S.LATE if state is S.LATE else S.PARTIALLY_PAID
        assert after is (in_part if account.due else S.PAID)


@pytest.mark.parametrize("state", [S.DRAFT, S.UNDER_REVIEW, S.VOID])
def test_nothing_is_paid_that_asks_for_nothing(state: DocumentState) -> None:
    with pytest.raises(Conflict, match="can't be paid"):
        check_payable(state)


@pytest.mark.parametrize(
    ("document", "credits_", "set_off"),
    [
        (Account(100, 0), [Account(-30, 0)], [-30]),
        (Account(100, 80), [Account(-30, 0)], [-20]),
        (Account(100, 80), [Account(-15, 0), Account(-15, 0)], [-15, -5]),
        (Account(100, 130), [Account(-30, 0)], [0]),
        (Account(100, 0), [Account(-30, -30), Account(-5, 0)], [0, -5]),
        (Account(100, 0), [Account(-30, -40)], [0]),
        (Account(-100, -130), [Account(-30, 0)], [0]),
        (None, [Account(-30, 0)], [0]),
    ],
)
def test_credits_pay_in_their_order_for_what_is_due(
    document: Account | None, credits_: list[Account], set_off: list[int]
) -> None:
    assert [one.set_off for one in pay_by_credits(document, credits_)] == set_off


@given(
    amounts,
    st.integers(0, 10**15),
    st.lists(st.tuples(st.integers(1, 10**15), st.integers(0, 10**15))),
)
def test_nobody_owes_more_or_less_for_what_credits_pay(
    total: int, magnitude: int, taken_off: list[tuple[int, int]]
) -> None:
    document = Account(total, magnitude if total >= 0 else -magnitude)
    before = [Account(-amount, -paid_back) for amount, paid_back in taken_off]
    after = pay_by_credits(document, before)
    paid = document._replace(set_off=-sum(one.set_off for one in after))
    assert paid.left + sum(one.left for one in after) == document.left + sum(
        one.left for one in before
    )
    assert paid.overpaid == document.overpaid
    assert [one.overpaid for one in after] == [one.overpaid for one in before]
    if total > 0:
        assert not (paid.due and any(one.due for one in after)), "one side alone is open"
        assert 0 <= paid.set_off <= total
