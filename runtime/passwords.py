"""Passwords: made up here, or chosen by people; and what is stored instead of them.

A password that we make has 190 random bits, so nothing is gained by a slow hash: its SHA-256 is
stored. Any other is stored as argon2id. Which of the two is done is told by the password that is
given, never by what is stored, so that the time a check takes says nothing about what exists.
"""

import re
import secrets
import string
from collections.abc import Sequence
from hashlib import sha256
from hmac import compare_digest
from typing import Final
from zlib import crc32

import argon2

PREFIX: Final = "mtl_"
"""What a scanner for leaked secrets looks for: `mtl_[0-9A-Za-z]{38}`."""

PASSWORD_BYTES_MAX: Final = 1_024
RANDOM_LENGTH: Final = 32
CHECKSUM_LENGTH: Final = 6

_ALPHABET: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
_SHA256: Final = "sha256$"
_match_generated: Final = re.compile(
    rf"{PREFIX}([0-9A-Za-z]{{{RANDOM_LENGTH}}})([0-9A-Za-z]{{{CHECKSUM_LENGTH}}})"
).fullmatch

#: OWASP's second choice: 19 MiB, two passes, one thread; about 0.1 s of one core.
_hasher: Final = argon2.PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)


def generate_password() -> str:
    """Make a password up; its end is a checksum, so that a mistyped one is known as such."""
    text = "".join(secrets.choice(_ALPHABET) for _ in range(RANDOM_LENGTH))
    return PREFIX + text + _checksum(text)


def is_generated(password: str) -> bool:
    """Tell whether a password has the form of those that `generate_password` makes."""
    found = _match_generated(password)
    return found is not None and found[2] == _checksum(found[1])


def hash_password(password: str) -> str:
    """Return what to store; takes 0.1 s of CPU unless the password was generated."""
    if is_generated(password):
        return _digest(password)
    return _hasher.hash(password.encode("utf-8", "replace"))


def match_password(password: str, stored: Sequence[str], stand_in: str) -> int | None:
    """Return the index of the stored hash that a password fits, None if it fits none.

    At most one of them is argon2id. stand_in: an argon2id hash to do the same work on where there
    is none.
    """
    if is_generated(password):
        given = _digest(password)
        fitting = [compare_digest(given, hashed) for hashed in stored]
        return fitting.index(True) if True in fitting else None
    slow = next((i for i, hashed in enumerate(stored) if not hashed.startswith(_SHA256)), None)
    text = password.encode("utf-8", "replace")
    if len(text) > PASSWORD_BYTES_MAX:
        text, slow = b"", None
    is_right = _verify(stand_in if slow is None else stored[slow], text)
    return slow if is_right else None


def is_outdated(stored: str) -> bool:
    """Tell whether a hash was made with other costs than new ones are."""
    return not stored.startswith(_SHA256) and _hasher.check_needs_rehash(stored)


def _verify(stored: str, given: bytes) -> bool:
    try:
        return _hasher.verify(stored, given)
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        return False


def _digest(password: str) -> str:
    return _SHA256 + sha256(password.encode()).hexdigest()


def _checksum(text: str) -> str:
    rest = crc32(text.encode())
    letters = ""
    for _ in range(CHECKSUM_LENGTH):
        rest, place = divmod(rest, len(_ALPHABET))
        letters += _ALPHABET[place]
    return letters
