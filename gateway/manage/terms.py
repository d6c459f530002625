"""The terms of a contract: read from its body, and what they leave out taken from elsewhere. Pure.

A contract product's terms come from itself, else from the customer, else from the entity. They are
settled when the contract is made, so that nothing changes them behind the contract's back; how it
is paid stays open where it is left out, and follows the customer.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, Final, Literal, cast
from uuid import UUID

from msgspec import Struct, structs

from gateway.manage import values
from gateway.manage.body import Fields
from gateway.manage.commitments import read_commitments, read_credits
from gateway.manage.overrides import Override, read_overrides
from gateway.manage.parts import PaymentDetails, read_payment_details
from gateway.manage.values import DayOrInstant
from schemas.periods import CYCLE_MAX, CycleUnit, PaymentTime

InvoiceMode = Literal["COLLECTIVE", "PER_PRODUCT"]
Closing = Literal["AUTOMATIC", "MANUAL"]

TAX_MAX: Final = 100
DEFAULT_NET_TERMS: Final = "30"
PAYMENT_TIMES: Final[Mapping[str, PaymentTime]] = {
    "AFTER_USE": "AFTER_USE",
    "AFTER_PERIOD": "AFTER_USE",
    "BEFORE_USE": "BEFORE_USE",
    "BEFORE_PERIOD": "BEFORE_USE",
    "DURING_USE": "DURING_USE",
    "DURING_PERIOD": "DURING_USE",
}
"""When a period is billed, by all of its names."""


class BillingCycle(Struct, frozen=True):
    """How long a period lasts."""

    unit: CycleUnit = "MONTHLY"
    length: int = 1


class NewProduct(Struct, frozen=True):
    """A contract product as it is asked for; None is left to the customer or its entity.

    line_refs: None for all lines of the pricing. fields: where it stands in the body; terms: where
    its terms do, which a subscription says for all products. end: None: until it is cancelled.
    commitments, credits: as they are stored.
    """

    fields: Fields
    terms: Fields
    pricing_ref: UUID
    start: DayOrInstant
    end: DayOrInstant | None
    line_refs: tuple[UUID, ...] | None
    entity_ref: UUID | None
    cycle: BillingCycle
    issue_day: DayOrInstant | None
    tax: Decimal | None
    discount: Decimal
    net_terms: str | None
    minimum_fee: Decimal | None
    note: str | None
    payment: PaymentDetails
    commitments: str = "[]"
    credits: str = "[]"
    overrides: tuple[Override, ...] = ()
    payment_time: PaymentTime = "AFTER_USE"
    renews: bool = False


class NewContract(Struct, frozen=True):
    """A contract as it is asked for.

    closes_ended: the clock also closes the periods that have ended by now. It does when AUTOMATIC
    is said, and not where `closing` is left out: nobody is billed for the past by leaving out a
    word. is_draft: it counts for nothing until it is published. review: whether its documents wait
    for a person; INHERITED: as those of their entity do.
    """

    customer_ref: UUID
    po_number: str | None
    invoice_mode: InvoiceMode
    closing: Closing
    closes_ended: bool
    products: tuple[NewProduct, ...]
    is_draft: bool = False
    review: str = "INHERITED"


class Edit(Struct, frozen=True):
    """What a contract is to be from now on.

    includes_current: from the beginning of the running period, else from its end.
    """

    includes_current: bool
    contract: NewContract


class Dates(Struct, frozen=True):
    """When a contract product is in force, in local days; end_date is the last one, if any."""

    start_date: date
    end_date: date | None
    issue_day: date | None


class Payable(Struct, frozen=True):
    """What products must have in common to share a document."""

    entity_id: int
    currency: str
    net_terms: str
    payment: PaymentDetails


def read_contract(fields: Fields) -> NewContract:
    """Read the body of `POST /api/contracts`."""
    fields_of_products = fields.each("products")
    products = [_read_product(product) for product in fields_of_products or ()]
    return _read_contract(fields, fields.required(values.ref, "customer_ref"), products)


def read_subscription(fields: Fields) -> NewContract:
    """Read the body of `POST /api/contracts/subscriptions`: one set of terms for all products."""
    terms = _read_terms(fields, may_go_on=True)
    products = [
        NewProduct(
            fields=product,
            terms=fields,
            **_read_sold(product),
            **terms,
        )
        for product in fields.each("products") or ()
    ]
    return _read_contract(fields, fields.required(values.ref, "customer_ref"), products)


def _read_contract(
    fields: Fields, customer_ref: UUID, products: Sequence[NewProduct]
) -> NewContract:
    if fields.optional(values.flag, "auto_renew"):
        products = [_renewing(product) for product in products]
    fields.not_yet("partner_ref", "partner_fees")
    if not products:
        fields.add("required", "must list at least one product", "products")
    mode = values.choice("COLLECTIVE", "PER_PRODUCT")
    said = fields.optional(values.choice("AUTOMATIC", "MANUAL"), "closing")
    return NewContract(
        customer_ref=customer_ref,
        po_number=fields.optional(values.text, "po_number"),
        invoice_mode=fields.optional(mode, "invoice_mode") or "COLLECTIVE",  # type: ignore[arg-type]
        closing=said or "AUTOMATIC",  # type: ignore[arg-type]
        closes_ended=said is not None,
        products=tuple(products),
        is_draft=fields.optional(values.flag, "draft") or False,
        review=fields.optional(values.choice(*values.REVIEWS), "review") or "INHERITED",
    )


def _renewing(product: NewProduct) -> NewProduct:
    """Let a product renew itself; notes a problem where it can't."""
    if product.end is None:
        product.terms.add("required", "is missing: it says how long a term is", "billing_end_date")
    if product.cycle.unit == "ONE_TIME":
        detail = "can't be ONE_TIME where the contract renews itself"
        product.terms.add("not_supported_yet", detail, "billing_cycle")
    if '"CONTRACT"' in product.commitments:
        detail = "can't be over a contract that renews itself: it is over the last period alone"
        product.terms.add("not_supported_yet", detail, "commitments")
    return structs.replace(product, renews=True)


