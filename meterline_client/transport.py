"""One exchange with the server: a request with a token that is valid, or the reason why not."""

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from io import BytesIO
from typing import Final, NamedTuple

import aiohttp
import msgspec
from yarl import URL

from meterline_client.errors import LoginFailed
from meterline_client.limits import Limits
from meterline_client.retry import read_retry_after
from meterline_client.verdict import is_final, refusal

HEADERS: Final = {"Version": "V0", "Content-Type": "application/json"}
RENEW_SECONDS_BEFORE_END: Final = 60.0
RENEW_SHARE: Final = 0.2
"""A short-lived token is renewed when so much of its life is left."""
REFUSED_LOGIN_SECONDS: Final = 5.0
"""A login that was refused is not tried again so soon."""


class Answer(NamedTuple):
    """What the server said."""

    status: int
    body: bytes
    retry_after: float


class NoAnswer(Exception):
    """The server could not be asked, or was and did not answer."""

    def __init__(self, reason: str, *, may_be_recorded: bool, retry_after: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.may_be_recorded = may_be_recorded
        self.retry_after = retry_after


class _Payload(msgspec.Struct):
    """What a token says of itself, seconds since 1970."""

    exp: float
    iat: float


class Transport:
    """Speaks HTTP for one API key: logs in, renews the token, and sends requests."""

    def __init__(self, url: str, api_key: str, password: str, limits: Limits) -> None:
        parsed = URL(url)
        if parsed.scheme not in ("http", "https") or parsed.host is None:
            raise ValueError(f"not the URL of a server: {url!r}")
        self._url = url.rstrip("/")
        self._credentials = msgspec.json.encode({"api_key": api_key, "password": password})
        self._limits = limits
        self._session: aiohttp.ClientSession | None = None
        self._logging_in = asyncio.Lock()
        self._token: str | None = None
        self._renew_at = 0.0
        self._refused: tuple[float, LoginFailed] | None = None

    async def open(self) -> None:
        """Make ready to connect; nothing is sent yet."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._limits.requests_at_once + 2),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    @property
    def is_open(self) -> bool:
        """Whether requests can be sent."""
        return self._session is not None

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    async def fetch(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        seconds: float,
        headers: Mapping[str, str] = HEADERS,
    ) -> Answer:
        """Send a request with a valid token; one that the server no longer takes is renewed once.

        seconds: the bound on each exchange. Raises NoAnswer, and LoginFailed.
        """
        token = await self.token()
        answer = await self._exchange(method, path, body, _bearer(token, headers), seconds)
        if answer.status == HTTPStatus.UNAUTHORIZED:
            self._drop(token)
            token = await self.token()
            answer = await self._exchange(method, path, body, _bearer(token, headers), seconds)
        return answer

    async def stream(
        self, path: str, body: AsyncIterator[bytes], headers: Mapping[str, str]
    ) -> Answer:
        """Post a body that is made as it is sent, and can't be sent twice; the caller bounds it.

        Raises NoAnswer, and LoginFailed.
        """
        token = await self.token()
        answer = await self._exchange("POST", path, body, _bearer(token, headers), None)
        if answer.status == HTTPStatus.UNAUTHORIZED:
            self._drop(token)
            raise NoAnswer("the token is not valid any more", may_be_recorded=False)
        return answer

    # ------------------------------------------------------------------ the token

    async def token(self) -> str:
        """Return a token that is valid for some while. Raises NoAnswer, LoginFailed."""
        if self._token is None or time.monotonic() >= self._renew_at:
            async with self._logging_in:
                if self._token is None or time.monotonic() >= self._renew_at:
                    await self._log_in()
        assert self._token is not None
        return self._token

    def _drop(self, token: str) -> None:
        """Forget a token, unless another one has taken its place."""
        if self._token == token:
            self._token = None

    async def _log_in(self) -> None:
        began = time.monotonic()
        if self._refused is not None and began < self._refused[0]:
            raise self._refused[1]
        seconds = self._limits.request_seconds
        try:
            answer = await self._exchange("POST", "/auth/login", self._credentials, {}, seconds)
        except NoAnswer as error:
            raise NoAnswer(f"login: {error.reason}", may_be_recorded=False) from error
        if is_final(answer.status):
            said = refusal(answer.status, answer.body)
            self._refused = began + REFUSED_LOGIN_SECONDS, LoginFailed(str(said))
            raise self._refused[1]
        if answer.status != HTTPStatus.OK:
            reason = f"login: the server answered {answer.status}"
            raise NoAnswer(reason, may_be_recorded=False, retry_after=answer.retry_after)
        try:
            self._token = msgspec.json.decode(answer.body, type=str)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise LoginFailed(f"{self._url} does not answer as the product does") from None
        lifetime = _lifetime_seconds(self._token)
        self._renew_at = began + lifetime - min(RENEW_SECONDS_BEFORE_END, lifetime * RENEW_SHARE)

    # ------------------------------------------------------------------ HTTP

    async def _exchange(
        self,
        method: str,
        path: str,
        body: bytes | AsyncIterator[bytes] | None,
        headers: Mapping[str, str],
        seconds: float | None,
    ) -> Answer:
        assert self._session is not None, "open it first"
        timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=self._limits.connect_seconds)
        try:
            async with self._session.request(
                method,
                URL(self._url + path, encoded=True),
                data=BytesIO(body) if isinstance(body, bytes) else body,
                headers=headers,
                timeout=timeout,
                allow_redirects=False,  # a redirected POST would become a GET
            ) as answer:
                content = await answer.read()
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise NoAnswer(f"can't connect: {error}", may_be_recorded=False) from error
        except TimeoutError as error:
            reason = f"no answer within {seconds} s"
            raise NoAnswer(reason, may_be_recorded=True) from error
        except (aiohttp.ClientError, OSError) as error:
            reason = f"the connection broke: {error!r}"
            raise NoAnswer(reason, may_be_recorded=True) from error
        later = read_retry_after(answer.headers.get("Retry-After"), datetime.now(UTC))
        return Answer(answer.status, content, later)


def _bearer(token: str, headers: Mapping[str, str]) -> dict[str, str]:
    return {**headers, "Authorization": f"Bearer {token}"}


def _lifetime_seconds(token: str) -> float:
    """Return how long a token lives, by the server's clock alone.

    One that can't be read lives until the server says otherwise.
    """
    try:
        payload = token.split(".")[1]
        text = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
        claims = msgspec.json.decode(text, type=_Payload)
    except (ValueError, IndexError):  # msgspec's errors and binascii's are ValueErrors
        return float("inf")
    return max(0.0, claims.exp - claims.iat)
