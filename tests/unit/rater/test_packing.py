"""The binary rows of COPY, read back by an independent reading of the wire format."""

from fractions import Fraction
from struct import unpack_from

from hypothesis import given
from hypothesis import strategies as st

from rater.packing import pack_numeric, pack_quantity
from schemas.money import AMOUNT_DIGITS, QUANTITY_DIGITS, scaled_to_text


def read_numeric(field: bytes) -> tuple[Fraction, int]:
    """Return the value and the digits shown behind the point."""
    length, count, weight, sign, scale = unpack_from(">iHhHH", field)
    assert length == len(field) - 4
    digits = unpack_from(f">{count}H", field, 12)
    assert all(digit < 10_000 for digit in digits)
    value = sum(
        (digit * Fraction(10_000) ** (weight - place) for place, digit in enumerate(digits)),
        Fraction(0),
    )
    return (-value if sign else value), scale


# Of every length, on either side of the point.
numbers = st.tuples(st.integers(-(10**38) + 1, 10**38 - 1), st.integers(0, 38)).map(
    lambda pair: pair[0] // 10 ** pair[1]
)
shifts = st.integers(0, 30).map(lambda exponent: 10**exponent)


@given(numbers, shifts)
def test_an_amount_is_packed_exactly_and_no_longer_than_it_is(number: int, shift: int) -> None:
    value, scale = read_numeric(pack_numeric(number * shift, AMOUNT_DIGITS))
    assert value == Fraction(number * shift, 10**AMOUNT_DIGITS)
    assert scale == len(scaled_to_text(number * shift, AMOUNT_DIGITS).partition(".")[2])


@given(numbers | st.integers(-(10**17), 10**17).map(lambda units: units * 10**10))
def test_a_quantity_is_packed_exactly_and_no_longer_than_it_is(quantity: int) -> None:
    value, scale = read_numeric(pack_quantity(quantity))
    assert value == Fraction(quantity, 10**QUANTITY_DIGITS)
    text = scaled_to_text(quantity, QUANTITY_DIGITS)
    assert scale == len(text.partition(".")[2])


def test_zero_and_the_edges_of_digit_groups_are_packed_as_postgres_does() -> None:
    assert pack_quantity(0).hex() == "00000008" + "0000" * 4
    assert pack_quantity(10**18).hex() == "0000000a" + "0001" + "0000" + "0000" + "0000" + "0001"
    assert pack_quantity(10**22).hex().endswith("0001" + "0001" + "0000" + "0000" + "0001")
    assert pack_quantity(-(10**14)).hex().endswith("0001" + "ffff" + "4000" + "0004" + "0001")
    assert pack_quantity(1).hex().endswith("0001" + "fffb" + "0000" + "0012" + "0064")
