"""Where a request comes from: the client's address, its cookie, and the site that sent it."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from schemas.errors import NotAllowed

TRUSTED_PROXIES: Final = web.AppKey("trusted_proxies", int)
SAFE_VERBS: Final = frozenset({"GET", "HEAD", "OPTIONS"})

#: A browser binds the first name to this very host and to HTTPS. It would refuse it over plain
#: HTTP, which is spoken on the loopback interface alone: there the second one is used.
SECURE_COOKIE: Final = "__Host-meterline_session"
PLAIN_COOKIE: Final = "meterline_session"
TOKEN_LENGTH_MAX: Final = 128

_LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "[::1]", "::1"})
IPV6_SITE_BITS: Final = 64


def client_address(request: web.Request) -> str:
    """Return the address of the client, as far as proxies of ours vouch for it.

    Each trusted proxy adds the address it was called from to X-Forwarded-For; what stands before
    those is the client's own word. An IPv6 client is known by its /64, of which it has all.
    """
    hops = request.app[TRUSTED_PROXIES]
    text = request.remote or ""
    if hops:
        named = ",".join(request.headers.getall("X-Forwarded-For", [])).split(",")
        text = named[-hops].strip() if len(named) >= hops else text
    try:
        address = ip_address(text)
    except ValueError:
        return "unknown"
    return _site_of(address)


def _site_of(address: IPv4Address | IPv6Address) -> str:
    if isinstance(address, IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ip_network((address.packed, IPV6_SITE_BITS), strict=False).network_address)


def _is_plain_loopback(request: web.Request) -> bool:
    host = urlsplit(f"//{request.host}").hostname or ""
    return not request.secure and host in _LOOPBACK_NAMES


def session_token(request: web.Request) -> str | None:
    """Return the token of the session cookie, None without one."""
    token = request.cookies.get(SECURE_COOKIE)
    if token is None and _is_plain_loopback(request):
        token = request.cookies.get(PLAIN_COOKIE)
    return token if token is not None and len(token) <= TOKEN_LENGTH_MAX else None


def set_session_cookie(request: web.Request, response: web.Response, token: str) -> None:
    """Give the client its session; it ends with the browser, and on the server at its time."""
    is_plain = _is_plain_loopback(request)
    response.set_cookie(
        PLAIN_COOKIE if is_plain else SECURE_COOKIE,
        token,
        secure=not is_plain,
        httponly=True,
        samesite="Lax",
        path="/",
    )


def drop_session_cookie(request: web.Request, response: web.Response) -> None:
    """Take the cookie back."""
    is_plain = _is_plain_loopback(request)
    response.del_cookie(
        PLAIN_COOKIE if is_plain else SECURE_COOKIE,
        secure=not is_plain,
        httponly=True,
        samesite="Lax",
        path="/",
    )


def refuse_other_sites(request: web.Request) -> None:
    """Raise NotAllowed when a browser says that another site made it send this request.

    A request with neither header was not sent by a page of a browser of today.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        is_ours = site in ("same-origin", "none")
    else:
        origin = request.headers.get("Origin")
        is_ours = origin is None or urlsplit(origin).netloc.lower() == request.host.lower()
    if not is_ours:
        raise NotAllowed("cross_site", "another site may not call with your session")
