"""Whether an event that could be read may be taken: known refs, a sane time. Pure.

What it returns is ready to be published: the record, and what its ref is made of.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec

from gateway.coverage import Coverage
from gateway.ingest.parsing import ParsedEvent, decode_validations
from gateway.names import Names, folded
from gateway.tenant import Customer, Tenant
from schemas.errors import InvalidInput, InvalidUsageEvent, Problem
from schemas.event_ref import (
    canonical_ref,
    key_digest,
    keyed_event_ref_text,
    month_index,
    place_digest,
)
from schemas.usage_event import RECORD_BYTES_MAX, check_time, encode_record, read_quantity

Kind = Literal["customer", "usage_product"]


class AcceptedEvent(msgspec.Struct, gc=False):
    """An event that may be published, and what its ref is made of.

    digest: of its key, None when its place in the log will name it.
    """

    customer: Customer
    month: int
    digest: int | None
    record: bytes

    def ref_at(self, log_id: str, partition: int, offset: int) -> str:
        """Return the event's ref, now that its place in the log is known."""
        digest = self.digest
        if digest is None:
            digest = place_digest(log_id, partition, offset)
        customer = self.customer
        return keyed_event_ref_text(self.month, customer.shard_key, customer.tenant_bits, digest)


def accept_event(
    event: ParsedEvent, tenant: Tenant, *, now_micros: int, ahead_max_micros: int
) -> AcceptedEvent:
    """Check an event against the tenant's reference data and the clock.

    Raises InvalidUsageEvent with everything that is wrong.
    """
    customer = tenant.customers.get(event.customer_ref)
    if customer is None or event.usage_product_ref not in tenant.meters:
        raise InvalidUsageEvent.of(_problems(event, tenant, now_micros, ahead_max_micros))
    earliest = tenant.earliest(now_micros)
    check_time(event.occurred_at_micros, now_micros, ahead_max_micros, earliest=earliest)
    if event.usage_product_ref in tenant.computed:
        _check_formula(event, tenant)
    if event.validations is not None:
        _check_document(event, event.validations, tenant)
    return accepted(event, customer, tenant)


def accepted(event: ParsedEvent, customer: Customer, tenant: Tenant) -> AcceptedEvent:
    """Write the record of an event that was judged. Raises InvalidUsageEvent for too long a one."""
    key = event.idempotency_key
    record = encode_record(
        tenant_ref=tenant.tenant_ref,
        customer_ref=event.customer_ref,
        usage_product_ref=event.usage_product_ref,
        timestamp=event.timestamp,
        quantity=event.quantity_json,
        additional_data=event.additional_data,
        idempotency_key=key,
    )
    if len(record) > RECORD_BYTES_MAX:
        raise InvalidUsageEvent("event_too_large", f"must be at most {RECORD_BYTES_MAX} bytes")
    digest = None if key is None else key_digest(tenant.tenant_ref, event.customer_ref, key)
    return AcceptedEvent(customer, month_index(event.occurred_at_micros), digest, record)


def _check_formula(event: ParsedEvent, tenant: Tenant) -> None:
    """Refuse an event that its meter's formula has no value for."""
    formula = tenant.meters[event.usage_product_ref].formula
    if formula is not None:
        formula.billable(read_quantity(event.quantity_json.encode()), event.additional_data)


def _check_document(event: ParsedEvent, validations: str, tenant: Tenant) -> None:
    """Refuse an event whose document would not be what its sender wants it to be.

    Without a contract that covers it there is no document yet, and nothing that could differ.
    """
    found = expected(event, tenant)
    if found is None:
        return
    coverage, _ = found
    wanted = decode_validations(validations)
    problems: list[Problem] = []
    if wanted.currency and wanted.currency.upper() != coverage.currency:
        detail = f"the document it would be billed on is in {coverage.currency}"
        problems.append(Problem("document_differs", detail, "/validations/currency"))
    if wanted.entity_ref and canonical_ref(wanted.entity_ref) != coverage.entity_ref:
        detail = f"the document it would be billed on is of the entity {coverage.entity_ref}"
        problems.append(Problem("document_differs", detail, "/validations/entity_ref"))
    if problems:
        raise InvalidUsageEvent.of(problems)


def expected(event: ParsedEvent, tenant: Tenant) -> tuple[Coverage, str] | None:
    """Return the contract product that covers an event, and its document's ref."""
    return tenant.covering(event.customer_ref, event.usage_product_ref, event.occurred_at_micros)


def knows_refs(event: ParsedEvent, tenant: Tenant) -> bool:
    """Tell whether memory has the event's customer and meter."""
    return event.customer_ref in tenant.customers and event.usage_product_ref in tenant.meters


def _problems(
    event: ParsedEvent, tenant: Tenant, now_micros: int, ahead_max_micros: int
) -> list[Problem]:
    problems: list[Problem] = []
    try:
        earliest = tenant.earliest(now_micros)
        check_time(event.occurred_at_micros, now_micros, ahead_max_micros, earliest=earliest)
    except InvalidInput as error:
        problems.extend(error.problems)
    if event.customer_ref not in tenant.customers:
        problems.append(_unknown("customer", event.customer_ref, event.customer_name, tenant))
    if event.usage_product_ref not in tenant.meters:
        name = event.usage_product_name
        problems.append(_unknown("usage_product", event.usage_product_ref, name, tenant))
    return problems


def _unknown(kind: Kind, ref: str, name: str | None, tenant: Tenant) -> Problem:
    """Say that memory has no such ref, or not exactly one of that name."""
    words = kind.replace("_", " ")
    if ref or name is None:
        return Problem(f"{kind}_unknown", f"no {words} has this ref", f"/{kind}_ref")
    if _names(tenant, kind).find(name):
        detail = f"several {words}s have this name: send a ref"
        return Problem(f"{kind}_name_ambiguous", detail, f"/{kind}_name")
    return Problem(f"{kind}_name_unknown", f"no {words} has this name", f"/{kind}_name")


def _names(tenant: Tenant, kind: Kind) -> Names:
    return tenant.customer_names if kind == "customer" else tenant.meter_names


def find_by_name(event: ParsedEvent, tenant: Tenant) -> bool:
    """Fill in the refs of what an event only names; tell whether it has both then."""
    if not event.customer_ref and event.customer_name is not None:
        event.customer_ref = _only(tenant.customer_names.find(event.customer_name))
    if not event.usage_product_ref and event.usage_product_name is not None:
        event.usage_product_ref = _only(tenant.meter_names.find(event.usage_product_name))
    return bool(event.customer_ref and event.usage_product_ref)


def _only(refs: Sequence[str]) -> str:
    return refs[0] if len(refs) == 1 else ""


def name_warnings(event: ParsedEvent, tenant: Tenant) -> list[Problem]:
    """Say which names of an accepted event are not those of its refs, which count."""
    warnings: list[Problem] = []
    if event.customer_name:
        known = tenant.customers[event.customer_ref].name_json
        warnings += _differing("customer", event.customer_name, known)
    if event.usage_product_name:
        known = tenant.meters[event.usage_product_ref].name_json
        warnings += _differing("usage_product", event.usage_product_name, known)
    return warnings


def _differing(kind: Kind, sent: str, name_json: str) -> list[Problem]:
    if folded(sent) == folded(msgspec.json.decode(name_json, type=str)):
        return []
    detail = f"is not the name that {kind}_ref has; the ref counts"
    return [Problem("name_differs", detail, f"/{kind}_name")]