def read_publication(fields: Fields) -> UUID | None:
    """Read the body of `POST /api/contracts/publish/<contract_ref>`: the ref, once more."""
    return fields.optional(values.ref, "contract_ref")


def read_edit(fields: Fields) -> Edit:
    """Read the body of `POST /api/contracts/edit/<contract_ref>`.

    It has been filled up from the contract. What answers show beside what can be edited is taken no
    notice of.
    """
    fields.ignore("contract_number", "customer_name", "state", "created_at", "version", "history")
    fields.optional(values.ref, "contract_ref")
    customer_ref = cast("UUID", fields.optional(values.ref, "customer_ref"))
    products = [_read_product(one, may_go_on=True) for one in fields.each("products") or ()]
    return Edit(read_includes_current(fields), _read_contract(fields, customer_ref, products))


def read_cancellation(fields: Fields) -> bool:
    """Read the body of `POST /api/contracts/cancel/<contract_ref>`: what read_edit calls so."""
    fields.optional(values.ref, "contract_ref")
    return read_includes_current(fields)


def read_includes_current(fields: Fields) -> bool:
    """Read whether the running period is meant, too."""
    return fields.optional(values.flag, "include_current_invoice") or False


def _read_product(fields: Fields, *, may_go_on: bool = False) -> NewProduct:
    fields.ignore("product_name", "pricing_name", "currency", "timezone")
    fields.ignore("in_force_from", "in_force_through", "auto_renew")
    terms = _read_terms(fields, may_go_on=may_go_on)
    return NewProduct(fields=fields, terms=fields, **_read_sold(fields), **terms)


