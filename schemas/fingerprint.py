"""The fingerprint of a usage event: what must not differ between two copies of a keyed one."""

from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from struct import unpack

from schemas.additional_data import canonical_data
from schemas.money import Quantity
from schemas.usage_event import UsageEvent


def fingerprint(event: UsageEvent) -> int:
    """Return a signed 64-bit digest of what must not differ between two copies of a keyed event.

    It is over the meter, the quantity as a number, and the additional data with its keys sorted;
    numbers inside the data count as they are written.
    """
    return fingerprints([event.usage_product_ref], [event.quantity], [event.additional_data])[0]


def fingerprints(
    usage_product_refs: Sequence[str],
    quantities: Sequence[Quantity],
    additional_data: Sequence[str | None],
) -> list[int]:
    """Return the `fingerprint` of each of many events, given what of them it is over."""
    digests = []
    begun = {ref: _digest_begun(ref).copy for ref in set(usage_product_refs)}
    for ref, quantity, data in zip(usage_product_refs, quantities, additional_data, strict=True):
        digest = begun[ref]()
        digest.update(b"%d;" % quantity)
        if data is not None:
            digest.update(canonical_data(data))
        digests.append(digest.digest())
    return list(unpack(f">{len(digests)}q", b"".join(digests)))


@lru_cache(maxsize=1 << 12)
def _digest_begun(usage_product_ref: str) -> blake2b:
    """Return a fingerprint's hash that has read the meter: a copy costs half of a new one."""
    return blake2b(usage_product_ref.encode("ascii"), digest_size=8, person=b"event_content")
