"""Parts that several resources share, as the API shows them and as `details` columns keep them."""

from collections.abc import Sequence
from typing import Final
from uuid import uuid4

import msgspec
from msgspec import Struct, field

from gateway.manage import registries, values
from gateway.manage.body import Fields
from schemas.errors import InvalidInput

_ACCOUNT_PLACE: Final = "/billing_bank_transfer_details/billing_account_id"
_GATEWAY_PLACE: Final = "/billing_online_payment_details/payment_gateway_id"


class Phone(Struct, frozen=True):
    """A telephone number; country_code without a plus sign."""

    phone: str
    country_code: str | None = field(name="countryCode", default=None)


class BankTransfer(Struct, frozen=True):
    """Payment by wire to one of the entity's accounts."""

    billing_account_id: str


class OnlinePayment(Struct, frozen=True):
    """Payment through one of the entity's gateways."""

    auto_charge: bool
    payment_gateway_id: str | None
    payment_gateway_card_id: str | None


class CryptoPayment(Struct, frozen=True):
    """Payment to an address in one of some tokens."""

    address: str
    tokens: tuple[str, ...]


class PaymentDetails(Struct, frozen=True, omit_defaults=True):
    """How somebody pays; each way may be left out."""

    billing_bank_transfer_details: BankTransfer | None = None
    billing_online_payment_details: OnlinePayment | None = None
    billing_crypto_details: CryptoPayment | None = None

    def over(self, other: "PaymentDetails") -> "PaymentDetails":
        """Return these details, with what they leave out taken from others."""
        return PaymentDetails(
            self.billing_bank_transfer_details or other.billing_bank_transfer_details,
            self.billing_online_payment_details or other.billing_online_payment_details,
            self.billing_crypto_details or other.billing_crypto_details,
        )


class BillingAccount(Struct, frozen=True):
    """A bank account of an entity; the texts are shown as they are."""

    billing_account_id: str
    bank_name: str | None
    bank_code: str | None
    branch: str | None
    account: str | None
    account_name: str | None
    iban: str | None
    swift: str | None
    routing: str | None
    address: str | None


class PaymentGateway(Struct, frozen=True):
    """A payment provider's account of an entity."""

    payment_gateway_id: str
    provider: str
    payment_gateway_card_id: str | None
    account_name: str | None


class BillingDetails(Struct, frozen=True):
    """Where an entity is paid."""

    billing_accounts: tuple[BillingAccount, ...] = ()
    payment_gateways: tuple[PaymentGateway, ...] = ()


def encode_details(details: Struct) -> str:
    """Write the JSON of a `details` column."""
    return msgspec.json.encode(details).decode()


def _phone_digits(value: object) -> str:
    digits = values.text(value)
    if not (digits.isascii() and digits.isdecimal() and 7 <= len(digits) <= 20):  # noqa: PLR2004
        raise InvalidInput("phone_malformed", "must have 7 to 20 digits")
    return digits


def _country_code(value: object) -> str:
    digits = values.text(value)
    if not (digits.isascii() and digits.isdecimal() and 1 <= len(digits) <= 4):  # noqa: PLR2004
        raise InvalidInput("country_code_malformed", "must have 1 to 4 digits")
    registries.check_country_code(digits)
    return digits


def read_state(fields: Fields, country: str | None) -> str | None:
    """Read a state; one that its country does not have is a warning."""
    state = fields.optional(values.text, "country_state")
    if state is None or country is None:
        return state
    if hint := registries.state_hint(country, state):
        fields.warn("country_state_unknown", hint, "country_state")
    return state


def read_phone(fields: Fields) -> Phone | None:
    """Read `phone`: an object, or a bare number beside `country_code`."""
    outer_code = fields.optional(_country_code, "country_code", "countryCode")
    if not fields.has("phone"):
        return None
    sent, inner = fields.values["phone"], None
    if isinstance(sent, dict) or (isinstance(sent, str) and sent.lstrip().startswith("{")):
        inner = fields.nested("phone")
        if inner is None:
            return None
        code = inner.optional(_country_code, "countryCode", "country_code") or outer_code
    else:
        code = outer_code
    place = inner or fields
    digits = place.required(_phone_digits, "phone")
    if code and digits:
        place.check("phone", lambda: registries.check_phone(code, digits))
    return Phone(digits, code)


