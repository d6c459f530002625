"""Numbers are read exactly or refused, and rounding happens once, half away from zero."""

from decimal import ROUND_HALF_UP, Context, Decimal, localcontext
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import InvalidInput
from schemas.money import (
    AMOUNT_DIGITS,
    ONE,
    QUANTITY_DIGITS,
    Amount,
    Price,
    currency_digits,
    decimal_to_scaled,
    json_number_text,
    parse_quantity,
    parse_scaled,
    round_amount,
    round_fraction,
    round_percent,
    round_ratio,
    scaled_to_decimal,
    scaled_to_text,
)

LIMIT = 10**38
scaled = st.integers(-LIMIT + 1, LIMIT - 1)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("-0", 0),
        ("-0.0", 0),
        ("0e999999999999", 0),
        ("1", ONE),
        ("+1", ONE),
        ("007", 7 * ONE),
        ("12.5", 12_500_000_000_000_000_000),
        ("-12.5", -12_500_000_000_000_000_000),
        ("-0.5", -500_000_000_000_000_000),
        ("0.000000000000000001", 1),
        ("1e-18", 1),
        ("100e-20", 1),
        ("0.1E3", 100 * ONE),
        ("1e+2", 100 * ONE),
        ("1e0000000000000000002", 100 * ONE),
        ("1.50000000000000000000000000000", 1_500_000_000_000_000_000),
        ("0" * 100 + "3", 3 * ONE),
        ("99999999999999999999.999999999999999999", LIMIT - 1),
        ("-99999999999999999999.999999999999999999", 1 - LIMIT),
        (b"12.5", 12_500_000_000_000_000_000),
    ],
)
def test_a_decimal_number_is_read_exactly(text: str | bytes, value: int) -> None:
    assert parse_quantity(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "-", "+", ".", ".5", "5.", "1.2.3", "1,5", "1_000", " 1", "1 ", "1\n", "--1",
        "NaN", "nan", "sNaN", "Infinity", "-inf", "0x10", "1e", "e5", "1e1.5", "1e1e1", "½", "²",
        "\u0661", "\uff11", "\u0967.\u096b", b"\xd9\xa1", b"\xff", "true", "1" * 5_000, "0" * 5_000,
    ],
)  # fmt: skip
def test_what_is_no_plain_ascii_number_is_refused(text: str | bytes) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_quantity(text)
    assert caught.value.code == "number_malformed"


