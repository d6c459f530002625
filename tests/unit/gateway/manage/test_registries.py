"""What registries know: only what can't be is refused."""

import pytest

from gateway.manage import registries
from schemas.errors import InvalidInput


@pytest.mark.parametrize(
    ("country", "tax_id"),
    [
        ("United States", "12-3456789"),
        ("US", "123456789"),
        ("usa", "07-1234567"),  # a prefix that the tax office may give out tomorrow
        ("US", "536-90-4399"),
        (None, "whatever people write"),
        (None, "DE136695978"),
        ("Germany", "DE 136 695 976"),
        ("DE", "HRB 1"),
        ("Germany", "12/345/67890"),
        ("Ireland", "IE6433435F"),
        ("Greece", "EL 094259216"),
        ("Spain", "ESCUELA"),
        ("Brazil", "1"),
    ],
)
def test_a_tax_id_that_may_be_one_is_taken(country: str | None, tax_id: str) -> None:
    registries.check_tax_id(country, tax_id)


@pytest.mark.parametrize(
    ("country", "tax_id"),
    [
        ("United States", "12-345"),
        ("US", "none"),
        ("Germany", "DE136695978"),
        ("Ireland", "IE6433435A"),
        ("Greece", "EL094259217"),
        (None, "1" * 65),
    ],
)
def test_a_tax_id_that_cannot_be_is_refused(country: str | None, tax_id: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        registries.check_tax_id(country, tax_id)
    assert refused.value.problems[0].code == "tax_id_malformed"


@pytest.mark.parametrize(
    ("code", "digits"),
    [("1", "2121234567"), ("001", "2121234567"), ("49", "3012345678"), ("49", "03012345678")],
)
def test_a_number_that_can_be_dialled_is_taken(code: str, digits: str) -> None:
    registries.check_phone(code, digits)


@pytest.mark.parametrize("digits", ["12345678901234567890", "21212345678"])
def test_a_number_that_nobody_can_dial_is_refused(digits: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        registries.check_phone("1", digits)
    assert refused.value.problems[0].code == "phone_impossible"


@pytest.mark.parametrize("code", ["999", "0", "0000"])
def test_a_code_that_calls_no_country_is_refused(code: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        registries.check_country_code(code)
    assert refused.value.problems[0].code == "country_code_unknown"


@pytest.mark.parametrize("sent", ["GB29 NWBK 6016 1331 9268 19", "DE89370400440532013000"])
def test_an_iban_is_kept_as_it_is_sent(sent: str) -> None:
    assert registries.iban(sent) == sent


@pytest.mark.parametrize(
    "sent", ["GB29 NWBK 6016 1331 9268 18", "DE89 3704 0044", "XX12 3456", "021000021", 7]
)
def test_what_is_no_iban_is_refused(sent: object) -> None:
    with pytest.raises(InvalidInput, match="account"):
        registries.iban(sent)


def test_a_swift_code_has_eight_or_eleven_characters_and_a_country() -> None:
    assert [registries.swift(code) for code in ("NWBKGB2L", "COBADEFFXXX")]
    for wrong in ("SHORT", "NWBKXX2L", "NWBKGB2LXX"):
        with pytest.raises(InvalidInput):
            registries.swift(wrong)