def _read_sold(fields: Fields) -> dict[str, Any]:
    """Read what is sold: the pricing, which of its lines, and what is different in them."""
    return {
        "pricing_ref": fields.required(values.ref, "pricing_ref", "product_pricing_ref"),
        "line_refs": _read_line_refs(fields),
        "overrides": read_overrides(fields),
    }


def _read_terms(fields: Fields, *, may_go_on: bool) -> dict[str, Any]:
    """Read the terms of a product. may_go_on: until it is cancelled, without a last day."""
    read_end = fields.optional if may_go_on else fields.required
    return {
        "start": fields.required(values.day_or_instant, "billing_start_date"),
        "end": read_end(values.day_or_instant, "billing_end_date"),
        "entity_ref": fields.optional(values.ref, "entity_ref"),
        "cycle": read_cycle(fields.nested("billing_cycle")),
        "issue_day": fields.optional(values.day_or_instant, "issue_day"),
        "tax": fields.optional(values.percent(TAX_MAX), "tax"),
        "discount": fields.optional(values.percent(100), "discount") or Decimal(0),
        "net_terms": fields.optional(values.net_terms(upon_usage=True), "net_terms"),
        "minimum_fee": fields.optional(values.fee, "minimum_fee"),
        "note": fields.optional(values.text, "note"),
        "payment": read_payment_details(fields),
        "commitments": read_commitments(fields),
        "credits": read_credits(fields),
        "payment_time": fields.optional(_payment_time, "payment_time") or "AFTER_USE",
    }


def _payment_time(value: object) -> PaymentTime:
    return PAYMENT_TIMES[values.choice(*PAYMENT_TIMES)(value)]


def read_cycle(fields: Fields | None) -> BillingCycle:
    """Read how long a period lasts; a month unless given."""
    if fields is None:
        return BillingCycle()
    unit = values.choice("ONE_TIME", "MONTHLY", "QUARTERLY", "YEARLY")
    return BillingCycle(
        fields.optional(unit, "unit") or "MONTHLY",  # type: ignore[arg-type]
        fields.optional(values.whole(1, CYCLE_MAX), "cycle") or 1,
    )


def _read_line_refs(fields: Fields) -> tuple[UUID, ...] | None:
    lines = fields.each("line_items")
    if lines is None:
        return None
    for line in lines:
        line.ignore("item")
    return tuple(line.required(values.ref, "line_item_ref", "line_item_id") for line in lines)


def local_dates(product: NewProduct, zone: str) -> Dates | None:
    """Return the days in force in a time zone; None, with the problem noted, when they cross."""
    fields, end, issue_day = product.terms, None, None
    start = fields.check("billing_start_date", lambda: values.day_in(product.start, zone))
    if (last := product.end) is not None:
        end = fields.check("billing_end_date", lambda: values.day_in(last, zone))
    if (when := product.issue_day) is not None:
        issue_day = fields.check("issue_day", lambda: values.day_in(when, zone))
    if start is None or (end is None and last is not None):
        return None
    if end is None and product.cycle.unit == "ONE_TIME":
        fields.add("required", "is missing: ONE_TIME needs a last day", "billing_end_date")
        return None
    if end is not None and end < start:
        fields.add("dates_crossed", "must not be before billing_start_date", "billing_end_date")
        return None
    return Dates(start, end, issue_day)


def settled_net_terms(
    product: NewProduct, customer_terms: str | None, entity_terms: str | None
) -> str:
    """Return the payment terms that hold."""
    return product.net_terms or customer_terms or entity_terms or DEFAULT_NET_TERMS


def document_groups(mode: InvoiceMode, payables: Sequence[Payable]) -> Iterator[int]:
    """Yield each product's group: products that share a document have the same."""
    groups: dict[Payable, int] = {}
    for position, payable in enumerate(payables):
        yield position if mode == "PER_PRODUCT" else groups.setdefault(payable, position)
