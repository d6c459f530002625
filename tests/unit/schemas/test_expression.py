"""Expressions compute exactly, stay within their bounds, and are refused in one way alone."""

from collections.abc import Callable
from fractions import Fraction
from math import ceil, floor

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.errors import InvalidInput
from schemas.expression import Expression, Path, Run, Value, decimal_text, parse_number, parse_path
from schemas.expression_functions import FUNCTIONS
from schemas.expression_parser import DEPTH_MAX, NODES_MAX, TEXT_LENGTH_MAX
from schemas.expression_values import NUMBER_BITS_MAX, STEPS_MAX, STRING_LENGTH_MAX

SOURCE: dict[Path, Value] = {
    ("quantity",): Fraction(12),
    ("price",): Fraction("1.5"),
    ("plan",): "free",
    ("note",): "  Berlin – Mitte  ",
    ("is_test",): True,
    ("usage", "amount"): Fraction("0.25"),
    ("usage", "parts", 0): "a",
    ("Menge (kWh)",): "3,5",
    ("long",): "x" * STRING_LENGTH_MAX,
    ("large",): Fraction(2 ** (NUMBER_BITS_MAX - 1)),
}


def customer_by(key: str, value: str) -> str:
    if key != "external_id":
        raise InvalidInput("look_up_key", f"no customer has a {key}")
    return f"ref of {value}"


def find(path: Path) -> Value:
    return SOURCE.get(path)


def evaluate(text: str, source: Callable[[Path], Value] = find) -> Value:
    expression = Expression.parse(text, look_ups=("customer_by",))
    return expression.evaluate(Run(source, {"customer_by": customer_by}))


def code_of(text: str) -> str:
    with pytest.raises(InvalidInput) as caught:
        evaluate(text)
    return caught.value.code


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 + 2 * 3 - 4 / 8", Fraction("6.5")),
        ("(1 + 2) * 3", 9),
        ("10 - 2 - 3", 5),
        ("100 / 10 / 5", 2),
        ("-quantity + 20", 8),
        ("1/3*3", 1),
        ("0.1 + 0.2", Fraction("0.3")),
        ("usage.amount * 4", 1),
        ("usage['amount']", Fraction("0.25")),
        ("round(2.5)", 3),
        ("round(-2.5)", -3),
        ("round(1/3, 4)", Fraction("0.3333")),
        ("round(1250, -2)", 1300),
        ("floor(-1.5)", -2),
        ("ceil(1.21, 1)", Fraction("1.3")),
        ("abs(-4)", 4),
        ("min(3, 1, 2) + max(3, 1, 2)", 4),
        ("number(' -1.50 ')", Fraction("-1.5")),
        ("number(replace(`Menge (kWh)`, ',', '.')) * 1000", 3500),
        ("length(trim(note))", 14),
    ],
)
def test_numbers_are_computed_exactly(text: str, value: Fraction) -> None:
    assert evaluate(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("concat(plan, '-', 1.50, '-', price)", "free-1.5-1.5"),
        ("lower('ÄB') ", "äb"),
        ("upper(plan)", "FREE"),
        ("trim(note)", "Berlin – Mitte"),
        ("substring('abcdef', 2)", "cdef"),
        ("substring('abcdef', -3, 2)", "de"),
        ("substring('abc', 7, 2)", ""),
        ("split('a-b-c', '-', 1)", "b"),
        ("split('a-b-c', '-', -1)", "c"),
        ("replace('a.b.c', '.', '')", "abc"),
        ("text(0.10)", "0.1"),
        ("'it''s'", "it's"),
        ('"say ""so"""', 'say "so"'),
        ("usage.parts[0]", "a"),
        ("customer_by('external_id', concat('K', 1))", "ref of K1"),
    ],
)
def test_texts_are_put_together_and_taken_apart(text: str, value: str) -> None:
    assert evaluate(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("quantity > 3 and plan == 'free'", True),
        ("quantity > 30 or not is_test", False),
        ("not quantity > 3", False),
        ("missing == null", True),
        ("plan != null", True),
        ("'10' < '9'", True),
        ("10 < 9", False),
        ("1 == 1.0", True),
        ("true == true", True),
        ("contains(note, 'Mitte') and starts_with(plan, 'f') and ends_with(plan, 'e')", True),
        ("split('a', '-', 5)", None),
        ("null", None),
    ],
)
def test_conditions_are_judged(text: str, value: Value) -> None:
    assert evaluate(text) == value
    assert type(evaluate(text)) is type(value)


