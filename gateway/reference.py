"""Reference data in memory: tenants, API keys, customers and meters, kept fresh from Postgres.

A notice on the channel `meterline_reference` says that something changed; a version counter a
tenant makes sure that a missed notice is noticed at the next look. What memory lacks is asked of
Postgres once before it is called unknown. Without Postgres, memory goes on serving what it knows.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final

import asyncpg
import msgspec

from gateway import metrics
from gateway.coverage import Coverage, add_coverage
from gateway.formats.known import KnownFormat
from gateway.manage.values import DUE_UPON_USAGE
from gateway.tenant import Customer, Meter, Tenant, TenantSettings
from runtime.clock import Clock, to_micros
from runtime.lifecycle import wait_for
from runtime.logging import get_logger
from runtime.postgres import TRANSIENT_ERRORS, Connection, Queries
from schemas.errors import TransientError
from schemas.event_ref import TIMESTAMP_MIN_MICROS, shard_key, tenant_bits
from schemas.meter_formula import parse_formula
from schemas.periods import BillingTerms
from schemas.price import from_json, is_usage

CHANNEL: Final = "meterline_reference"
REFRESH_SECONDS: Final = 2.0
"""How often the versions are compared even when no notice came."""
RECONNECT_SECONDS: Final = 1.0
QUERY_SECONDS: Final = 5.0
FIRST_LOAD_SECONDS: Final = 300.0
LOOKUP_SECONDS: Final = 2.0
KEY_LENGTH_MAX: Final = 255
REVOKED_TOKENS_MANY: Final = 10_000
EXPIRY_MARGIN: Final = timedelta(minutes=5)
DAY_MICROS: Final = 86_400_000_000

log = get_logger()
queries = Queries.beside(__file__)


class ApiKey(msgspec.Struct, frozen=True):
    """An API key: who logs in with it, and what for.

    password_hashes: of the password, and during a rotation of the next one. password_number: how
    many were first so far; what was got with an earlier one is worth nothing.
    """

    tenant_id: int
    tenant_ref: str
    api_key_ref: str
    api_key: str
    password_hashes: tuple[str, ...]
    password_number: int
    scopes: frozenset[str]
    expires_at: datetime | None
    is_revoked: bool

    def is_valid(self, clock: Clock) -> bool:
        """Tell whether it may be used now."""
        return not self.is_revoked and (self.expires_at is None or clock() < self.expires_at)


class Reference:
    """The reference data of every tenant, as this process knows it."""

    def __init__(self, pool: asyncpg.Pool, clock: Clock) -> None:
        self._pool = pool
        self._clock = clock
        self.tenants: dict[int, Tenant] = {}
        self._keys_by_ref: dict[str, ApiKey] = {}
        self._keys_by_name: dict[str, ApiKey] = {}
        #: Tokens that were ended before their time, by their id; and when they would have expired.
        self.revoked_tokens: dict[str, datetime] = {}

    def find_key(self, api_key_ref: str) -> ApiKey | None:
        """Return the key of that ref if it is known and may be used now."""
        key = self._keys_by_ref.get(api_key_ref)
        return key if key is not None and key.is_valid(self._clock) else None

    async def load_key(self, api_key_ref: str) -> ApiKey | None:
        """Return the usable key of that ref; one made a moment ago elsewhere is caught up with."""
        if api_key_ref not in self._keys_by_ref:
            async with self._borrow(LOOKUP_SECONDS) as connection:
                await self.refresh(connection)
        return self.find_key(api_key_ref)

    async def find_key_by_name(self, api_key: str) -> tuple[ApiKey | None, bool]:
        """Return the usable key of that name, and whether Postgres said so, now, or memory.

        Every name is asked for, so that the time it takes says nothing about which exist.
        """
        if len(api_key) > KEY_LENGTH_MAX or not api_key.isprintable():
            return None, True
        is_current = True
        try:
            async with self._borrow(LOOKUP_SECONDS) as connection:
                rows = await connection.fetch(queries.find_api_key, api_key)
                if rows and not self._keep_keys(rows):
                    await self.refresh(connection)  # the tenant is as new as its key
            key = self._keys_by_name.get(api_key) if rows else None
        except TRANSIENT_ERRORS as error:
            log.warning("api_key_not_looked_up", error=repr(error))
            key, is_current = self._keys_by_name.get(api_key), False
        return (key if key is not None and key.is_valid(self._clock) else None), is_current

    async def look_up(
        self, tenant: Tenant, customer_refs: Collection[str], meter_refs: Collection[str]
    ) -> None:
        """Ask Postgres for refs that memory lacks, and remember those that exist.

        Raises TransientError when Postgres does not answer: the refs may well exist.
        """
        metrics.REFERENCE_LOOKUPS.inc()
        keys = [shard_key(ref) for ref in customer_refs]
        try:
            async with self._borrow(LOOKUP_SECONDS) as connection:
                if customer_refs:
                    found = await connection.fetch(
                        queries.find_customers, tenant.tenant_id, keys, list(customer_refs)
                    )
                    _keep_customers(tenant, found)
                if meter_refs:
                    found = await connection.fetch(
                        queries.find_meters, tenant.tenant_id, list(meter_refs)
                    )
                    _keep_meters(tenant, found)
        except TRANSIENT_ERRORS as error:
            detail = "a ref is not known here yet, and the database can't be asked now"
            raise TransientError("reference_unavailable", detail) from error

    async def catch_up(self) -> None:
        """Read what is newer than memory now, for names that it lacks.

        Raises TransientError when Postgres does not answer: they may well exist.
        """
        metrics.REFERENCE_LOOKUPS.inc()
        try:
            async with self._borrow(LOOKUP_SECONDS) as connection:
                await self.refresh(connection)
        except TRANSIENT_ERRORS as error:
            detail = "a name is not known here yet, and the database can't be asked now"
            raise TransientError("reference_unavailable", detail) from error

    async def hear_of_own_change(self) -> None:
        """Read what this process has just written, so that the next request can count on it.

        Without an answer of Postgres the notice tells of it, as it tells every other process.
        """
        with suppress(*TRANSIENT_ERRORS):
            async with self._borrow(LOOKUP_SECONDS) as connection:
                await self.refresh(connection)

    async def keep_fresh(self, dsn: str) -> None:
        """Follow the changes for ever, over a connection that is made anew when it is lost."""
        while True:
            try:
                await self._follow(dsn)
            except TRANSIENT_ERRORS as error:
                metrics.REFERENCE_REFRESHES.labels("failed").inc()
                log.warning("reference_connection_lost", error=repr(error))
                await asyncio.sleep(RECONNECT_SECONDS)

    async def _follow(self, dsn: str) -> None:
        connection = await asyncpg.connect(
            dsn, timeout=QUERY_SECONDS, command_timeout=QUERY_SECONDS
        )
        changed = asyncio.Event()
        try:
            connection.add_termination_listener(lambda _: changed.set())
            await connection.add_listener(CHANNEL, lambda *_: changed.set())
            while True:
                changed.clear()
                await self.refresh(connection)
                await wait_for(changed, REFRESH_SECONDS)
        finally:
            connection.terminate()

    async def load(self) -> None:
        """Fill an empty memory."""
        async with self._borrow(FIRST_LOAD_SECONDS) as connection:
            await self.refresh(connection)

    @asynccontextmanager
    async def _borrow(self, seconds: float) -> AsyncIterator[Connection]:
        """Borrow a pooled connection; all that is done with it fails after so many seconds.

        The pool gets the bound, too: it waits for a stalled server when a query was given up.
        """
        async with self._pool.acquire(timeout=seconds) as connection, asyncio.timeout(seconds):
            yield connection

    async def refresh(self, connection: Connection) -> None:
        """Bring memory up to what Postgres has now, reading only what is newer.

        A version that is seen is complete: it was committed with its rows, after all before it.
        Rows that are newer still are read again the next time, which changes nothing.
        """
        for row in await connection.fetch(queries.list_tenants):
            tenant = self.tenants.get(row["tenant_id"]) or _new_tenant(row)
            tenant.archived_until = archived_until(row["archived_until"])
            if tenant.version < row["version"]:
                await self._refresh_tenant(connection, tenant)
                tenant.version = row["version"]
                metrics.REFERENCE_REFRESHES.labels("done").inc()

    async def _refresh_tenant(self, connection: Connection, tenant: Tenant) -> None:
        since = (tenant.tenant_id, tenant.version)
        _keep_settings(tenant, await connection.fetchrow(queries.find_settings, tenant.tenant_id))
        _keep_customers(tenant, await connection.fetch(queries.list_customers_since, *since))
        _keep_meters(tenant, await connection.fetch(queries.list_meters_since, *since))
        _keep_formats(tenant, await connection.fetch(queries.list_formats_since, *since))
        _keep_coverages(tenant, await connection.fetch(queries.list_coverages_since, *since))
        self.tenants.setdefault(tenant.tenant_id, tenant)
        self._keep_keys(await connection.fetch(queries.list_api_keys_since, *since))
        self._keep_revoked(await connection.fetch(queries.list_revoked_tokens_since, *since))

    def _keep_keys(self, rows: Iterable[asyncpg.Record]) -> bool:
        """Remember API keys of known tenants; tell whether there was one."""
        kept = False
        for row in rows:
            tenant = self.tenants.get(row["tenant_id"])
            if tenant is not None:
                key = _api_key(tenant, row)
                self._keys_by_ref[key.api_key_ref] = key
                held = self._keys_by_name.get(key.api_key)
                if held is None or held.api_key_ref == key.api_key_ref or not key.is_revoked:
                    self._keys_by_name[key.api_key] = key  # a deleted key's name may be another's
                kept = True
        return kept

    def _keep_revoked(self, rows: Iterable[asyncpg.Record]) -> None:
        """Remember tokens that were ended; forget those that have expired anyway."""
        for row in rows:
            self.revoked_tokens[str(row["token_id"])] = row["expires_at"]
        if len(self.revoked_tokens) > REVOKED_TOKENS_MANY:
            past = self._clock() - EXPIRY_MARGIN
            kept = {token: end for token, end in self.revoked_tokens.items() if end > past}
            self.revoked_tokens = kept


def _new_tenant(row: asyncpg.Record) -> Tenant:
    return Tenant(row["tenant_id"], str(row["tenant_ref"]), {}, {}, version=-1)


def _keep_settings(tenant: Tenant, row: asyncpg.Record | None) -> None:
    if row is None:
        return
    days = row["age_days_max"]
    tenant.settings = TenantSettings(
        refuses_unknown_fields=row["refuses_unknown_fields"],
        age_micros_max=None if days is None else days * DAY_MICROS,
    )


def archived_until(instant: datetime | None) -> int:
    """Return a column `archived_until` in microseconds since 1970: no event before is taken."""
    return TIMESTAMP_MIN_MICROS if instant is None else to_micros(instant)


def _keep_customers(tenant: Tenant, rows: Iterable[asyncpg.Record]) -> None:
    bits = tenant_bits(tenant.tenant_ref)
    for row in rows:
        ref = str(row["customer_ref"])
        former = tenant.customers.get(ref)
        name = _json_text(row["name"])
        if former is None or former.name_json != name:
            tenant.customer_names.put(ref, row["name"], _former_name(former))
        _keep_external_id(tenant, ref, row["external_id"], former)
        tenant.customers[ref] = Customer(
            row["shard_key"], bits, ref.encode(), name, row["external_id"]
        )


def _keep_external_id(tenant: Tenant, ref: str, new: str | None, known: Customer | None) -> None:
    former = None if known is None else known.external_id
    if new is not None:
        tenant.customer_external_ids.put(ref, new, former)
    elif former is not None:
        tenant.customer_external_ids.drop(ref, former)


def _keep_meters(tenant: Tenant, rows: Iterable[asyncpg.Record]) -> None:
    for row in rows:
        ref = str(row["usage_product_ref"])
        former = tenant.meters.get(ref)
        name = _json_text(row["name"])
        if former is None or former.name_json != name:
            tenant.meter_names.put(ref, row["name"], _former_name(former))
        formula = None
        if row["formula"] is not None:
            formula = parse_formula(row["formula"])
            tenant.computed.add(ref)
        parent = row["parent_ref"]
        tenant.meters[ref] = Meter(name, formula, None if parent is None else str(parent))


def _keep_formats(tenant: Tenant, rows: Iterable[asyncpg.Record]) -> None:
    for row in rows:
        ref = str(row["format_ref"])
        former = tenant.formats.pop(ref, None)
        if row["is_deleted"]:
            if former is not None:
                tenant.format_names.drop(ref, former.name)
            continue
        tenant.format_names.put(ref, row["name"], None if former is None else former.name)
        tenant.formats[ref] = KnownFormat(row["name"], row["definition"])


def _keep_coverages(tenant: Tenant, rows: Iterable[asyncpg.Record]) -> None:
    for row in rows:
        if _is_usage_price(row["price"]):
            use = (str(row["customer_ref"]), str(row["usage_product_ref"]))
            add_coverage(tenant.coverages, use, _coverage(tenant, row))


def _coverage(tenant: Tenant, row: asyncpg.Record) -> Coverage:
    return Coverage(
        place=(row["contract_number"], row["position"], row["version"]),
        tenant_ref=tenant.tenant_ref,
        contract_ref=row["contract_ref"],
        document_group=row["document_group"],
        currency=row["currency"],
        entity_ref=str(row["entity_ref"]),
        terms=BillingTerms.of_row(row),
        bills_each_event=row["net_terms"] == DUE_UPON_USAGE,
    )


@lru_cache(maxsize=1 << 12)
def _is_usage_price(text: str) -> bool:
    return is_usage(from_json(text))


def _former_name(known: Customer | Meter | None) -> str | None:
    return None if known is None else msgspec.json.decode(known.name_json, type=str)


def _json_text(text: str) -> str:
    return msgspec.json.encode(text).decode()


def _api_key(tenant: Tenant, row: asyncpg.Record) -> ApiKey:
    return ApiKey(
        tenant_id=tenant.tenant_id,
        tenant_ref=tenant.tenant_ref,
        api_key_ref=str(row["api_key_ref"]),
        api_key=row["api_key"],
        password_hashes=tuple(
            hashed for hashed in (row["password_hash"], row["next_password_hash"]) if hashed
        ),
        password_number=row["password_number"],
        scopes=frozenset(row["scopes"]),
        expires_at=row["expires_at"],
        is_revoked=row["revoked_at"] is not None,
    )
