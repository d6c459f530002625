"""The answer to one event: the event as it was understood, and where it is."""

from collections.abc import Sequence

import msgspec

from gateway.ingest.bulk import Placed, place_json
from gateway.ingest.parsing import ParsedEvent
from gateway.ingest.validation import expected
from gateway.tenant import Tenant
from schemas.errors import Problem
from schemas.money import QUANTITY_DIGITS, scaled_to_text
from schemas.usage_event import key_json


def write_answer_to_one(
    placed: Placed,
    parsed: ParsedEvent,
    tenant: Tenant,
    warnings: Sequence[Problem],
    *,
    event_ref: str,
    topic_json: str,
    offset: int,
) -> bytes:
    """Write the answer as JSON. topic_json: the topic's name as JSON text."""
    found = expected(parsed, tenant)
    document, parent = (None, None) if found is None else found[0].documents_of(event_ref, found[1])
    text = (
        f'{{"event_ref":"{event_ref}","related_document_ref":{_ref_json(document)},'
        f'"related_document_numbers":null,"related_parent_document_ref":{_ref_json(parent)},'
        f'"related_parent_document_numbers":null,"timestamp":"{parsed.timestamp}",'
        f'"customer_ref":"{parsed.customer_ref}",'
        f'"customer_name":{placed.event.customer.name_json},'
        f'"usage_product_ref":"{parsed.usage_product_ref}",'
        f'"usage_product_name":{tenant.meters[parsed.usage_product_ref].name_json},'
        f'"quantity":{number_json(parsed)},'
        f'"additional_report_data":{parsed.additional_data or "null"},'
        f'"validations":{parsed.validations or "null"},'
        f'"idempotency_key":{_key_json(parsed.idempotency_key)},'
        f'"receipt":{{"topic":{topic_json},{place_json(placed.partition, offset)}}}'
        f"{_warnings_json(warnings)}}}"
    )
    return text.encode()


def number_json(parsed: ParsedEvent) -> str:
    """Write the quantity as a JSON number with its digits as sent, or exactly the same value."""
    if parsed.quantity_json[0] == '"':
        return scaled_to_text(parsed.quantity, QUANTITY_DIGITS)
    return parsed.quantity_json


def _ref_json(ref: str | None) -> str:
    return "null" if ref is None else f'"{ref}"'


def _key_json(key: str | None) -> str:
    return "null" if key is None else key_json(key)


def _warnings_json(warnings: Sequence[Problem]) -> str:
    return f',"warnings":{msgspec.json.encode(warnings).decode()}' if warnings else ""