def test_what_is_not_chosen_is_not_computed() -> None:
    assert evaluate("if(plan == 'free', 0, 1 / 0)") == 0
    assert evaluate("coalesce(missing, quantity, 1 / 0)") == 12
    assert evaluate("coalesce(missing, null)") is None
    assert evaluate("is_test or 1 / 0 == 1") is True
    assert evaluate("not is_test and 1 / 0 == 1") is False


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "expression_malformed"),
        ("1 +", "expression_malformed"),
        ("1 2", "expression_malformed"),
        ("(1", "expression_malformed"),
        ("1 = 1", "expression_malformed"),
        ("a && b", "expression_malformed"),
        ("'open", "expression_malformed"),
        ("1 < 2 < 3", "expression_malformed"),
        ("--1", "expression_malformed"),
        ("not not true", "expression_malformed"),
        ("1e5", "expression_malformed"),
        (".5", "expression_malformed"),
        ("5.", "expression_malformed"),
        ("a.", "expression_malformed"),
        ("a[b]", "expression_malformed"),
        ("a[9999999]", "expression_malformed"),
        ("__import__('os')", "expression_function_unknown"),
        ("quantity.__class__()", "expression_malformed"),
        ("lowr('A')", "expression_function_unknown"),
        ("abs()", "expression_argument_count"),
        ("if(true, 1)", "expression_argument_count"),
        ("'1' + 1", "expression_type"),
        ("missing + 1", "expression_type"),
        ("1 == '1'", "expression_type"),
        ("true < false", "expression_type"),
        ("if(1, 2, 3)", "expression_type"),
        ("trim(1)", "expression_type"),
        ("1 / (3 - 3)", "expression_division_by_zero"),
        ("text(1/3)", "expression_never_ends"),
        ("number('\u0661')", "expression_no_number"),
        ("number('NaN')", "expression_no_number"),
        ("round(1, 19)", "expression_argument"),
        ("round(1, 0.5)", "expression_argument"),
        ("split('a', '', 0)", "expression_argument"),
        ("replace('a', '', 'b')", "expression_argument"),
        ("substring('a', 0, -1)", "expression_argument"),
        ("customer_by('shoe size', 'x')", "look_up_key"),
    ],
)
def test_what_makes_no_sense_is_refused_by_a_code(text: str, code: str) -> None:
    assert code_of(text) == code


def test_a_refusal_says_where_and_what_was_probably_meant() -> None:
    with pytest.raises(InvalidInput, match=r"at character 5 .* did you mean 'lower'"):
        evaluate("1 + lowr('A')")
    with pytest.raises(InvalidInput, match=r"at character 1 .* did you mean 'quantity'"):
        Expression.parse("quantty * 2", names=("quantity",))
    assert Expression.parse("quantity * 2", names=("quantity",)).paths == (("quantity",),)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("1" * (TEXT_LENGTH_MAX + 1), "expression_too_long"),
        ("+".join(["1"] * (NODES_MAX + 1)), "expression_too_large"),
        ("(" * (DEPTH_MAX + 1) + "1" + ")" * (DEPTH_MAX + 1), "expression_too_deep"),
        ("1" * 101, "expression_number_too_long"),
        ("large * large", "expression_number_too_long"),
        ("1 / large / large", "expression_number_too_long"),
        ("concat(long, 'x')", "expression_text_too_long"),
        ("replace(long, 'x', long)", "expression_text_too_long"),
        ("concat(" + ",".join(["trim(long)"] * 40) + ")", "expression_too_much_work"),
        ("a" + ".a" * 16, "expression_too_deep"),
    ],
)
def test_everything_has_a_bound(text: str, code: str) -> None:
    assert code_of(text) == code


def test_the_deepest_and_the_longest_that_are_allowed_are_computed() -> None:
    count = DEPTH_MAX - 2  # the outermost and the parentheses are levels, too
    deep = "if(not (-1 + 1) == 1, 1 + " * count + "1" + ", 0)" * count
    assert evaluate(deep) == count + 1
    assert evaluate("+".join(["1"] * (NODES_MAX - 1))) == NODES_MAX - 1


def test_expressions_that_share_a_run_share_its_bound() -> None:
    run = Run(find)
    expression = Expression.parse("quantity + 1")
    while run.steps_left >= 4:
        expression.evaluate(run)
    with pytest.raises(InvalidInput, match="too much to compute"):
        expression.evaluate(run)


# ---------------------------------------------------------------- against an oracle

Oracle = tuple[str, Fraction]


def binary(parts: tuple[Oracle, str, Oracle]) -> Oracle:
    (left, one), sign, (right, other) = parts
    if sign == "/" and not other:
        return f"({left} / ({right} + 1))", one / (other + 1)
    results = {"+": one + other, "-": one - other, "*": one * other}
    return f"({left} {sign} {right})", results[sign] if sign in results else one / other


