"""Tokens of links: what was sealed is read again, and nothing else is."""

from hypothesis import given
from hypothesis import strategies as st

from schemas.link_token import TOKEN_LENGTH, Linked, link, seal, unseal

SECRET, OTHER = b"s" * 32, b"t" * 32
links = st.builds(
    Linked, st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1), st.uuids(allow_nil=True)
)


@given(links)
def test_a_link_is_read_again_with_its_key_alone(linked: Linked) -> None:
    token = seal(linked, SECRET)
    assert len(token) == TOKEN_LENGTH
    assert unseal(token, SECRET) == linked
    assert unseal(token, OTHER) is None


@given(links, st.integers(0, TOKEN_LENGTH - 1), st.characters())
def test_a_link_with_another_character_is_none(linked: Linked, place: int, other: str) -> None:
    token = seal(linked, SECRET)
    changed = token[:place] + other + token[place + 1 :]
    assert (unseal(changed, SECRET) is None) == (changed != token)


@given(st.text(max_size=80))
def test_any_other_text_is_none(text: str) -> None:
    assert unseal(text, SECRET) is None


@given(links, st.sampled_from(["https://bills.example.com", "https://example.com/billing/"]))
def test_a_link_ends_with_its_token_alone(linked: Linked, public_url: str) -> None:
    written = link(public_url, linked, SECRET)
    assert written == f"{public_url.rstrip('/')}/i/{seal(linked, SECRET)}"
