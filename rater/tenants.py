"""What rating knows of a tenant. Pure."""

import msgspec


class Tenant(msgspec.Struct, frozen=True):
    """A tenant, and the 5 bits that it has in refs.

    age_micros_max: how old an event may be when it comes, None for any age; age_since_micros: when
    that was chosen, microseconds since 1970.
    """

    tenant_id: int
    tenant_ref: str
    bits: int
    age_micros_max: int | None = None
    age_since_micros: int = 0
