"""The two parties of a document and how it is paid, from the snapshot that it keeps.

The snapshot is what people entered, so nothing in it is relied upon: what is missing is left out.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec
from babel import Locale

from invoicer.delivery import words

_ACCOUNT_LABELS: Final = {
    "account_name": "Account holder",
    "bank_name": "Bank",
    "iban": "IBAN",
    "swift": "BIC / SWIFT",
    "account": "Account number",
    "routing": "Routing number",
    "bank_code": "Bank code",
    "branch": "Branch",
    "address": "Bank address",
}


ACCENT: Final = "#1f4e79"
_is_colour: Final = re.compile(r"#[0-9a-f]{6}").fullmatch


class Party(msgspec.Struct, frozen=True):
    """A name and the lines below it."""

    name: str
    lines: tuple[str, ...]


def entity_party(entity: Mapping[str, Any]) -> Party:
    """Return who issues the document."""
    lines = [*_address(entity, "address"), *_contact(entity)]
    if registration := _text(entity.get("registration_number")):
        lines.append(words.say("Registration no. {number}", number=registration))
    if vat_id := _text(entity.get("vat_id")):
        lines.append(words.say("VAT no. {number}", number=vat_id))
    return _party(entity, lines)


def customer_party(customer: Mapping[str, Any]) -> Party:
    """Return whom the document is for."""
    lines = [*_address(customer, "billing_address"), *_contact(customer)]
    if tax_number := _text(customer.get("ein")):
        lines.append(words.say("Tax no. {number}", number=tax_number))
    return _party(customer, lines)


def accent_colour(parties: Mapping[str, Any]) -> str:
    """Return the entity's colour as #rrggbb, else the house's."""
    colour = _text(_object(parties, "entity").get("accent_colour"))
    return colour if _is_colour(colour) else ACCENT


def document_locale(parties: Mapping[str, Any]) -> Locale:
    """Return how numbers, dates and labels are written: the customer's way, else the entity's."""
    for party in ("customer", "entity"):
        if found := words.find_locale(_text(_object(parties, party).get("locale"))):
            return found
    return words.ENGLISH


def _party(party: Mapping[str, Any], lines: Iterable[str]) -> Party:
    name = _text(party.get("legal_name")) or _text(party.get("name"))
    return Party(words.entered(name), tuple(map(words.entered, lines)))


def _address(party: Mapping[str, Any], street: str) -> Iterator[str]:
    yield from filter(None, map(str.strip, _text(party.get(street)).splitlines()))
    town = " ".join(filter(None, (_text(party.get("zip_code")), _text(party.get("city")))))
    region = ", ".join(
        filter(None, (_text(party.get("country_state")), _text(party.get("country"))))
    )
    yield from filter(None, (town, region))


def _contact(party: Mapping[str, Any]) -> Iterator[str]:
    phone = party.get("phone")
    if isinstance(phone, Mapping):
        code = _text(phone.get("countryCode") or phone.get("country_code"))
        number = _text(phone.get("phone"))
        phone = f"+{code} {number}" if code and number else number
    yield from filter(None, (_text(party.get("email")), _text(phone)))


def payment_details(parties: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield label and value of each way to pay: the account named, else the entity's first."""
    if _object(parties, "billing_online_payment_details").get("auto_charge") is True:
        yield words.say("Card"), words.say("The amount is charged to your card on file.")
    account = chosen_account(parties)
    for field, label in _ACCOUNT_LABELS.items():
        if value := _text(account.get(field)):
            yield words.say(label), words.entered(value)
    crypto = _object(parties, "billing_crypto_details")
    if address := _text(crypto.get("address")):
        tokens = crypto.get("tokens")
        names = ", ".join(map(_text, tokens)) if isinstance(tokens, list) else ""
        yield (
            words.say("Crypto ({tokens})", tokens=names) if names else words.say("Crypto"),
            address,
        )


def chosen_account(parties: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the issuer's bank account that is to be paid to; empty when there is none."""
    wanted = _object(parties, "billing_bank_transfer_details").get("billing_account_id")
    details = _object(_object(parties, "entity"), "billing_details")
    accounts = details.get("billing_accounts")
    if not isinstance(accounts, list):
        return {}
    known = [account for account in accounts if isinstance(account, Mapping)]
    for account in known:
        if wanted is not None and account.get("billing_account_id") == wanted:
            return account
    return known[0] if known else {}


def _object(parent: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = parent.get(name)
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str:
    return "" if value is None else str(value).strip()
