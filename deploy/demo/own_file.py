"""The demonstration on a usage file of one's own: what is in it, and the shop that bills it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from deploy.demo.load import Names, Sent, send_over_http
from deploy.demo.story import Shop
from deploy.local.errors import StackError
from deploy.usage_files.mapping import CUSTOMER, METER, Columns, EventMaker, read_map
from deploy.usage_files.source import CsvRow, Source, open_source
from meterline_client import AsyncClient
from meterline_client.names import Names as KnownNames
from meterline_client.names import fold

CUSTOMERS_MAX: Final = 1_000
METERS_MAX: Final = 100
INVOICES_MAX: Final = 5_000
EARLIEST: Final = date(2000, 1, 1)
"""Events before it are refused."""
_NEEDED: Final = ("timestamp", "customer_name", "usage_product_name", "quantity")
#: A demonstration knows no refs: whatever names a customer or a meter is its name.
_AS_NAMES: Final = {
    CUSTOMER: "customer_name",
    "customer_ref": "customer_name",
    METER: "usage_product_name",
    "usage_product_ref": "usage_product_name",
}


@dataclass(frozen=True, kw_only=True)
class OwnFile:
    """A CSV, and which of its columns is what."""

    path: Path
    maps: Sequence[str]

    def columns(self, source: Source) -> Columns:
        """Return the mapping, everything in it by name. Raises StackError."""
        found = read_map(self.maps, source.columns)
        fields = {_AS_NAMES.get(name, name): column for name, column in found.fields.items()}
        lacking = [name for name in _NEEDED if name not in fields]
        if lacking:
            said = {"customer_name": CUSTOMER, "usage_product_name": METER}
            names = ", ".join(said.get(name, name) for name in lacking)
            raise StackError(f"{self.path}: which column is {names}? Say so with --map")
        return Columns(fields, found.data)


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What a file holds. The months from `first` to `last` are over and can be billed."""

    rows: int
    customers: Sequence[str]
    meters: Sequence[str]
    first: date
    last: date

    @property
    def months(self) -> int:
        """How many months are billed."""
        return (self.last.year - self.first.year) * 12 + self.last.month - self.first.month + 1


def survey(file: OwnFile, today: date) -> Survey:
    """Read a file once for its names and its months.

    Rows that can't be understood are left for the gateway to refuse. Raises StackError when there
    is nothing to bill.
    """
    customers: dict[str, str] = {}
    meters: dict[str, str] = {}
    months: set[date] = set()
    rows = 0
    with open_source(file.path) as source:
        places = _places(file.columns(source), source.columns)
        for row in source.rows():
            rows += 1
            if not isinstance(row, CsvRow) or len(row.cells) != len(source.columns):
                continue
            stamp, customer, meter = (row.cells[place].strip() for place in places)
            month = _month(stamp)
            if month is not None and customer and meter:
                customers.setdefault(fold(customer), customer)
                meters.setdefault(fold(meter), meter)
                months.add(month)
                _check_bounds(len(customers), len(meters))
    if not months:
        raise StackError(f"{file.path}: no row has a time with an offset, a customer and a meter")
    over = [month for month in months if month < today.replace(day=1)]
    if not over:
        raise StackError(f"{file.path}: none of its months is over, so none can be billed")
    found = Survey(
        rows=rows,
        customers=sorted(customers.values()),
        meters=sorted(meters.values()),
        first=min(over),
        last=_next_month(max(over)) - timedelta(days=1),
    )
    if found.months * len(customers) > INVOICES_MAX:
        raise StackError(f"{file.path}: a demonstration writes at most {INVOICES_MAX:,} invoices")
    return found


def _places(columns: Columns, header: Sequence[str]) -> list[int]:
    return [header.index(columns.fields[name]) for name in _NEEDED[:3]]


def _check_bounds(customers: int, meters: int) -> None:
    if customers > CUSTOMERS_MAX:
        raise StackError(f"a demonstration takes at most {CUSTOMERS_MAX:,} customers")
    if meters > METERS_MAX:
        raise StackError(f"a demonstration takes at most {METERS_MAX:,} meters")


def _month(stamp: str) -> date | None:
    """Return the first day of a time's month in UTC, the demonstration's zone."""
    try:
        instant = datetime.fromisoformat(stamp)
        if instant.tzinfo is None:
            return None
        month = instant.astimezone(UTC).date().replace(day=1)
    except (ValueError, OverflowError):
        return None
    return month if month >= EARLIEST else None


def _next_month(first: date) -> date:
    return (first + timedelta(days=32)).replace(day=1)


async def make_own_shop(client: AsyncClient, found: Survey, price: str) -> Shop:
    """Make an entity, every meter with a price a unit, and every customer."""
    entity = {"name": "Demo", "legal_name": "Demo Ltd", "timezone": "UTC", "currency": "USD"}
    entity_ref = (await client.request("POST", "/api/entities", entity))["entity_ref"]
    meters = {}
    for name in found.meters:
        meter = {"name": name, "aggregation": "SUM"}
        answer = await client.request("POST", "/api/usage/products", meter)
        meters[name] = answer["usage_product_ref"]
    items = [
        {"item": name, "model": "PER_UNIT", "price": price, "usage_product_ref": ref}
        for name, ref in meters.items()
    ]
    body: dict[str, object] = {
        "product_name": "Usage",
        "pricing_name": "A unit",
        "publish": True,
        "line_items": items,
    }
    product = await client.request("POST", "/api/products", body)
    customers = {}
    for name in found.customers:
        customer = {"name": name, "email": "ap@customer.example", "entity_ref": entity_ref}
        answer = await client.request("POST", "/api/customers", customer)
        customers[name] = answer["customer_ref"]
    return Shop(names=Names(customers=customers, meters=meters), pricing_ref=product["pricing_ref"])


async def sign_own_contracts(client: AsyncClient, shop: Shop, found: Survey) -> dict[str, str]:
    """Make a monthly contract for every customer; their refs by the customer's name."""
    refs = {}
    for name, customer_ref in shop.names.customers.items():
        product = {
            "product_pricing_ref": shop.pricing_ref,
            "billing_start_date": found.first.isoformat(),
            "billing_end_date": found.last.isoformat(),
            "billing_cycle": {"unit": "MONTHLY", "cycle": 1},
            "payment_time": "AFTER_USE",
        }
        body = {"customer_ref": customer_ref, "closing": "MANUAL", "products": [product]}
        refs[name] = (await client.request("POST", "/api/contracts/", body))["contract_ref"]
    return refs


async def send_own_file(
    client: AsyncClient, file: OwnFile, names: Names, progress: Callable[[Sent, int], None]
) -> Sent:
    """Send every row of the file."""
    known = KnownNames(_folded(names.customers.items()), _folded(names.meters.items()))
    sent = Sent()
    with open_source(file.path) as source:
        maker = EventMaker(
            file.columns(source),
            source.columns,
            names=lambda: known,
            key_prefix=lambda: source.digest or "",
        )
        await send_over_http(client, map(maker.make, source.rows()), sent, progress)
    return sent


def _folded(pairs: Iterable[tuple[str, Any]]) -> dict[str, str | None]:
    return {fold(name): ref for name, ref in pairs}
