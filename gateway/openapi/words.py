"""What fields mean, in the description of the API; and schemas where no reader tells them."""

from collections.abc import Mapping
from typing import Any, Final

from schemas.aggregation import AGGREGATIONS
from schemas.price import MODELS
from schemas.simulation import CASES_MAX, EVENTS_MAX

_DIGITS: Final = {"type": ["string", "integer"], "pattern": "^[0-9]+$"}
_PHONE: Final = {
    "anyOf": [
        {
            "type": "object",
            "properties": {
                "countryCode": {**_DIGITS, "maxLength": 4},
                "phone": {**_DIGITS, "minLength": 7, "maxLength": 20},
            },
            "required": ["phone"],
        },
        {**_DIGITS, "minLength": 7, "maxLength": 20},
    ]
}
_PAYMENT_TIMES: Final = [
    f"{when}_{what}" for what in ("USE", "PERIOD") for when in ("BEFORE", "DURING", "AFTER")
]
_DECIMAL: Final = {"type": ["number", "string"]}
_OPEN_DECIMAL: Final = {"type": ["number", "string", "null"]}
_TIERS: Final = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "properties": {
            "up_to": _OPEN_DECIMAL,
            "unit_price": _DECIMAL,
            "rate": _DECIMAL,
            "flat_fee": _DECIMAL,
        },
    },
}
_TEXTS: Final = {"type": "array", "minItems": 1, "maxItems": 2, "items": {"type": "string"}}
_CELLS: Final = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "properties": {"values": _TEXTS, "unit_price": _DECIMAL},
        "required": ["values", "unit_price"],
    },
}
LINE_ITEM: Final = {
    "type": "object",
    "description": "A line item: what is sold, and its price by a model.",
    "properties": {
        "item": {"type": "string", "minLength": 1, "maxLength": 255},
        "usage_product_ref": {"type": "string", "format": "uuid"},
        "model": {"type": "string", "enum": list(MODELS)},
        "price": _DECIMAL,
        "quantity": _DECIMAL,
        "recurring": {"type": "boolean"},
        "tiers": _TIERS,
        "package_size": _DECIMAL,
        "package_rounding": {"enum": ["UP", "DOWN"], "default": "UP"},
        "rate": {**_DECIMAL, "description": "Percent."},
        "fixed_fee": _DECIMAL,
        "minimum_per_event": _DECIMAL,
        "maximum_per_event": _DECIMAL,
        "included_events": {"type": ["integer", "string"]},
        "dimensions": _TEXTS,
        "cells": _CELLS,
        "expression": {"type": "string", "examples": ["max(q - 1000, 0) * 0.02"]},
        "included_quantity": _DECIMAL,
        "minimum_fee": _DECIMAL,
        "maximum_fee": _DECIMAL,
        "discount": {**_DECIMAL, "minimum": 0, "maximum": 100},
        "currency": {"type": "string", "pattern": "^[A-Z]{3}$"},
    },
    "required": ["item", "model"],
}


_TEXT_OR_NULL: Final = {"type": ["string", "null"]}


def _rule(**more: object) -> dict[str, Any]:
    """Return the schema of a format's rule. more: what it may say besides."""
    return {
        "type": ["object", "null"],
        "description": "Where it comes from: exactly one of a path, a constant and an expression.",
        "properties": {
            "path": {**_TEXT_OR_NULL, "examples": ["usage.amount", "`Menge (kWh)`"]},
            "constant": {},
            "expression": {**_TEXT_OR_NULL, "examples": ["customer_by('external_id', account)"]},
            **more,
        },
    }


_RULE: Final = _rule()
_NUMBER_RULE: Final = _rule(factor=_OPEN_DECIMAL)
_TIME_RULE: Final = _rule(
    date_format={**_TEXT_OR_NULL, "examples": ["dd.MM.yyyy HH:mm", "EPOCH_SECONDS"]},
    timezone={**_TEXT_OR_NULL, "examples": ["Europe/Berlin"]},
)
FORMAT_FIELDS: Final = {
    "type": ["object", "string"],
    "properties": {
        "timestamp": _TIME_RULE,
        "customer_ref": _RULE,
        "customer_name": _RULE,
        "usage_product_ref": _RULE,
        "usage_product_name": _RULE,
        "quantity": _NUMBER_RULE,
        "additional_report_data": _rule(
            keys={"type": ["object", "null"], "additionalProperties": _NUMBER_RULE},
            rest={"type": ["boolean", "null"]},
        ),
        "validations": _RULE,
        "idempotency_key": _RULE,
    },
    "required": ["timestamp", "quantity"],
}

_EVENT: Final = {
    "anyOf": [
        _DECIMAL,
        {
            "type": "object",
            "properties": {"quantity": _DECIMAL, "additional_report_data": {"type": "object"}},
            "required": ["quantity"],
        },
    ]
}

SCHEMAS: Final[Mapping[str, dict[str, Any]]] = {
    "line_item": {**LINE_ITEM, "required": ["model"]},
    "quantities": {"type": "array", "minItems": 1, "maxItems": CASES_MAX, "items": _DECIMAL},
    "events": {
        "type": "array",
        "minItems": 1,
        "maxItems": EVENTS_MAX,
        "items": {"anyOf": [_EVENT, {"type": "array", "items": _EVENT}]},
    },
    "phone": _PHONE,
    "country_code": {**_DIGITS, "maxLength": 4},
    "tokens": {"type": "array", "items": {"type": "string"}, "maxItems": 100},
    "aggregation": {"enum": list(AGGREGATIONS), "default": "SUM"},
    "payment_time": {
        "enum": [
            "AFTER_USE",
            "BEFORE_USE",
            "DURING_USE",
            "AFTER_PERIOD",
            "BEFORE_PERIOD",
            "DURING_PERIOD",
        ],
        "default": "AFTER_USE",
    },
    "validations": {
        "type": ["object", "string", "null"],
        "properties": {
            "currency": {"type": ["string", "null"]},
            "entity_ref": {"type": ["string", "null"]},
        },
    },
    "customer_name": {"type": ["string", "null"]},
    "usage_product_name": {"type": ["string", "null"]},
    "fields": FORMAT_FIELDS,
    "event": {"type": ["object", "string"], "additionalProperties": True},
}
"""Fields whose readers are too much their own to tell a schema."""

