"""What registries know of numbers: bank accounts, telephones, tax ids. Pure.

Only what can't be is refused: a new prefix of a tax office or a new range of telephone numbers is
known to people before it is known here. The libraries are imported when they are first needed,
since a gateway that takes events never needs them.
"""

import unicodedata
from difflib import get_close_matches
from typing import Final

from gateway.manage import values
from schemas.errors import InvalidInput

TAX_ID_LENGTH_MAX: Final = 64
"""No tax id is longer; longer texts are not looked into."""


def iban(value: object) -> str:
    """Read an IBAN, kept with its spaces; its country, length, form and check digits must fit."""
    import schwifty  # noqa: PLC0415 - 3 MiB, seldom needed

    sent = values.text(value)
    try:
        schwifty.IBAN(sent)
    except ValueError as error:  # the library's errors are ValueErrors
        detail = f"is no IBAN: {str(error)[:100]}; a bank account of another form goes in account"
        raise InvalidInput("iban_malformed", detail) from None
    return sent


def swift(value: object) -> str:
    """Read a SWIFT code (BIC) of 8 or 11 characters, kept as it is sent."""
    import schwifty  # noqa: PLC0415 - 3 MiB, seldom needed

    sent = values.text(value)
    try:
        schwifty.BIC(sent)
    except ValueError as error:
        detail = f"is no SWIFT code of 8 or 11 characters: {str(error)[:100]}"
        raise InvalidInput("swift_malformed", detail) from None
    return sent


def check_country_code(code: str) -> None:
    """Refuse digits that call no country, zeros before them aside. Raises InvalidInput."""
    import phonenumbers  # noqa: PLC0415 - 1 MiB, seldom needed

    if int(code) not in phonenumbers.COUNTRY_CODE_TO_REGION_CODE:
        detail = f"+{code} is no country's calling code: 1 is that of the United States"
        raise InvalidInput("country_code_unknown", detail)


def check_phone(country_code: str, digits: str) -> None:
    """Refuse a number that can't be dialled in its country. Raises InvalidInput.

    country_code: as `check_country_code` lets it pass.
    """
    import phonenumbers  # noqa: PLC0415 - 1 MiB, seldom needed

    code = int(country_code)
    possible = phonenumbers.ValidationResult
    try:
        number = phonenumbers.parse(f"+{code}{digits}")
        found = phonenumbers.is_possible_number_with_reason(number)
    except phonenumbers.NumberParseException:
        found = possible.INVALID_LENGTH
    if found not in (possible.IS_POSSIBLE, possible.IS_POSSIBLE_LOCAL_ONLY):
        detail = f"no number of +{code} has that many digits; leave +{code} out of it"
        raise InvalidInput("phone_impossible", detail)


def vat_id(value: object) -> str:
    """Read a VAT number of the European Union with its country's two letters, kept as it is sent.

    Raises InvalidInput.
    """
    from stdnum.eu import vat  # noqa: PLC0415 - 5 MiB, seldom needed

    sent = values.text(value)
    compact = "".join(sent.split()).replace("-", "").replace(".", "")
    if len(compact) > TAX_ID_LENGTH_MAX or not compact[:2].isalpha() or not vat.is_valid(compact):
        detail = "is no VAT number of the European Union, as DE136695976; others stay in tax ids"
        raise InvalidInput("vat_id_malformed", detail)
    return sent


_STATES_KNOWN: Final = frozenset({"US", "CA", "AU"})
"""Countries whose states have one name each, in English, that ISO 3166-2 has, too. Of others people
write names that it lacks: Bavaria, County Cork, Tokyo-to."""


def state_hint(country: str, state: str) -> str | None:
    """Return what is odd about a state, None where it is one of its country, or nobody can tell.

    country: as `values.country` takes it. state: a name, or its code, with or without the
    country's. Addresses are for people, so what is odd is told and kept, and not refused.
    """
    code = values.country_code(country)
    if code not in _STATES_KNOWN:
        return None
    import pycountry  # noqa: PLC0415 - 7 MiB, seldom needed

    known = {
        _plain(way): one.name
        for one in pycountry.subdivisions
        if one.country_code == code
        for way in (one.name, one.code, one.code.partition("-")[2])
    }
    if _plain(state) in known:
        return None
    nearest = get_close_matches(_plain(state)[:64], known, n=1)
    hint = f"; did you mean {known[nearest[0]]!r}?" if nearest else ""
    return f"is no state or territory of {country}{hint}"


def _plain(text: str) -> str:
    """Return a text without accents and case."""
    apart = unicodedata.normalize("NFKD", text.strip()).casefold()
    return "".join(c for c in apart if not unicodedata.combining(c))


def check_tax_id(country: str | None, tax_id: str) -> None:
    """Refuse what can't be a tax id. Raises InvalidInput.

    country: an English name or an ISO code, as `values.country` takes them. A number of the United
    States has nine digits; one that begins as a VAT number of the European Union does is judged as
    one, with its check digits. Others are numbers of registers that nobody can know all of.
    """
    from stdnum.eu import vat  # noqa: PLC0415 - 5 MiB, seldom needed
    from stdnum.us import tin  # noqa: PLC0415 - so is this

    code = values.country_code(country) if country is not None else None
    compact = "".join(tax_id.split()).replace("-", "").upper()
    if len(compact) > TAX_ID_LENGTH_MAX:
        raise InvalidInput("tax_id_malformed", f"must have at most {TAX_ID_LENGTH_MAX} characters")
    is_nine_digits = len(compact) == 9 and compact.isascii() and compact.isdecimal()  # noqa: PLR2004
    if code == "US" and not (is_nine_digits or tin.is_valid(tax_id)):
        detail = "is no tax id of the United States: they have nine digits, as 12-3456789"
        raise InvalidInput("tax_id_malformed", detail)
    prefix = "GR" if compact[:2] == "EL" else compact[:2]
    is_vat = prefix == code and prefix.lower() in vat.MEMBER_STATES and compact[2:3].isalnum()
    if is_vat and any(c.isdecimal() for c in compact) and not vat.is_valid(compact):
        detail = f"is no VAT number of {code}: its form or its check digits are wrong"
        raise InvalidInput("tax_id_malformed", detail)
