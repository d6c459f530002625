"""What is booked: tables by hand, and properties of any document, whatever becomes of it."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.document import DocumentState
from schemas.paying import Account
from schemas.posting import (
    NOTHING,
    Balances,
    LedgerAccount,
    Unserved,
    deferred_part,
    deferred_share,
    issue,
    settle,
)

S = DocumentState
amounts = st.integers(-(10**15), 10**15)
parts = st.integers(0, 10**15)
states = st.sampled_from([S.ISSUED, S.SENT, S.PARTIALLY_PAID, S.PAID, S.LATE, S.UNCOLLECTIBLE])


def plus(left: Balances, right: Balances) -> Balances:
    return Balances(*(a + b for a, b in zip(left, right, strict=True)))


@st.composite
def accounts(draw: st.DrawFn, total: int) -> Account:
    """Draw what has come for a document and what was set off of it, which is never too much."""
    sign = 1 if total >= 0 else -1
    paid = sign * draw(parts)
    open_ = max(abs(total) - abs(paid), 0)
    return Account(total, paid, sign * draw(st.integers(0, open_)))


@pytest.mark.parametrize(
    ("said", "booked"),
    [
        ((1000, 190, 0, 0), Balances(receivable=1190, tax=-190, revenue=-1000)),
        ((950, 0, 0, 0), Balances(receivable=950, revenue=-950)),
        (
            (1000, 190, 300, 0),
            Balances(receivable=890, prepaid_credits=300, tax=-190, revenue=-1000),
        ),
        ((1000, 0, 1000, 0), Balances(prepaid_credits=1000, revenue=-1000)),
        (
            (1000, 190, 0, 400),
            Balances(receivable=1190, deferred_revenue=-400, tax=-190, revenue=-600),
        ),
        ((-100, -19, 0, 0), Balances(receivable=-119, tax=19, revenue=100)),
        ((-100, -19, -50, 0), Balances(receivable=-69, prepaid_credits=-50, tax=19, revenue=100)),
        ((0, 0, 0, 0), NOTHING),
    ],
)
def test_an_issue_is_booked(said: tuple[int, int, int, int], booked: Balances) -> None:
    assert issue(*said) == booked


INVOICE = issue(1000, 190, 0, 0)


@pytest.mark.parametrize(
    ("account", "state", "entry"),
    [
        (Account(1190, 0), S.SENT, NOTHING),
        (Account(1190, 1190), S.PAID, Balances(cash=1190, receivable=-1190)),
        (Account(1190, 90), S.PARTIALLY_PAID, Balances(cash=90, receivable=-90)),
        (
            Account(1190, 1200),
            S.PAID,
            Balances(cash=1200, receivable=-1190, customer_credit=-10),
        ),
        (Account(1190, 0, 200), S.SENT, Balances(set_off=200, receivable=-200)),
        (Account(1190, 90), S.UNCOLLECTIBLE, Balances(cash=90, receivable=-1190, bad_debt=1100)),
        (Account(1190, 0), S.VOID, Balances(receivable=-1190, tax=190, revenue=1000)),
    ],
)
def test_what_has_become_of_an_invoice_is_booked(
    account: Account, state: DocumentState, entry: Balances
) -> None:
    assert settle(account, state, INVOICE) == entry


def test_a_credit_pays_its_document_and_the_rest_is_paid_back() -> None:
    booked = issue(-100, -19, 0, 0)
    entry = settle(Account(-119, 0, -70), S.ISSUED, booked)
    assert entry == Balances(receivable=70, set_off=-70)
    paid_back = settle(Account(-119, -49, -70), S.PAID, plus(booked, entry))
    assert paid_back == Balances(receivable=49, cash=-49)


@given(amounts, amounts, amounts, amounts)
def test_every_issue_comes_to_zero(net: int, tax: int, drawn: int, deferred: int) -> None:
    entry = issue(net, tax, drawn, deferred)
    assert sum(entry) == 0
    assert entry.receivable == net + tax - drawn
    assert entry.revenue + entry.deferred_revenue == -net


@given(st.data(), amounts, amounts, amounts, amounts, st.lists(states, max_size=8), st.booleans())
def test_whatever_becomes_of_a_document_every_entry_comes_to_zero(
    data: st.DataObject,
    net: int,
    tax: int,
    drawn: int,
    deferred: int,
    way: list[DocumentState],
    is_voided: bool,
) -> None:
    total = net + tax - drawn
    booked = first = issue(net, tax, drawn, deferred)
    for state in way:
        account = data.draw(accounts(total))
        entry = settle(account, state, booked)
        booked = plus(booked, entry)
        assert sum(entry) == 0
        given_up = state is S.UNCOLLECTIBLE
        assert (booked.receivable, booked.bad_debt) == (
            (0, account.due) if given_up else (account.due, 0)
        )
        assert abs(booked.customer_credit) == account.overpaid
        assert (booked.cash, booked.set_off) == (account.paid, account.set_off)
        assert booked[4:7] == first[4:7], "what was billed stays"
        assert settle(account, state, booked) == NOTHING, "nothing is booked twice"
    if is_voided:
        entry = settle(Account(total, 0), S.VOID, booked)
        assert sum(entry) == 0
        assert plus(booked, entry) == NOTHING


@given(st.lists(st.tuples(amounts, amounts)), st.data())
def test_what_is_billed_ahead_and_what_was_used_are_the_product(
    products: list[tuple[int, int]], data: st.DataObject
) -> None:
    unused = [Unserved(total, discount, 0) for total, discount in products]
    assert deferred_part(unused) == sum(total - discount for total, discount in products)
    used = [one._replace(used=one.total) for one in unused if one.total]
    assert deferred_part(used) == 0
    for one in unused:
        part = data.draw(st.integers(0, max(one.total, 0)))
        deferred = deferred_part([one._replace(used=part)])
        exact = (one.total - one.discount) * (1 - Fraction(part, one.total or 1))
        assert abs(deferred - exact) <= Fraction(1, 2) or one.total < 0


@given(st.integers(1, 10**15), st.data())
def test_a_credit_takes_its_share_off_what_was_billed_ahead(net: int, data: st.DataObject) -> None:
    deferred = data.draw(st.integers(0, net))
    assert deferred_share(-net, -net, -deferred) == -deferred
    part = data.draw(st.integers(0, net))
    assert 0 <= -deferred_share(-part, -net, -deferred) <= min(deferred, part)
    assert deferred_share(-part, 0, 0) == 0


def test_the_columns_are_the_accounts() -> None:
    assert [name.upper() for name in Balances._fields] == list(LedgerAccount)
