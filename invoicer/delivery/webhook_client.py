"""Brings a webhook to its endpoint, and to nobody inside.

A host is resolved once; all of its addresses must be public, and the connection goes to one of
these: a name that changes its answer changes nothing. Redirects are not followed, proxies of the
environment not used, answers read up to a bound.
"""

import asyncio
import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from standardwebhooks.webhooks import Webhook

from schemas.errors import InvalidInput
from schemas.webhook import check_url, may_go_to

ANSWER_BYTES_MAX: Final = 1_024
_OK: Final = range(200, 300)
_REDIRECTS: Final = range(300, 400)


class Attempt(NamedTuple):
    """What an endpoint said. status: None when it said nothing. error: None when it took it."""

    status: int | None
    error: str | None


class NotPublic(OSError):
    """A host has an address that webhooks must not go to."""


class PublicResolver(AbstractResolver):
    """Resolves hosts to addresses that webhooks may go to, or refuses."""

    def __init__(self, scheme: str, *, allows_loopback: bool) -> None:
        self._scheme = scheme
        self._allows_loopback = allows_loopback

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the host's addresses. Raises NotPublic when any of them is not public."""
        found = []
        for one, address in await self._look_up(host, port, family):
            if not may_go_to(
                ip_address(address), scheme=self._scheme, allows_loopback=self._allows_loopback
            ):
                raise NotPublic(f"{host} is at {address}, which is not public")
            found.append(
                ResolveResult(
                    hostname=host,
                    host=address,
                    port=port,
                    family=one,
                    proto=0,
                    flags=socket.AI_NUMERICHOST,
                )
            )
        return found

    async def _look_up(
        self, host: str, port: int, family: socket.AddressFamily
    ) -> list[tuple[int, str]]:
        loop = asyncio.get_running_loop()
        rows = await loop.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
        return [(row[0], str(row[4][0]).partition("%")[0]) for row in rows]

    async def close(self) -> None:
        """Nothing is held."""


def signed_headers(event_ref: str, payload: str, secrets: list[bytes]) -> dict[str, str]:
    """Return the headers of Standard Webhooks; every secret signs."""
    now = datetime.now(UTC)
    signatures = [Webhook(secret).sign(event_ref, now, payload) for secret in secrets]
    return {
        "Content-Type": "application/json",
        "User-Agent": "Meterline",
        "webhook-id": event_ref,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


async def post(
    url: str,
    payload: str,
    headers: Mapping[str, str],
    *,
    seconds: float,
    allows_loopback: bool,
    resolver: AbstractResolver | None = None,
) -> Attempt:
    """Post a payload once. seconds: for all of it. Raises nothing: what went wrong is returned."""
    try:
        check_url(url, allows_loopback=allows_loopback)
        scheme = urlsplit(url).scheme
        connector = aiohttp.TCPConnector(
            resolver=resolver or PublicResolver(scheme, allows_loopback=allows_loopback),
            use_dns_cache=False,
            happy_eyeballs_delay=None,
            force_close=True,
        )
        async with (
            asyncio.timeout(seconds),
            aiohttp.ClientSession(connector=connector, trust_env=False) as session,
            session.post(url, data=payload, headers=headers, allow_redirects=False) as answer,
        ):
            said = await answer.content.read(ANSWER_BYTES_MAX)
            return _judge(answer.status, said)
    except InvalidInput as error:
        return Attempt(None, error.detail)
    except TimeoutError:
        return Attempt(None, f"no answer within {seconds:g} s")
    except (aiohttp.ClientError, OSError, ValueError) as error:
        cause = error.__cause__ if isinstance(error.__cause__, NotPublic) else error
        return Attempt(None, f"{type(cause).__name__}: {cause}"[:ANSWER_BYTES_MAX])


def _judge(status: int, said: bytes) -> Attempt:
    if status in _OK:
        return Attempt(status, None)
    if status in _REDIRECTS:
        return Attempt(status, "a redirect, which is not followed")
    return Attempt(status, said.decode("utf-8", "replace").replace("\0", "") or f"status {status}")
