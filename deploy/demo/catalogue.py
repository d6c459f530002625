"""What the demonstration sells: three meters, one product, eight customers, as API requests.

The figures are small enough to be recomputed by hand from the printed tiers.
"""

from collections.abc import Mapping
from typing import Any

from deploy.demo.sample import CUSTOMERS

PERIOD_START, PERIOD_END = "2026-10-01", "2026-10-31"
CONTRACT_END = "2027-09-30"
TAX_PERCENT = "21"
#: Signs its contract only after it has used the service: its usage is rated by a back-fill.
LATE_CUSTOMER = "Harbour Labs"

METERS: tuple[Mapping[str, str], ...] = (
    {"name": "API calls", "unit": "calls", "aggregation": "SUM"},
    {"name": "Storage GB-hours", "unit": "GB-hours", "aggregation": "SUM"},
    {"name": "Messages", "unit": "messages", "aggregation": "COUNT"},
)


ENTITY: Mapping[str, Any] = {
    "name": "Atlas Cloud",
    "legal_name": "Atlas Cloud Ltd",
    "email": "billing@atlas.example",
    "registration_number": "IE 1234567",
    "country": "Ireland",
    "city": "Dublin",
    "address": "7 Sample Street",
    "zip_code": "D02 XY45",
    "timezone": "Europe/Dublin",
    "currency": "USD",
    "net_terms": 30,
    "document_number_format": "ATLAS-{year}-{number:03}",
}


def product(meter_refs: Mapping[str, str]) -> dict[str, Any]:
    """Return the request that makes the product, its prices in strings: exact everywhere."""
    return {
        "product_name": "Atlas Platform",
        "pricing_name": "Pay as you go",
        "publish": True,
        "line_items": [
            {"item": "Platform fee", "model": "FLAT", "price": "490.00", "quantity": "1"},
            {
                "item": "API calls",
                "model": "GRADUATED",
                "usage_product_ref": meter_refs["API calls"],
                "tiers": [
                    {"up_to": "50000", "unit_price": "0.004", "flat_fee": "0"},
                    {"up_to": "250000", "unit_price": "0.0032", "flat_fee": "0"},
                    {"up_to": None, "unit_price": "0.0025", "flat_fee": "0"},
                ],
            },
            {
                "item": "Storage",
                "model": "PER_UNIT",
                "usage_product_ref": meter_refs["Storage GB-hours"],
                "price": "0.000045",
            },
            {
                "item": "Messages",
                "model": "PER_UNIT",
                "usage_product_ref": meter_refs["Messages"],
                "price": "0.0075",
            },
        ],
    }


def customer(name: str, entity_ref: str) -> dict[str, Any]:
    """Return the request that makes a customer of an entity."""
    slug = name.split(maxsplit=1)[0].lower()
    return {
        "name": name,
        "legal_name": f"{name} Ltd",
        "email": f"ap@{slug}.example",
        "entity_ref": entity_ref,
        "country": "Ireland",
        "city": "Dublin",
        "billing_address": "1 Example Quay",
        "currency": "USD",
        "net_terms": 30,
    }


def contract(customer_ref: str, pricing_ref: str) -> dict[str, Any]:
    """Return the request that makes a monthly contract over all line items."""
    return {
        "customer_ref": customer_ref,
        "po_number": "PO-2026-10",
        "closing": "MANUAL",
        "products": [
            {
                "product_pricing_ref": pricing_ref,
                "billing_start_date": PERIOD_START,
                "billing_end_date": CONTRACT_END,
                "billing_cycle": {"unit": "MONTHLY", "cycle": 1},
                "issue_day": "2026-11-01",
                "payment_time": "AFTER_USE",
                "tax": TAX_PERCENT,
            }
        ],
    }


def customer_names() -> list[str]:
    """Return the customers of the sample, the busiest first."""
    return [name for name, _, _ in CUSTOMERS]
