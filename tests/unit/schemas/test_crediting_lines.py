"""Parts of lines that people credit add up to the document, to the minor unit."""

from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from schemas.crediting import Credit, Creditable, take_off
from schemas.crediting_lines import Asked, BilledLine, LineCredit, credit_lines, shares
from schemas.errors import Conflict
from schemas.money import PRICE_DIGITS

PERCENT = 10**PRICE_DIGITS
DIGITS = (0, 2, 3)


def line(place: tuple[int, int], amount: int, **more: object) -> BilledLine:
    values = {
        "item": f"Item {place}",
        "quantity": Fraction(10),
        "product_total": amount,
        "discount": 0,
        "tax": 0,
        "credited": 0,
        "credited_quantity": Fraction(0),
    }
    return BilledLine(place=place, amount=amount, **{**values, **more})  # type: ignore[arg-type]


def half_up(value: Fraction) -> int:
    sign = -1 if value < 0 else 1
    return sign * int(abs(value) + Fraction(1, 2))


@st.composite
def documents(draw: st.DrawFn) -> tuple[list[BilledLine], int, int]:
    """Draw lines, and what a document over them says: each figure as API.md has it."""
    scale = 10 ** draw(st.sampled_from(DIGITS))
    lines: list[BilledLine] = []
    total, bases = 0, dict[int, int]()
    for product in range(draw(st.integers(1, 3))):
        amounts = draw(st.lists(st.integers(0, 5_000 * scale), min_size=1, max_size=4))
        rest = draw(st.sampled_from([0, 0, 7, 1_000 * scale]))
        discount = draw(st.sampled_from([0, 5, 10, 33, 100])) * PERCENT
        tax = draw(st.sampled_from([0, 7, 19, 21])) * PERCENT + draw(st.integers(0, PERCENT))
        whole = sum(amounts) + rest
        net = whole - half_up(Fraction(whole * discount, 100 * PERCENT))
        total, bases[tax] = total + net, bases.get(tax, 0) + net
        lines += [
            line((product, at), amount, product_total=whole, discount=discount, tax=tax)
            for at, amount in enumerate(amounts)
        ]
    taxes = sum(half_up(Fraction(base * rate, 100 * PERCENT)) for rate, base in bases.items())
    return lines, total + taxes, taxes


@given(documents(), st.data())
def test_all_parts_of_all_lines_and_the_rest_are_the_document(
    drawn: tuple[list[BilledLine], int, int], data: st.DataObject
) -> None:
    lines, total, tax = drawn
    assume(total > 0)
    left, tax_left = total, tax
    for _ in range(data.draw(st.integers(0, 12))):
        at = data.draw(st.integers(0, len(lines) - 1))
        own = lines[at]
        amount = data.draw(st.one_of(st.none(), st.integers(1, max(1, own.amount))))
        document = Creditable(total, tax, left, tax_left)
        try:
            credit, taken = credit_lines(document, lines, [Asked([own.place], amount, None)])
        except Conflict as refused:
            wanted = own.amount - own.credited if amount is None else amount
            is_little = refused.code == "credit_is_nothing"
            assert is_little or wanted > own.amount - own.credited or own.amount == own.credited
            continue
        assert credit.amount == sum(one.total for one in taken)
        assert 0 <= credit.tax <= credit.amount
        lines[at] = own._replace(credited=own.credited + sum(one.amount for one in taken))
        assert lines[at].credited <= own.amount
        left, tax_left = left - credit.amount, tax_left - credit.tax
        assert 0 <= tax_left <= left
    if left:
        assert take_off(Creditable(total, tax, left, tax_left), None) == (left, tax_left)


def credited(
    document: Creditable, lines: list[BilledLine], asked: list[Asked]
) -> tuple[Credit, LineCredit] | None:
    """Credit a part of one line; None where it comes to nothing."""
    try:
        credit, [one] = credit_lines(document, lines, asked)
    except Conflict as refused:
        if refused.code != "credit_is_nothing":
            raise
        return None
    return credit, one


