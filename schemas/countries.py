"""Countries by whatever people call them. Pure; names are those of CLDR."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from babel import Locale
from babel.core import get_global

_NO_COUNTRIES: Final = frozenset({"XA", "XB", "ZZ", "EU", "EZ", "UN", "QO"})


@lru_cache(maxsize=1)
def country_codes() -> Mapping[str, str]:
    """Return the ISO 3166 code of every way to name a country, case folded.

    ISO's old and longer codes too. CLDR has one name a country; the others here are those that
    people write most.
    """
    names = {
        code: english
        for code, english in Locale("en").territories.items()
        if code.isalpha() and code not in _NO_COUNTRIES
    }
    old_and_longer = {
        code: successors[0]
        for code, successors in get_global("territory_aliases").items()
        if code.isalpha() and successors[0] in names
    }
    spoken = {
        "United States of America": "US",
        "Great Britain": "GB",
        "Czech Republic": "CZ",
        "Turkey": "TR",
    }
    plain = {english.replace("&", "and"): code for code, english in names.items()}
    whole = {english: code for code, english in names.items()}
    every = old_and_longer | spoken | plain | whole | {code: code for code in names}
    return {way.casefold(): code for way, code in every.items()}


def find_country(named: str) -> str | None:
    """Return the code of what somebody calls a country, None where nobody does."""
    return country_codes().get(named.strip().casefold())