WORDS: Final[Mapping[str, str]] = {
    "account": "The name of an API key, or the e-mail address of an admin.",
    "actor": "Who did it: `key <ref>`, `admin <ref>`, or `command line <user>`.",
    "address": "An address; of a block, also a network such as 203.0.113.0/24.",
    "admin": "An admin's ref or e-mail address; `me` for a password of one's own.",
    "atomic": "true: nothing is taken unless every event is good and has a key.",
    "billing_cycle": "How long a period lasts; a month unless given.",
    "billing_end_date": "The last day in force.",
    "billing_start_date": "The first day in force.",
    "review": "Whether documents of periods wait for a person's approval. INHERITED: a contract's "
    "as its entity has it, an entity's as the tenant has it.",
    "closing": "Who closes its periods: the clock, or a call. Left out: the clock, but for periods "
    "that have ended already.",
    "contract_ref": "A contract.",
    "contract_refs": "Refs, repeated or with commas between.",
    "current_password": "The caller's, when they change their own.",
    "currency": "An ISO 4217 code.",
    "cursor": "Where the page begins: `next_cursor` of the one before.",
    "customer_name": "The customer's name, where its ref is not at hand.",
    "customer_ref": "A customer.",
    "customer_refs": "Refs, repeated or with commas between.",
    "delimiter": "What stands between cells; seen by the first line unless given.",
    "discount": "Percent.",
    "document_number_format": "With {number} or {number:03}; {year} starts a series a year.",
    "email": "One address or several with commas between.",
    "entity_name": "The legal entity's name, where its ref is not at hand.",
    "entity_ref": "The legal entity that issues the documents.",
    "events": "The events of one period, or a list of such lists; their quantities alone, or with "
    "the additional data that chooses a cell.",
    "event_ref": "An event; the answer to it says its ref.",
    "event": "An event in the fields that the format knows.",
    "external_id": "Your own id of it.",
    "fields": "For each field of an event, where it comes from.",
    "format_name": "A format; case doesn't matter.",
    "format_ref": "A format, where its ref is at hand; it counts where both are given.",
    "formula": "What makes an event's billable quantity, of its quantity and additional data.",
    "from": "The first day or instant, inclusive.",
    "group_by": "A key of additional_report_data.",
    "id": "A dead letter: the partition and the offset of its record, with a dash between.",
    "include_current_invoice": "true: the running period, too; else from the next one on.",
    "invoice_mode": "Whether products may share a document.",
    "auto_renew": "Whether products go on behind their last day, by terms of the same length.",
    "invoice_ref": "A document.",
    "overrides": "Line items that this contract sells otherwise: `line_item_ref`, and each field "
    "that differs; another `model` brings all of its own.",
    "commitments": "Minimum spends, a PERIOD and over the CONTRACT: what is missing is added.",
    "credits": "Prepaid money that pays for the product after tax, the lowest priority first.",
    "over": "What is committed: each PERIOD, prorated by days, or the whole CONTRACT at its end.",
    "every": "ONCE, or anew with every PERIOD; then what is left expires but for roll_over.",
    "roll_over": "How much of what is left of a renewed credit goes into the next period.",
    "starts": "The first day that a credit is there for; the product's own unless given.",
    "expires": "The last day; the period that holds it is still paid for.",
    "priority": "The lowest is drawn first, then what expires first; 0 unless given.",
    "issue_day": "The first day of issue; bounds fall on it and on every cycle from it.",
    "limit": "The most rows of a page.",
    "line_item": "What is sold, by a model.",
    "line_items": "Which line items of the pricing; all when left out, none when empty.",
    "map": "Which column holds which field: `column:field`, with commas between, or a JSON object.",
    "minimum_fee": "The least a period costs.",
    "name": "1 to 255 printable characters.",
    "names_differing": "Names that came beside a ref and were not its own; the ref counted.",
    "net_terms": "Days until a document is due, or DUE_UPON_RECEIPT.",
    "offsets_ref": "The usage product that a CREDIT takes away from.",
    "other_columns": "What becomes of columns that are no field: refused unless given.",
    "parent_factor": "What a unit counts as toward the parent, above 0; 1 unless given.",
    "parent_ref": "The usage product that events count toward, beside their own.",
    "payment_time": "When a period is billed.",
    "pricing_ref": "A published price list; `product_pricing_ref` is another name of the field.",
    "publish": "true: it can be sold at once, and never changes again.",
    "quantities": "Each the total of one period.",
    "relation": "DEBIT adds, CREDIT takes away from the usage product in offsets_ref.",
    "rejected_kept": "Rejected rows whose cells are kept: the first 10,000, for 30 days.",
    "tax": "Percent.",
    "through": "Close the periods that end by this day.",
    "timezone": "A name of the tz database; periods begin at its midnights.",
    "to": "The last day, inclusive; or the instant before which.",
    "usage_product_name": "The meter's name, where its ref is not at hand.",
    "unique_key": "The key of additional data whose different values a UNIQUE meter counts.",
    "usage_product_ref": "What is measured: a meter.",
    "window": "How long a stretch each sum is over, in UTC.",
}
"""A sentence a field, whatever object it is in."""