@given(documents(), st.integers(1, 4))
def test_lines_credited_whole_come_to_their_shares_in_any_number_of_parts(
    drawn: tuple[list[BilledLine], int, int], parts: int
) -> None:
    lines, total, tax = drawn
    assume(total > 0)
    borne = shares(lines, total, tax)
    taken = dict.fromkeys(borne, 0)
    left, tax_left = total, tax
    for part in range(parts):
        for at, own in enumerate(lines):
            rest = own.amount - own.credited
            amount = rest if part == parts - 1 else rest // 2
            if not amount:
                continue
            document = Creditable(total, tax, left, tax_left)
            found = credited(document, lines, [Asked([own.place], amount, None)])
            if found is None:  # a part of less than half a minor unit
                continue
            credit, one = found
            taken[own.place] += one.total
            lines[at] = own._replace(credited=own.credited + amount)
            left, tax_left = left - credit.amount, tax_left - credit.tax
    assert taken == {place: part.amount for place, part in borne.items()}
    is_all = all(
        own.product_total == sum(one.amount for one in lines if one.place[0] == own.place[0])
        for own in lines
    )
    assert not is_all or (left, tax_left) == (0, 0)


def test_a_quantity_takes_its_part_and_the_last_of_it_what_is_left() -> None:
    own, document = line((0, 0), 1_000, quantity=Fraction(3)), Creditable(1_000, 0, 1_000, 0)
    asked = [Asked([own.place], None, Fraction(1))]
    amounts = []
    for _ in range(3):
        _, [one] = credit_lines(document, [own], asked)
        amounts.append(one.amount)
        own = own._replace(
            credited=own.credited + one.amount, credited_quantity=own.credited_quantity + 1
        )
        document = document._replace(total_left=document.total_left - one.total)
    assert amounts == [333, 333, 334]
    with pytest.raises(Conflict, match="line_not_creditable"):
        credit_lines(document, [own], asked)


@pytest.mark.parametrize(
    ("lines", "asked", "code"),
    [
        ([line((0, 0), 100)], Asked([(0, 0)], 101, None), "credit_exceeds_line"),
        ([line((0, 0), 100, credited=60)], Asked([(0, 0)], 41, None), "credit_exceeds_line"),
        ([line((0, 0), 100)], Asked([(0, 0)], None, Fraction(21, 2)), "credit_exceeds_line"),
        ([line((0, 0), -5)], Asked([(0, 0)], None, None), "line_not_creditable"),
        ([line((0, 0), 100)], Asked([], None, None), "line_not_creditable"),
        (
            [line((0, 0), 40), line((0, 1), 60)],
            Asked([(0, 0), (0, 1)], None, Fraction(1)),
            "line_not_creditable",
        ),
        (
            [line((0, 0), 90), line((1, 0), 60)],
            Asked([(0, 0), (1, 0)], None, None),
            "credit_exceeds_document",
        ),
        ([line((0, 0), 100, discount=100 * PERCENT), line((1, 0), 100)],
         Asked([(0, 0)], None, None), "credit_is_nothing"),
    ],
)  # fmt: skip
def test_what_a_line_does_not_bear_is_refused(
    lines: list[BilledLine], asked: Asked, code: str
) -> None:
    with pytest.raises(Conflict, match=code):
        credit_lines(Creditable(100, 0, 99, 0), lines, [asked])


def test_lines_of_one_item_are_filled_in_their_order() -> None:
    lines = [line((0, 0), 40, product_total=100), line((0, 1), 60, product_total=100)]
    asked = [Asked([(0, 0), (0, 1)], 50, None), Asked([(0, 0), (0, 1)], 20, None)]
    credit, taken = credit_lines(Creditable(100, 0, 100, 0), lines, asked)
    assert credit.amount == 70
    assert [(one.place, one.amount) for one in taken] == [((0, 0), 40), ((0, 1), 10), ((0, 1), 20)]