def read_payment_details(fields: Fields) -> PaymentDetails:
    """Read the three ways to pay."""
    return PaymentDetails(
        _read_bank_transfer(fields.nested("billing_bank_transfer_details")),
        _read_online_payment(fields.nested("billing_online_payment_details")),
        _read_crypto_payment(fields.nested("billing_crypto_details")),
    )


def _read_bank_transfer(fields: Fields | None) -> BankTransfer | None:
    if fields is None or not fields.values:
        return None
    return BankTransfer(fields.required(values.text, "billing_account_id"))


def _read_online_payment(fields: Fields | None) -> OnlinePayment | None:
    if fields is None or not fields.values:
        return None
    return OnlinePayment(
        fields.optional(values.flag, "auto_charge") or False,
        fields.optional(values.text, "payment_gateway_id"),
        fields.optional(values.text, "payment_gateway_card_id"),
    )


def _read_crypto_payment(fields: Fields | None) -> CryptoPayment | None:
    if fields is None or not fields.values:
        return None
    return CryptoPayment(
        fields.required(values.text, "address"), fields.optional(_tokens, "tokens") or ()
    )


def _tokens(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > 100:  # noqa: PLR2004
        raise InvalidInput("type_list", "must be a list of at most 100 texts")
    return tuple(values.text(item) for item in value)


def read_billing_details(fields: Fields | None) -> BillingDetails:
    """Read where an entity is paid; accounts and gateways without an id get one."""
    if fields is None:
        return BillingDetails()
    accounts, gateways = (
        fields.each("billing_accounts") or (),
        fields.each("payment_gateways") or (),
    )
    details = BillingDetails(
        tuple(_read_account(account) for account in accounts),
        tuple(_read_gateway(gateway) for gateway in gateways),
    )
    account_ids = [account.billing_account_id for account in details.billing_accounts]
    gateway_ids = [gateway.payment_gateway_id for gateway in details.payment_gateways]
    _refuse_twice(accounts, account_ids, "billing_account_id")
    _refuse_twice(gateways, gateway_ids, "payment_gateway_id")
    return details


def _refuse_twice(places: Sequence[Fields], ids: Sequence[str], name: str) -> None:
    """Note each id that an earlier one has: who refers to it must know which is meant."""
    for index, (place, own) in enumerate(zip(places, ids, strict=True)):
        if own in ids[:index]:
            place.add("id_repeated", "is the id of an earlier one: give each its own", name)


def check_ways_to_pay(
    fields: Fields, payment: PaymentDetails, billing_details: BillingDetails, entity_name: str
) -> None:
    """Note the accounts and gateways that a body names and the entity does not have.

    fields: of the object that holds the payment details.
    """
    bank, online = payment.billing_bank_transfer_details, payment.billing_online_payment_details
    accounts = {account.billing_account_id for account in billing_details.billing_accounts}
    gateways = {gateway.payment_gateway_id for gateway in billing_details.payment_gateways}
    account = bank.billing_account_id if bank is not None else None
    gateway = online.payment_gateway_id if online is not None else None
    for named, known, code, place in (
        (account, accounts, "billing_account_unknown", _ACCOUNT_PLACE),
        (gateway, gateways, "payment_gateway_unknown", _GATEWAY_PLACE),
    ):
        pointer = fields.pointer + place
        is_noted = any(problem.pointer == pointer for problem in fields.body.problems)
        if named is not None and named not in known and not is_noted:
            detail = f"names none of the entity {entity_name!r}: add it there first"
            fields.body.add(code, detail, pointer)


def _read_account(fields: Fields) -> BillingAccount:
    readers = {"iban": registries.iban, "swift": registries.swift}
    texts = {
        name: fields.optional(readers.get(name, values.text), name)
        for name in BillingAccount.__struct_fields__
        if name != "billing_account_id"
    }
    account_id = fields.optional(values.text, "billing_account_id") or str(uuid4())
    return BillingAccount(account_id, **texts)


def _read_gateway(fields: Fields) -> PaymentGateway:
    return PaymentGateway(
        fields.optional(values.text, "payment_gateway_id") or str(uuid4()),
        fields.optional(values.choice("STRIPE"), "provider") or "STRIPE",
        fields.optional(values.text, "payment_gateway_card_id"),
        fields.optional(values.text, "account_name"),
    )
