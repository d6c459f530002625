"""The token in the link to a document's page: what it names, and a seal that nobody can guess.

A token is 45 bytes, as 60 characters of URL-safe base64: the tenant, how often the document's link
was revoked before, the document's ref, and 168 bits of an HMAC-SHA256 over these. A forged one is
told without a look into the database, by the same work whatever it holds.
"""

import binascii
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256
from struct import Struct as Layout
from typing import Final
from uuid import UUID

from msgspec import Struct

SEAL_BYTES: Final = 21
_LAYOUT: Final = Layout(">II16s")
_TOKEN_BYTES: Final = _LAYOUT.size + SEAL_BYTES
TOKEN_LENGTH: Final = _TOKEN_BYTES // 3 * 4
"""Without a rest: a token has one form only."""

_PURPOSE: Final = b"meterline page of a document\0"
_NOTHING: Final = bytes(_TOKEN_BYTES)


class Linked(Struct, frozen=True):
    """What a link leads to. generation: how often links to the document were revoked before."""

    tenant_id: int
    generation: int
    document_ref: UUID


def seal(linked: Linked, secret: bytes) -> str:
    """Write the token of a link."""
    said = _LAYOUT.pack(linked.tenant_id, linked.generation, linked.document_ref.bytes)
    return urlsafe_b64encode(said + _mac(said, secret)).decode()


def link(public_url: str, linked: Linked, secret: bytes) -> str:
    """Write the link to a document's page.

    public_url: where customers reach the gateway, with or without a slash at its end.
    """
    return f"{public_url.rstrip('/')}/i/{seal(linked, secret)}"


def unseal(token: str, secret: bytes) -> Linked | None:
    """Read a token; None when it was not sealed with this secret."""
    raw = _raw(token)
    said = raw[: _LAYOUT.size]
    if not hmac.compare_digest(_mac(said, secret), raw[_LAYOUT.size :]):
        return None
    tenant_id, generation, ref = _LAYOUT.unpack(said)
    return Linked(tenant_id, generation, UUID(bytes=ref))


def _raw(token: str) -> bytes:
    """Return a token's bytes; of what can't be one, bytes whose seal is wrong."""
    try:
        raw = urlsafe_b64decode(token.encode("ascii")) if len(token) == TOKEN_LENGTH else _NOTHING
    except (UnicodeEncodeError, binascii.Error):
        return _NOTHING
    is_plain = len(raw) == _TOKEN_BYTES and urlsafe_b64encode(raw).decode() == token
    return raw if is_plain else _NOTHING


def _mac(said: bytes, secret: bytes) -> bytes:
    return hmac.digest(secret, _PURPOSE + said, sha256)[:SEAL_BYTES]
