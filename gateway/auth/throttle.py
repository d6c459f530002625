"""Slows down who tries passwords: after some failures each costs a wait that doubles.

Failures are counted for an account (whether it exists or not) and for an address, in Postgres, so
that more processes give no more tries; while Postgres is away each process counts for itself. An
account that somebody else attacks stays open to addresses that have logged in to it lately: they
are counted apart.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from hashlib import sha256
from ipaddress import ip_address
from typing import Final

import asyncpg
import msgspec

from gateway import metrics
from gateway.auth.sql import queries
from runtime.clock import Clock
from runtime.logging import get_logger
from runtime.postgres import TRANSIENT_ERRORS
from schemas.errors import RetryLater

DAY_SECONDS: Final = 86_400
FAILURES_MAX: Final = 100
"""So many failures in a row cost a day, after which they are forgotten."""

KNOWN_SECONDS: Final = 30 * DAY_SECONDS
SUCCESS_NOTED_SECONDS: Final = DAY_SECONDS
LOOK_SECONDS: Final = 2.0
AWAY_SECONDS: Final = 5.0
REMEMBERED_MAX: Final = 65_536

log = get_logger()


ACCOUNT_FREE: Final = 5
ADDRESS_FREE: Final = 20
"""Failures in a row that cost nothing."""

WAIT_SECONDS_MAX: Final = 900


class Attempts(msgspec.Struct, frozen=True):
    """What is known of one subject. failures: in a row."""

    failures: int = 0
    failed_at: datetime | None = None
    succeeded_at: datetime | None = None


_NO_ATTEMPTS: Final = Attempts()


def wait_seconds(attempts: Attempts, free: int, now: datetime) -> float:
    """Return how long the next attempt has to wait, 0 when it may be made."""
    if attempts.failed_at is None or attempts.failures < free:
        return 0.0
    passed = (now - attempts.failed_at).total_seconds()
    if passed >= DAY_SECONDS:
        return 0.0
    doubled = min(WAIT_SECONDS_MAX, 1 << min(attempts.failures - free, 20))
    return max(0.0, (DAY_SECONDS if attempts.failures >= FAILURES_MAX else doubled) - passed)


def one_more(attempts: Attempts, now: datetime) -> Attempts:
    """Return the attempts with a failure added now; after a day without one it is the first."""
    is_forgotten = not _is_within(attempts.failed_at, now, DAY_SECONDS)
    failures = 1 if is_forgotten else attempts.failures + 1
    return msgspec.structs.replace(attempts, failures=failures, failed_at=now)


class Subjects(msgspec.Struct, frozen=True):
    """Whose attempts an attempt is counted among. address is None where it tells nobody apart."""

    account: bytes
    pair: bytes
    address: bytes | None

    @classmethod
    def of(cls, account: str, address: str) -> "Subjects":
        """Name the subjects of an attempt to log in to an account from an address."""
        return cls(
            _digest("account", account),
            _digest("pair", account, address),
            _digest("address", address) if _tells_apart(address) else None,
        )

    def known(self) -> list[bytes]:
        """Return all there are."""
        return [s for s in (self.account, self.pair, self.address) if s is not None]


class Throttle:
    """Counts attempts, and refuses the next one while it has to wait."""

    def __init__(self, pool: asyncpg.Pool, clock: Clock) -> None:
        self._pool = pool
        self._clock = clock
        self._memory: dict[bytes, Attempts] = {}
        self._away_until: datetime | None = None

    async def admit(self, subjects: Subjects) -> Mapping[bytes, Attempts]:
        """Return what is known of the subjects. Raises RetryLater."""
        known = await self._load(subjects)
        now = self._clock()
        free = self._counted(subjects, known)
        wait = max(wait_seconds(known.get(s, _NO_ATTEMPTS), free[s], now) for s in free)
        if wait > 0:
            metrics.LOGINS.labels("throttled").inc()
            seconds = int(wait) + 1
            detail = f"too many attempts failed: try again in {seconds} s"
            raise RetryLater("login_throttled", detail, seconds)
        return known

    async def fail(self, subjects: Subjects, known: Mapping[bytes, Attempts]) -> None:
        """Count a failure."""
        now = self._clock()
        forgotten = now - timedelta(seconds=DAY_SECONDS)
        for subject in self._counted(subjects, known):
            self._remember(subject, one_more(known.get(subject, _NO_ATTEMPTS), now))
            await self._write(queries.count_login_failure, subject, now, forgotten)

    async def succeed(self, subjects: Subjects, known: Mapping[bytes, Attempts]) -> None:
        """Forget the failures from here, and note that this address is known to the account.

        Failures from other addresses once this one is known, and those of the address on other
        accounts, stay: else a login of one's own would buy new tries.
        """
        now = self._clock()
        pair = known.get(subjects.pair, _NO_ATTEMPTS)
        is_noted = _is_within(pair.succeeded_at, now, SUCCESS_NOTED_SECONDS)
        if is_noted and not pair.failures:
            return
        self._remember(subjects.pair, Attempts(succeeded_at=now))
        self._memory.pop(subjects.account, None)
        await self._write(queries.note_login_success, subjects.pair, subjects.account, now)

    def _counted(self, subjects: Subjects, known: Mapping[bytes, Attempts]) -> Mapping[bytes, int]:
        """Return the subjects whose failures count, with how many of them are free."""
        pair = known.get(subjects.pair, _NO_ATTEMPTS)
        is_known = _is_within(pair.succeeded_at, self._clock(), KNOWN_SECONDS)
        free = {subjects.pair if is_known else subjects.account: ACCOUNT_FREE}
        if subjects.address is not None:
            free[subjects.address] = ADDRESS_FREE
        return free

    def _remember(self, subject: bytes, attempts: Attempts) -> None:
        if len(self._memory) >= REMEMBERED_MAX:
            del self._memory[next(iter(self._memory))]
        self._memory[subject] = attempts

    async def _load(self, subjects: Subjects) -> Mapping[bytes, Attempts]:
        names = subjects.known()
        if not self._is_away():
            try:
                async with self._pool.acquire(timeout=LOOK_SECONDS) as connection:
                    rows = await connection.fetch(
                        queries.find_login_attempts, names, timeout=LOOK_SECONDS
                    )
                return {row["subject"]: _attempts(row) for row in rows}
            except TRANSIENT_ERRORS as error:
                self._note_away(error)
        return {name: self._memory[name] for name in names if name in self._memory}

    async def _write(self, statement: str, *values: object) -> None:
        """Tell the other processes; while Postgres is away they are not told."""
        if self._is_away():
            return
        try:
            async with self._pool.acquire(timeout=LOOK_SECONDS) as connection:
                await connection.execute(statement, *values, timeout=LOOK_SECONDS)
        except TRANSIENT_ERRORS as error:
            self._note_away(error)

    def _is_away(self) -> bool:
        return self._away_until is not None and self._clock() < self._away_until

    def _note_away(self, error: BaseException) -> None:
        self._away_until = self._clock() + timedelta(seconds=AWAY_SECONDS)
        log.warning("login_attempts_not_shared", error=repr(error))


def _is_within(then: datetime | None, now: datetime, seconds: int) -> bool:
    return then is not None and now - then < timedelta(seconds=seconds)


def _attempts(row: asyncpg.Record) -> Attempts:
    return Attempts(row["failures"], row["failed_at"], row["succeeded_at"])


def _digest(*parts: str) -> bytes:
    return sha256("\0".join(parts).encode("utf-8", "surrogatepass")).digest()


def _tells_apart(address: str) -> bool:
    """Tell whether an address is one client's: behind loopback or a socket is everybody."""
    try:
        return not ip_address(address).is_loopback
    except ValueError:
        return False