def half_away(value: Fraction) -> Fraction:
    sign = -1 if value < 0 else 1
    return Fraction(sign * floor(abs(value) + Fraction(1, 2)))


UNARY: dict[str, Callable[[Fraction], Fraction | int]] = {
    "abs": abs, "floor": floor, "ceil": ceil, "round": half_away, "-": lambda value: -value,
}  # fmt: skip

constants = st.decimals(0, 10**6, places=3, allow_nan=False).map(lambda d: (f"{d:f}", Fraction(d)))
names = st.just(("quantity", Fraction(12))) | st.just(("usage.amount", Fraction("0.25")))
arithmetic: st.SearchStrategy[Oracle] = st.recursive(
    constants | names,
    lambda inner: (
        st.tuples(inner, st.sampled_from("+-*/"), inner).map(binary)
        | st.tuples(st.sampled_from(sorted(UNARY)), inner).map(
            lambda p: (f"{p[0]}(({p[1][0]}))", Fraction(UNARY[p[0]](p[1][1])))
        )
        | st.tuples(inner, inner, inner, inner).map(
            lambda p: (
                f"if({p[0][0]} < {p[1][0]}, {p[2][0]}, min({p[2][0]}, {p[3][0]}))",
                p[2][1] if p[0][1] < p[1][1] else min(p[2][1], p[3][1]),
            )
        )
    ),
    max_leaves=8,
)


@given(arithmetic)
def test_arithmetic_agrees_with_fractions(oracle: Oracle) -> None:
    text, value = oracle
    if len(text) <= TEXT_LENGTH_MAX:
        assert evaluate(text) == value


WORDS = st.sampled_from(
    [*FUNCTIONS, "if", "coalesce", "customer_by", "quantity", "plan", "usage.amount", "long",
     "large", "'a'", '"b"', "1", "0", "2.50", "null", "true", "and", "or", "not", "+", "-", "*",
     "/", "(", ")", "(", ")", ",", ",", "==", "<", ">=", "[0]", ".x", "`y z`", "é", "\0", "=", "'"]
)  # fmt: skip


@given(st.text() | st.lists(WORDS, max_size=40).map(" ".join))
@example("(" * 2_000)
@example("not " * 400)
@example("-" * 2_000)
@example("a[" * 900)
@example("abs(" * 400)
def test_any_text_is_computed_or_refused(text: str) -> None:
    try:
        result = evaluate(text)
    except InvalidInput:
        return
    assert isinstance(result, Fraction | str | bool | None)


calls = st.recursive(
    st.sampled_from(["quantity", "plan", "long", "large", "missing", "1", "-1.5", "'a-b'", "true"]),
    lambda inner: st.tuples(
        st.sampled_from([*FUNCTIONS, "if", "coalesce", "customer_by"]),
        st.lists(inner, min_size=1, max_size=3),
    ).map(lambda call: f"{call[0]}({', '.join(call[1])})"),
    max_leaves=12,
)


@given(calls)
def test_any_call_of_functions_is_computed_or_refused(text: str) -> None:
    run = Run(find, {"customer_by": customer_by})
    try:
        Expression.parse(text, look_ups=("customer_by",)).evaluate(run)
    except InvalidInput:
        return
    assert 0 <= run.steps_left < STEPS_MAX


# ---------------------------------------------------------------- numbers and paths as text


@given(st.decimals(allow_nan=False, allow_infinity=False, places=18, min_value=-(10**20)))
def test_a_decimal_is_written_as_it_is_read(value: object) -> None:
    text = f"{value:f}"
    found = parse_number(text)
    if found is None:
        assert len(text) > 100
        return
    written = decimal_text(found)
    assert written is not None
    assert Fraction(written) == Fraction(text)
    assert "e" not in written
    assert "." not in written or not written.endswith(("0", "."))


def test_a_number_that_never_ends_is_not_written() -> None:
    assert decimal_text(Fraction(1, 3)) is None
    assert decimal_text(Fraction(-1, 8)) == "-0.125"
    assert decimal_text(Fraction(-5)) == "-5"


def test_a_path_is_a_name_and_nothing_else() -> None:
    assert parse_path("usage.items[0].`Menge (kWh)`") == ("usage", "items", 0, "Menge (kWh)")
    assert parse_path("a['b.c']") == ("a", "b.c")
    for text in ("", "1", "a + b", "Menge (kWh)", "trim(a)", "a b"):
        with pytest.raises(InvalidInput) as caught:
            parse_path(text)
        assert caught.value.code == "path_malformed"
