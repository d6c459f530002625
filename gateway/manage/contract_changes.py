"""What differs between a contract as it was shown before and after: pure.

Products are the same when they have the same pricing and the same first day, as edits match them.
"""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import msgspec

Shown = Mapping[str, Any]

_OF_OTHERS: Final = frozenset(
    {"contract_ref", "customer_ref", "customer_name", "created_at", "version", "history"}
    | {"contract_number", "products", "warnings"}
)
"""Fields of the answer that no change of the contract's terms is about."""

_OF_PRODUCTS: Final = frozenset(
    {"pricing_ref", "product_name", "pricing_name", "billing_start_date", "timezone"}
    | {"in_force_from"}
)

_decode: Final = msgspec.json.Decoder(float_hook=Decimal).decode


class Change(msgspec.Struct, frozen=True):
    """A field that differs. pointer: into the later one, or the earlier where it is gone.

    pricing_ref: of the product that it is of; None: of the contract itself.
    """

    pointer: str
    pricing_ref: str | None
    before: object
    after: object


def read_shown(text: str | bytes) -> Shown | None:
    """Read a part of an audit entry; None where it was too large and only its digest is kept."""
    shown = _decode(text)
    return None if not isinstance(shown, dict) or set(shown) == {"sha256", "bytes"} else shown


def changes_between(before: Shown, after: Shown) -> list[Change]:
    """Return every field whose value differs; a product that came or went is one change."""
    fields = [
        Change(f"/{name}", None, before.get(name), after.get(name))
        for name in dict.fromkeys([*before, *after])
        if name not in _OF_OTHERS and before.get(name) != after.get(name)
    ]
    return [*fields, *_of_products(before.get("products") or [], after.get("products") or [])]


def _of_products(olds: Sequence[Shown], news: Sequence[Shown]) -> Iterator[Change]:
    left = list(enumerate(olds))
    for place, new in enumerate(news):
        match = next((pair for pair in left if _key(pair[1]) == _key(new)), None)
        if match is None:
            yield Change(f"/products/{place}", new["pricing_ref"], None, new)
            continue
        left.remove(match)
        old = match[1]
        for name in dict.fromkeys([*old, *new]):
            if name not in _OF_PRODUCTS and old.get(name) != new.get(name):
                pointer = f"/products/{place}/{name}"
                yield Change(pointer, new["pricing_ref"], old.get(name), new.get(name))
    for place, old in left:
        yield Change(f"/products/{place}", old["pricing_ref"], old, None)


def _key(product: Shown) -> tuple[object, object]:
    return product["pricing_ref"], product["billing_start_date"]
