"""What a format makes of a sample: field by field, and the whole as it would be taken."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Raw

from gateway.formats.known import KnownFormat
from gateway.formats.mapping import Mapper, told, within
from gateway.ingest.events import Ingest
from gateway.ingest.parsing import ParsedEvent, parse_single
from gateway.ingest.single_answer import number_json
from gateway.ingest.validation import name_warnings
from gateway.tenant import Tenant
from schemas.errors import InvalidInput, Problem
from schemas.formats import Made
from schemas.formats_source import read_source

EVENT: Final = "/event"
"""Where the event stands in a request."""


async def try_format(
    ingest: Ingest, tenant_id: int, definition: str | None, sent: bytes
) -> dict[str, Any]:
    """Return what becomes of a sample; nothing is published.

    `values` is what each rule gives. `event` is the event as it would be taken, null where it would
    be refused; then `errors` says why, by pointers into the request. Raises TransientError.
    """
    tenant = ingest.reference.tenants[tenant_id]
    rules = KnownFormat("", definition).rules
    mapper = None if rules is None else Mapper(rules, tenant)
    if mapper is None:
        made = Made(dict(read_source(sent).fields), [])
    else:
        made = await mapper.make(sent, ingest.reference)
    event: dict[str, Any] | None = None
    errors: Sequence[Problem] = made.problems
    warnings: Sequence[Problem] = ()
    if not errors:
        try:
            parsed, warnings = parse_single(msgspec.json.encode(made.fields), is_strict=False)
            await ingest.judge(parsed, tenant)
            warnings = [*warnings, *name_warnings(parsed, tenant)]
            event = _understood(parsed, tenant)
        except InvalidInput as error:
            errors = told(mapper, error.problems)
    return {
        "values": made.fields,
        "event": event,
        "errors": within(EVENT, errors),
        "warnings": within(EVENT, told(mapper, warnings)),
    }


def _understood(parsed: ParsedEvent, tenant: Tenant) -> dict[str, Any]:
    return {
        "timestamp": parsed.timestamp,
        "customer_ref": parsed.customer_ref,
        "customer_name": Raw(tenant.customers[parsed.customer_ref].name_json.encode()),
        "usage_product_ref": parsed.usage_product_ref,
        "usage_product_name": Raw(tenant.meters[parsed.usage_product_ref].name_json.encode()),
        "quantity": Raw(number_json(parsed).encode()),
        "additional_report_data": Raw((parsed.additional_data or "null").encode()),
        "validations": Raw((parsed.validations or "null").encode()),
        "idempotency_key": parsed.idempotency_key,
    }
