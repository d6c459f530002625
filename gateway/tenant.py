"""What memory holds of a tenant: customers, meters and formats, as the ingest path needs them."""

import msgspec

from gateway.coverage import Coverage, Coverages, covering
from gateway.formats.known import KnownFormat
from gateway.names import Names, exact
from schemas.event_ref import TIMESTAMP_MIN_MICROS
from schemas.meter_formula import Formula


class Customer(msgspec.Struct, frozen=True, gc=False):
    """A customer.

    shard_key, tenant_bits: what every ref of the customer's events holds.
    record_key: the key of the customer's records. name_json: the name as JSON text.
    external_id: the tenant's own id of the customer.
    """

    shard_key: int
    tenant_bits: int
    record_key: bytes
    name_json: str
    external_id: str | None = None


class Meter(msgspec.Struct, frozen=True, gc=False):
    """A meter.

    name_json: the name as JSON text. formula: makes an event's billable quantity. parent: the ref
    of the meter that its events count toward.
    """

    name_json: str
    formula: Formula | None = None
    parent: str | None = None


class TenantSettings(msgspec.Struct, frozen=True):
    """What a tenant has chosen.

    refuses_unknown_fields: also where they would only be warned of.
    age_micros_max: how old an event may be when it comes, None for any age.
    """

    refuses_unknown_fields: bool = False
    age_micros_max: int | None = None


class Tenant(msgspec.Struct):
    """One tenant's reference data by canonical ref. version: up to where it is complete.

    archived_until: no event before this instant, microseconds since 1970, is taken any more.
    computed: the meters with formulas, which judge events.
    """

    tenant_id: int
    tenant_ref: str
    customers: dict[str, Customer]
    meters: dict[str, Meter]
    version: int
    customer_names: Names = msgspec.field(default_factory=Names)
    customer_external_ids: Names = msgspec.field(default_factory=lambda: Names(exact))
    meter_names: Names = msgspec.field(default_factory=Names)
    computed: set[str] = msgspec.field(default_factory=set)
    formats: dict[str, KnownFormat] = msgspec.field(default_factory=dict)
    format_names: Names = msgspec.field(default_factory=Names)
    coverages: Coverages = msgspec.field(default_factory=dict)
    settings: TenantSettings = TenantSettings()
    archived_until: int = TIMESTAMP_MIN_MICROS

    def covering(
        self, customer_ref: str, meter_ref: str, occurred_at_micros: int
    ) -> tuple[Coverage, str] | None:
        """Return what covers a use of a meter, and the ref of its document.

        It counts toward the meters above it, too: the oldest contract that prices one of them.
        """
        found = covering(self.coverages, (customer_ref, meter_ref), occurred_at_micros)
        meter = self.meters.get(meter_ref)
        while meter is not None and meter.parent is not None:
            use = (customer_ref, meter.parent)
            above = covering(self.coverages, use, occurred_at_micros)
            if above is not None and (found is None or above[0].place < found[0].place):
                found = above
            meter = self.meters.get(meter.parent)
        return found

    def earliest(self, now_micros: int) -> int:
        """Return the first instant, microseconds since 1970, of which an event is taken now."""
        age = self.settings.age_micros_max
        return self.archived_until if age is None else max(self.archived_until, now_micros - age)
