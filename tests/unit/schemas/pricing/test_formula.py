"""FORMULA: exact, and refused when it is written rather than when it is used."""

from fractions import Fraction

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from schemas.errors import InvalidInput
from schemas.expression import Expression
from schemas.money import AMOUNT_DIGITS, ONE, Quantity, parse_quantity
from schemas.price import exact_total, needs_count, parse_line_price, price_total, to_json
from schemas.pricing.formula import evaluated
from schemas.pricing.formula_bounds import EVENT_COUNT_MAX, QUANTITY_MAX, Prover
from schemas.pricing.formula_code import Given, compile_formula
from tests.pricing import expressions

TIERS = [
    {"up_to": 100, "unit_price": "0.10", "flat_fee": "2"},
    {"unit_price": "0.05", "flat_fee": "5"},
]
NAMES = ("q", "event_count", "graduated", "volume", "stairstep", "tiers[1].unit_price")


def formula(expression: str, **fields: object) -> dict[str, object]:
    return {"model": "FORMULA", "expression": expression, **fields}


def cost(expression: str, quantity: str, event_count: int = 0, **fields: object) -> Fraction:
    price = parse_line_price(formula(expression, **fields))
    return exact_total(price, parse_quantity(quantity), event_count)


@pytest.mark.parametrize(
    ("expression", "quantity", "amount"),
    [
        ("q * 0.1", "3", "0.3"),
        ("7", "0", "7"),
        ("max(q - 1000, 0) * 0.02 + event_count * 0.005", "1500", "10.05"),
        ("if(q > tiers[0].up_to, volume * 0.9, graduated)", "100", "12"),
        ("if(q > tiers[0].up_to, volume * 0.9, graduated)", "200", "13.5"),
        ("stairstep", "100.5", "5"),
        ("q / max(event_count, 1)", "5", "0.5"),
        ("q / 3", "-10", "-10/3"),  # by magnitude, the sign kept
        ("ceil(q / 7) * 2", "15", "6"),
        ("1 / tiers[0].unit_price", "0", "10"),
    ],
)
def test_a_formula_is_over_the_total_the_count_and_the_tiers(
    expression: str, quantity: str, amount: str
) -> None:
    assert cost(expression, quantity, 10, tiers=TIERS) == Fraction(amount)


def test_the_included_quantity_is_off_before_the_formula_sees_the_total() -> None:
    assert cost("q + event_count", "25", 3, included_quantity=10) == 18


def test_an_amount_without_end_is_cut_toward_zero_and_never_rounded() -> None:
    price = parse_line_price(formula("q * 2 / 3"))
    for sign in (1, -1):
        stored = price_total(price, Quantity(sign * ONE))
        assert stored == sign * (2 * 10**AMOUNT_DIGITS // 3)
        assert exact_total(price, Quantity(sign * ONE)) == sign * Fraction(2, 3)


def test_a_price_says_whether_it_needs_the_count_and_fails_without_it() -> None:
    price = parse_line_price(formula("q + event_count"))
    assert needs_count(price)
    assert not needs_count(parse_line_price(formula("q")))
    with pytest.raises(AssertionError):
        price_total(price, Quantity(ONE))


def test_the_stored_form_keeps_the_expression_as_it_was_written() -> None:
    price = parse_line_price(formula(" q*1.50 ", tiers=[{"unit_price": 1}]))
    assert to_json(price) == (
        '{"model":"FORMULA","expression":" q*1.50 ",'
        '"tiers":[{"up_to":null,"unit_price":"1","flat_fee":"0"}]}'
    )
    assert to_json(parse_line_price(formula("q"))) == '{"model":"FORMULA","expression":"q"}'


@pytest.mark.parametrize(
    ("expression", "code"),
    [
        ("", "expression_malformed"),
        ("q +", "expression_malformed"),
        ("quantity * 2", "expression_name_unknown"),
        ("q.amount", "expression_name_unknown"),
        ("graduated", "expression_name_unknown"),  # there are no tiers
        ("tiers[0].up_to", "expression_name_unknown"),
        ("tiers", "expression_name_unknown"),
        ("q > 1", "expression_type"),
        ("if(q, 1, 2)", "expression_type"),
        ("if(q > 1, 1, true)", "expression_type"),
        ("(q > 1) + 1", "expression_type"),
        ("if((q > 1) > 2, 1, 2)", "expression_type"),
        ("if(true < false, 1, 2)", "expression_type"),
        ("if(q > 1 and q, 1, 2)", "expression_type"),
        ("'five'", "expression_type"),
        ("null", "expression_type"),
        ("coalesce(q, 1)", "expression_function_unknown"),
        ("length('abc')", "expression_function_unknown"),
        ("number('5')", "expression_function_unknown"),
        ("1 / q", "expression_division_by_zero"),
        ("1 / (q - 1)", "expression_division_by_zero"),
        ("1 / min(q, 1)", "expression_division_by_zero"),
        ("q / 0", "expression_division_by_zero"),
        ("q * q", "expression_number_too_long"),
        ("q" + " * q" * 9, "expression_number_too_long"),
        ("round(q, event_count)", "expression_argument"),
        ("round(q, 19)", "expression_argument"),
        ("round(q, 1.5)", "expression_argument"),
        (f"q{' + q * 1.01' * 120}", "expression_too_large"),
    ],
)
def test_what_might_fail_is_refused_when_it_is_written(expression: str, code: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_line_price(formula(expression), "/line_items/0")
    (problem,) = caught.value.problems
    assert (problem.pointer, problem.code) == ("/line_items/0/expression", code)


def test_the_tiers_that_a_formula_names_have_to_be_there() -> None:
    assert cost("tiers[1].flat_fee", "0", tiers=TIERS) == 5
    for expression in ("tiers[1].up_to", "tiers[2].flat_fee", "tiers[0].price", "tiers.flat_fee"):
        with pytest.raises(InvalidInput, match="tier"):
            parse_line_price(formula(expression, tiers=TIERS))


def test_what_may_get_too_large_is_taken_once_it_is_bounded() -> None:
    bounded = "min(q, 1000000) * min(q, 1000000)"
    assert cost(bounded, "1000") == 10**6
    assert cost(bounded, "1e19") == 10**12


def test_what_divides_by_the_written_alone_is_whole_number_arithmetic() -> None:
    for expression, is_code in [
        ("q / 3 / tiers[0].up_to", True),
        ("q / max(event_count, 1)", False),
    ]:
        price = parse_line_price(formula(expression, tiers=TIERS))
        code = compile_formula(Expression.parse(expression).tree, price.tiers)
        assert (code is not None) == is_code


@given(
    expressions(NAMES),
    st.sampled_from([0, 1, ONE, 10**20, 100 * ONE + 1, QUANTITY_MAX * ONE])
    | st.integers(0, QUANTITY_MAX * ONE),
    st.sampled_from([0, 1, EVENT_COUNT_MAX]) | st.integers(0, EVENT_COUNT_MAX),
)
def test_whatever_is_taken_has_a_value_within_the_bounds_that_were_proved(
    expression: str, quantity: int, event_count: int
) -> None:
    try:
        price = parse_line_price(formula(expression, tiers=TIERS))
    except InvalidInput:
        reject()
    value = evaluated(Given(price, quantity, event_count))
    assert value == exact_total(price, Quantity(quantity), event_count)
    proved = Prover(price.tiers).number(Expression.parse(expression).tree)
    assert proved.low <= value <= proved.high
    assert value.denominator <= proved.denominator
    if proved.is_multiple:
        assert proved.denominator % value.denominator == 0
