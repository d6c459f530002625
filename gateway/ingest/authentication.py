"""Who calls: an API key logs in for a token, and the token says tenant and scopes.

Tokens are JWTs (HS256, one hour). A verified token is remembered by its digest, so that the
signature is computed once; whether its key and the token still stand is asked of memory every time.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from time import time
from typing import Any, Final
from uuid import uuid4

import asyncpg
import jwt

from gateway.auth import records
from gateway.auth.audit import INSTALLATION, Who
from gateway.auth.claims import Claims
from gateway.auth.logins import Logins
from gateway.auth.sessions import Sessions
from gateway.auth.signing import RELOAD_SECONDS, SigningKeys, rotate
from gateway.auth.sql import QUERY_SECONDS
from gateway.reference import ApiKey, Reference
from runtime.clock import Clock
from runtime.logging import get_logger
from runtime.passwords import is_outdated
from runtime.postgres import TRANSIENT_ERRORS
from schemas.errors import NotAllowed, TransientError

__all__ = ["Authentication", "Claims"]

ISSUER: Final = "meterline"
AUDIENCE: Final = "meterline-gateway"
ALGORITHM: Final = "HS256"
TOKEN_TYPE: Final = "JWT"  # noqa: S105 - the kind of a token, not one
TOKEN_LENGTH_MAX: Final = 4_096
TOKENS_REMEMBERED_MAX: Final = 65_536
CLOCK_LEEWAY_SECONDS: Final = 30
USE_NOTED_SECONDS: Final = 10.0
FORGET_SECONDS: Final = 3_600.0
SESSION_SECONDS: Final = 12 * 3_600
ROTATION_AGE: Final = timedelta(days=30)
"""A signing key is followed by a new one after so long."""

log = get_logger()

_jwt: Final = jwt.PyJWT(options={"enforce_minimum_key_length": True})
_REQUIRED_CLAIMS: Final = ("exp", "iat", "iss", "aud", "sub", "jti", "tenant", "scopes", "password")


class Authentication:
    """Logs API keys in, and verifies the tokens that they got."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        reference: Reference,
        clock: Clock,
        *,
        token_seconds: int,
        session_seconds: int = SESSION_SECONDS,
    ) -> None:
        self._pool = pool
        self._reference = reference
        self._clock = clock
        self._token_seconds = token_seconds
        self._signing = SigningKeys(pool)
        self._remembered: dict[bytes, Claims] = {}
        self._used: set[str] = set()
        self.logins = Logins(pool, clock)
        self.sessions = Sessions(pool, self.logins, clock, seconds=session_seconds)

    async def start(self) -> None:
        """Load the keys that sign tokens; make the first one where there is none."""
        await self.logins.start()
        await self._signing.start()
        await self.logins.blocks.load(self._pool)

    async def keep_fresh(self) -> None:
        """For ever, follow and rotate the keys that sign, and note which API keys are used."""
        loop = asyncio.get_running_loop()
        noted_at = forgot_at = loop.time()
        while True:
            await asyncio.sleep(RELOAD_SECONDS)
            try:
                if await self._signing.load():
                    self._remembered.clear()  # verified with a key that is no longer believed
                await self.logins.blocks.load(self._pool)
                if loop.time() - noted_at >= USE_NOTED_SECONDS:
                    noted_at = loop.time()
                    await self._note_use()
                if loop.time() - forgot_at >= FORGET_SECONDS:
                    forgot_at = loop.time()
                    await self._tidy()
            except TRANSIENT_ERRORS as error:
                log.warning("authentication_not_refreshed", error=repr(error))

    async def _note_use(self) -> None:
        used, self._used = self._used, set()
        if used:
            await records.note_use(self._pool, used, self._clock())

    async def _tidy(self) -> None:
        await records.forget(self._pool, self._clock())
        async with self._pool.acquire(timeout=QUERY_SECONDS) as connection:
            await rotate(connection, older_than=ROTATION_AGE, who=Who("gateway"))

    # ------------------------------------------------------------------ login

    async def login(self, api_key: str, password: str, who: Who) -> str:
        """Return a token for a key and its password. who: from where it is asked.

        A wrong name and a wrong password get the same answer after the same work; without
        Postgres nobody knows that they are wrong.
        Raises NotAllowed, or TransientError when it has to be tried later.
        """
        key, is_current = await self._reference.find_key_by_name(api_key)
        stored = () if key is None else key.password_hashes
        tenant_id = INSTALLATION if key is None else key.tenant_id
        try:
            fits = await self.logins.check(
                api_key, stored, password, address=who.address, tenant_id=tenant_id
            )
        except NotAllowed as error:
            if is_current or error.code != "login_failed":
                raise
            detail = "this login can't be checked while the database is away"
            raise TransientError("login_unavailable", detail) from None
        assert key is not None, "no hash fits a key that does not exist"
        signed_in = Who(f"key {key.api_key_ref}", who.address, who.request_id)
        rehashed = await self.logins.hash(password) if is_outdated(stored[fits]) else None
        try:
            await records.record_login(
                self._pool, key, signed_in, stored=stored[fits], rehashed=rehashed
            )
        except TRANSIENT_ERRORS as error:
            # Events of known customers are taken without Postgres: their senders can log in.
            log.warning("login_not_recorded", api_key_ref=key.api_key_ref, error=repr(error))
        return self._sign(key, key.password_number + fits)

    def _sign(self, key: ApiKey, password_number: int) -> str:
        now = int(self._clock().timestamp())
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": key.api_key_ref,
            "jti": str(uuid4()),
            "tenant": key.tenant_ref,
            "scopes": sorted(key.scopes),
            "password": password_number,
            "iat": now,
            "exp": now + self._token_seconds,
        }
        self._used.add(key.api_key_ref)
        kid, secret = self._signing.signing()
        return _jwt.encode(claims, secret, ALGORITHM, headers={"kid": kid, "typ": TOKEN_TYPE})

    async def revoke(self, claims: Claims, who: Who) -> None:
        """Let a token be worth nothing any more: here at once, elsewhere when the news arrive."""
        ends = datetime.fromtimestamp(claims.expires_at, UTC)
        await records.revoke_token(self._pool, claims, ends, who)
        self._reference.revoked_tokens[claims.token_id] = ends

    # ------------------------------------------------------------------ tokens

    async def verify(self, authorization: str | None) -> Claims:
        """Return what the token of an `Authorization` header says. Raises NotAllowed."""
        claims = self.recall(authorization)
        if claims is not None:
            return claims
        if authorization is None or not authorization.lower().startswith("bearer "):
            raise NotAllowed(
                "token_missing", "an Authorization header with a bearer token is needed"
            )
        token = authorization[7:].strip()
        if len(token) > TOKEN_LENGTH_MAX:
            raise _invalid()
        claims = await self._claims_of(await self._decode(token))
        self._remember(token, claims)
        return claims

    def recall(self, authorization: str | None) -> Claims | None:
        """Return the claims of a token that was verified before and still stands, else None."""
        if authorization is None:
            return None
        claims = self._remembered.get(_bearer_digest(authorization))
        if claims is None or time() >= claims.expires_at:  # a datetime takes 4 us, for every event
            return None
        if not self._stands(claims, self._reference.find_key(claims.api_key_ref)):
            return None
        self._used.add(claims.api_key_ref)
        return claims

    def _stands(self, claims: Claims, key: ApiKey | None) -> bool:
        """Tell whether neither the token, nor its key, nor the password behind it was ended."""
        return (
            key is not None
            and claims.password_number >= key.password_number
            and claims.token_id not in self._reference.revoked_tokens
        )

    def _remember(self, token: str, claims: Claims) -> None:
        if len(self._remembered) >= TOKENS_REMEMBERED_MAX:
            del self._remembered[next(iter(self._remembered))]
        self._remembered[_digest(token)] = claims
        self._used.add(claims.api_key_ref)

    async def _decode(self, token: str) -> dict[str, Any]:
        """Verify signature, times, issuer and audience, with the key that the token names."""
        try:
            header = jwt.get_unverified_header(token)
            secret = await self._signing.find(header.get("kid"))
            if secret is None or header.get("typ") != TOKEN_TYPE:
                raise _invalid()
            return _jwt.decode(
                token,
                secret,
                algorithms=[ALGORITHM],
                issuer=ISSUER,
                audience=AUDIENCE,
                leeway=CLOCK_LEEWAY_SECONDS,
                options={"require": list(_REQUIRED_CLAIMS)},
            )
        except jwt.ExpiredSignatureError:
            raise NotAllowed("token_expired", "the token has expired: log in again") from None
        except (jwt.PyJWTError, ValueError, RecursionError):
            raise _invalid() from None

    async def _claims_of(self, payload: dict[str, Any]) -> Claims:
        """Check a payload of ours against the key that it was made for."""
        key = await self._reference.load_key(payload["sub"])
        lifetime = payload["exp"] - payload["iat"]
        if (
            key is None
            or key.tenant_ref != payload["tenant"]
            or not 0 < lifetime <= self._token_seconds
        ):
            raise _invalid()
        claims = Claims(
            actor=f"key {key.api_key_ref}",
            tenant_id=key.tenant_id,
            tenant_ref=key.tenant_ref,
            scopes=key.scopes & frozenset(payload["scopes"]),
            expires_at=int(payload["exp"]),
            api_key_ref=key.api_key_ref,
            token_id=payload["jti"],
            password_number=payload["password"],
        )
        if not self._stands(claims, key):
            raise _invalid()
        return claims


@lru_cache(maxsize=1 << 12)
def _bearer_digest(authorization: str) -> bytes:
    """Return the digest of a header's token, of no token where it has none.

    Remembered by the whole header: that of a remembered head is the same object each time, whose
    hash Python keeps; a token cut out of it would be hashed anew for every event.
    """
    scheme, _, token = authorization.partition(" ")
    return _digest(token) if scheme == "Bearer" else b""


def _digest(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogateescape")).digest()


def _invalid() -> NotAllowed:
    return NotAllowed("token_invalid", "the token is not valid: log in again")
