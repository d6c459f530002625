"""Customers and meters by their names, for producers that know nothing else of them."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from msgspec import Struct

PAGE: Final = 1_000

Request = Callable[..., Awaitable[Any]]


class Names(Struct, frozen=True):
    """The refs behind names, compared without case and outer space.

    A name that several have maps to None: it says nothing.
    """

    customers: Mapping[str, str | None]
    meters: Mapping[str, str | None]

    def customer_ref(self, name: str) -> str:
        """Return the ref of the customer with this name. Raises KeyError with the reason."""
        return _only(self.customers, name, "customer")

    def meter_ref(self, name: str) -> str:
        """Return the ref of the meter with this name. Raises KeyError with the reason."""
        return _only(self.meters, name, "usage product")


def _only(refs: Mapping[str, str | None], name: str, kind: str) -> str:
    folded = fold(name)
    if folded not in refs:
        raise KeyError(f"no {kind} is named {name!r}")
    ref = refs[folded]
    if ref is None:
        raise KeyError(f"more than one {kind} is named {name!r}")
    return ref


def fold(name: str) -> str:
    """Return what of a name counts."""
    return name.strip().lower()


def index(pairs: list[tuple[str, str]]) -> dict[str, str | None]:
    """Return the ref of each name; None where several share it."""
    refs: dict[str, str | None] = {}
    for name, ref in pairs:
        folded = fold(name)
        refs[folded] = None if refs.get(folded, ref) != ref else ref
    return refs


async def load_names(request: Request) -> Names:
    """Load all names, page by page."""
    return Names(index(await _customers(request)), index(await _meters(request)))


async def _customers(request: Request) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    number = 0
    while True:
        page = await request(
            "GET",
            "/api/customers/names/filter",
            orderBy="name",
            order="ASC",
            pageSize=PAGE,
            pageNumber=number,
        )
        found += [(row["customer_name"], row["customer_ref"]) for row in page["customers"]]
        number += 1
        if not page["customers"] or number * PAGE >= page["total"]:
            return found


async def _meters(request: Request) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    query: dict[str, object] = {"limit": PAGE}
    while True:
        page = await request("GET", "/api/usage/products", **query)
        found += [(row["name"], row["usage_product_ref"]) for row in page["usage_products"]]
        if page["next_cursor"] is None:
            return found
        query["cursor"] = page["next_cursor"]
