"""What tests sell: a meter, a product with every model, a customer and a contract, over HTTP."""

from dataclasses import dataclass
from typing import Any

from tests.integration.manage.clients import Client

TIERS = [
    {"up_to": 100, "unit_price": "10", "flat_fee": 5},
    {"up_to": None, "unit_price": "9.5"},
]


@dataclass(frozen=True)
class Shop:
    """The refs of what was made."""

    meter_ref: str
    pricing_ref: str
    line_refs: dict[str, str]
    customer_ref: str


def make_shop(client: Client, **customer: object) -> Shop:
    """Make a meter, a published product of three line items, and a customer."""
    meter_ref = client.ok("POST", "/api/usage/products", {"name": "Units"})["usage_product_ref"]
    product = client.ok("POST", "/api/products", product_body(meter_ref))
    body = {"name": "Northwind", "email": "ap@northwind.example", **customer}
    return Shop(
        meter_ref=meter_ref,
        pricing_ref=product["pricing_ref"],
        line_refs={line["item"]: line["line_item_ref"] for line in product["line_items"]},
        customer_ref=client.ok("POST", "/api/customers", body)["customer_ref"],
    )


def product_body(meter_ref: str, **changes: object) -> dict[str, Any]:
    """Return a request for a product with one line item of each model."""
    body = {
        "product_name": "Platform",
        "pricing_name": "Plans",
        "publish": True,
        "line_items": [
            {"item": "Seats", "model": "FLAT", "price": "3000", "quantity": 2},
            {
                "item": "Calls",
                "model": "PER_UNIT",
                "price": "0.0040",
                "usage_product_ref": meter_ref,
            },
            {"item": "Units", "model": "GRADUATED", "tiers": TIERS, "usage_product_ref": meter_ref},
        ],
    }
    return body | changes


def contract_body(shop: Shop, **product: object) -> dict[str, Any]:
    """Return a request for a contract over all line items in 2023."""
    terms = {
        "product_pricing_ref": shop.pricing_ref,
        "billing_start_date": "2023-01-01",
        "billing_end_date": "2023-12-31",
    }
    return {"customer_ref": shop.customer_ref, "products": [terms | product]}