@pytest.mark.parametrize("text", ["1" + "0" * 20, "1e20", "-1e20", "1e999999", "1e" + "9" * 900])
def test_a_number_past_the_bound_is_refused_without_building_it(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_quantity(text)
    assert caught.value.code == "number_too_large"


@pytest.mark.parametrize("text", ["1e-19", "0.0000000000000000001", "1e-999999", "-1.5e-18"])
def test_a_number_with_too_many_digits_is_refused_rather_than_rounded(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_quantity(text)
    assert caught.value.code == "number_too_precise"


@given(scaled)
def test_text_and_decimal_carry_every_digit_there_and_back(value: int) -> None:
    text = scaled_to_text(value, QUANTITY_DIGITS)
    assert parse_quantity(text) == value
    assert Fraction(text) == Fraction(value, ONE)
    with localcontext(Context(prec=3)):
        assert (
            decimal_to_scaled(scaled_to_decimal(value, QUANTITY_DIGITS), QUANTITY_DIGITS) == value
        )


@given(scaled, st.integers(0, 45))
def test_any_spelling_of_a_number_means_the_same(value: int, shift: int) -> None:
    digits, sign = str(abs(value)), "-" if value < 0 else ""
    spelled = f"{sign}{digits}{'0' * shift}e-{18 + shift}"
    assert parse_quantity(spelled) == value
    assert parse_quantity(f"{sign}0.{digits}{'0' * shift}E{len(digits) - 18:+d}") == value


@given(st.text(alphabet="0123456789+-.eE_ N\n", max_size=12))
def test_what_is_read_is_what_an_exact_decimal_reads(text: str) -> None:
    try:
        value = parse_scaled(text, fraction_digits=18, integer_digits=20)
    except InvalidInput:
        return
    assert Fraction(value, ONE) == Fraction(Decimal(text))


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [(0, 18, "0"), (-1, 2, "-0.01"), (1500, 2, "15"), (1510, 2, "15.1"), (-100, 0, "-100")],
)
def test_canonical_text_has_no_exponent_and_no_trailing_zeros(
    value: int, digits: int, text: str
) -> None:
    assert scaled_to_text(value, digits) == text


@pytest.mark.parametrize("text", ["NaN", "Infinity", "1e5000", "1e-5000", "0.001"])
def test_a_decimal_that_does_not_fit_the_scale_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        decimal_to_scaled(Decimal(text), 2)


def test_numbers_from_json_are_taken_as_number_or_text_but_never_from_a_float() -> None:
    assert json_number_text("12.50") == "12.50"
    assert json_number_text(7) == "7"
    assert json_number_text(Decimal("1.10")) == "1.10"
    wrong: list[object] = [1.5, True, None, [], {}, 10**5_000]
    for value in wrong:
        with pytest.raises(InvalidInput):
            json_number_text(value)


@pytest.mark.parametrize(
    ("text", "digits", "minor"),
    [
        ("0.005", 2, 1),
        ("-0.005", 2, -1),
        ("0.004999999999999999999999999999999999", 2, 0),
        ("2.5", 0, 3),
        ("-2.5", 0, -3),
        ("1.0005", 3, 1_001),
        ("1.2345", 4, 12_345),
    ],
)
def test_rounding_goes_half_away_from_zero_in_every_currency(
    text: str, digits: int, minor: int
) -> None:
    assert round_fraction(Fraction(text), digits) == minor
    assert round_amount(Amount(int(Fraction(text) * 10**AMOUNT_DIGITS)), digits) == minor


@given(st.fractions(), st.sampled_from([0, 2, 3]))
def test_rounding_is_symmetric_and_never_off_by_more_than_half(
    value: Fraction, digits: int
) -> None:
    minor = round_fraction(value, digits)
    assert abs(Fraction(minor, 10**digits) - value) <= Fraction(1, 2 * 10**digits)
    assert round_fraction(-value, digits) == -minor


@given(st.integers(-(10**60), 10**60), st.sampled_from([0, 2, 3]))
def test_amounts_round_as_decimal_rounds_half_up(amount: int, digits: int) -> None:
    exact = Context(prec=100, rounding=ROUND_HALF_UP)
    oracle = exact.quantize(exact.scaleb(Decimal(amount), digits - AMOUNT_DIGITS), Decimal(1))
    assert round_amount(Amount(amount), digits) == int(oracle)


def test_three_lines_of_a_fraction_of_a_cent_round_once() -> None:
    third = Fraction("0.014")
    assert [round_fraction(third, 2)] * 3 == [1, 1, 1]
    assert round_fraction(third * 3, 2) == 4
    assert round_ratio(7, 2) == 4


@pytest.mark.parametrize(
    ("minor", "percent", "share"),
    [(1_000, "17", 170), (1_050, "10", 105), (1_005, "10", 101), (-1_005, "10", -101), (3, "0", 0)],
)
def test_a_percentage_of_rounded_money_is_rounded_once(
    minor: int, percent: str, share: int
) -> None:
    assert round_percent(minor, Price(parse_quantity(percent))) == share


@pytest.mark.parametrize(("code", "digits"), [("JPY", 0), ("USD", 2), ("EUR", 2), ("KWD", 3)])
def test_a_currency_knows_its_digits(code: str, digits: int) -> None:
    assert currency_digits(code) == digits


@pytest.mark.parametrize("code", ["", "usd", "US", "XYZ", "BTC", "USDT", "\uff35\uff33\uff24"])
def test_an_unknown_currency_is_refused(code: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        currency_digits(code)
    assert caught.value.code == "currency_unknown"
