"""Passwords: what is made up, what is stored, and what fits."""

import pytest

from runtime.passwords import (
    PASSWORD_BYTES_MAX,
    generate_password,
    hash_password,
    is_generated,
    is_outdated,
    match_password,
)

STAND_IN = hash_password("nobody's")
CHEAP = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$UW5vdCBhIHJlYWwgaGFzaA"


def test_a_generated_password_is_known_by_its_form_and_checksum() -> None:
    made = generate_password()
    assert is_generated(made)
    assert generate_password() != made
    for bad in (made[:-1], made + "x", made.swapcase(), "mtl_", "", "correct horse"):
        assert not is_generated(bad)
    other = "0" if made[5] != "0" else "1"
    assert not is_generated(made[:5] + other + made[6:])


def test_a_generated_password_is_stored_as_sha256_and_any_other_as_argon2id() -> None:
    assert hash_password(generate_password()).startswith("sha256$")
    assert hash_password("correct horse").startswith("$argon2id$")


PASSWORDS = {
    "generated": generate_password(),
    "a phrase": "correct horse",
    "letters beyond ASCII": "pässwörd",
    "no text at all": "\ud800",
}


@pytest.mark.parametrize("password", PASSWORDS.values(), ids=PASSWORDS)
def test_a_password_fits_its_own_hash_alone(password: str) -> None:
    stored = [hash_password(generate_password()), hash_password(password)]
    assert match_password(password, stored, STAND_IN) == 1
    assert match_password(password, stored[:1], STAND_IN) is None
    assert match_password(password, [], STAND_IN) is None
    assert match_password(password + "x", stored, STAND_IN) is None


def test_the_stand_in_lets_nobody_in() -> None:
    assert match_password("nobody's", [], STAND_IN) is None


def test_a_password_over_the_bound_is_not_even_hashed_as_it_is() -> None:
    long = "x" * (PASSWORD_BYTES_MAX + 1)
    assert match_password(long, [hash_password(long)], STAND_IN) is None


def test_a_damaged_hash_fits_nothing() -> None:
    assert match_password("x", ["$argon2id$nonsense"], STAND_IN) is None


def test_a_hash_of_other_costs_is_outdated() -> None:
    assert is_outdated(CHEAP)
    assert not is_outdated(STAND_IN)
    assert not is_outdated(hash_password(generate_password()))
