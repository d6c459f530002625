"""What webhooks tell, where they may go, and when they are tried again. Pure."""

from datetime import timedelta
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final
from urllib.parse import urlsplit

from schemas.errors import InvalidInput

EVENT_TYPES: Final = (
    "invoice.created",
    "invoice.issued",
    "invoice.sent",
    "invoice.paid",
    "invoice.voided",
    "invoice.late",
    "invoice.payment_failed",
    "credit.issued",
    "alert.fired",
)
TEST_EVENT: Final = "webhook.test"

URL_LENGTH_MAX: Final = 2_048

WAITS: Final = tuple(
    timedelta(seconds=seconds)
    for seconds in (5, 30, 120, 600, 1_800, 3_600, 10_800, 21_600, 43_200, 86_400, 86_400)
)
"""Between attempts: about three days in all, then it is dead."""

_NAT64: Final = IPv6Network("64:ff9b::/96")
_LAST_32_BITS: Final = 0xFFFF_FFFF


def next_wait(attempts: int) -> timedelta | None:
    """Return how long to wait after so many failed attempts, None when it was the last one."""
    return WAITS[attempts - 1] if attempts <= len(WAITS) else None


def check_url(url: str, *, allows_loopback: bool) -> None:
    """Raise InvalidInput unless a webhook may go to an address, as far as its text tells.

    allows_loopback: for development: http, and to this machine alone.
    """
    try:
        parts = urlsplit(url)
        _port = parts.port
    except ValueError:
        raise InvalidInput("url_malformed", "must be a URL, such as https://host/path") from None
    if not _is_plain(url):
        detail = f"must be at most {URL_LENGTH_MAX} printable ASCII characters without blanks"
        raise InvalidInput("url_malformed", detail)
    if parts.scheme not in (("https", "http") if allows_loopback else ("https",)):
        raise InvalidInput("url_not_https", "must be https")
    if not parts.hostname or "@" in parts.netloc or "#" in url:
        raise InvalidInput("url_malformed", "must name a host, no user, and no fragment")
    _check_host(parts.scheme, parts.hostname, allows_loopback=allows_loopback)


def _is_plain(url: str) -> bool:
    return len(url) <= URL_LENGTH_MAX and url.isascii() and url.isprintable() and " " not in url


def _check_host(scheme: str, host: str, *, allows_loopback: bool) -> None:
    try:
        address = ip_address(host)
    except ValueError:
        if scheme == "http" and host != "localhost":
            raise InvalidInput("url_not_https", "must be https") from None
        return
    if not may_go_to(address, scheme=scheme, allows_loopback=allows_loopback):
        raise InvalidInput("url_not_public", "must be a public address")


def may_go_to(
    address: IPv4Address | IPv6Address, *, scheme: str, allows_loopback: bool = False
) -> bool:
    """Tell whether a webhook may connect to an address: a public one, or with http this machine."""
    plain = _plain(address)
    if allows_loopback and plain.is_loopback:
        return True
    return scheme == "https" and plain.is_global and not plain.is_multicast


def _plain(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return the IPv4 address that an IPv6 one stands for, itself where it stands for none."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address in _NAT64:
        return IPv4Address(int(address) & _LAST_32_BITS)
    return address
