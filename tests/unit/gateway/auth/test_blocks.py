"""Blocks as a process knows them: which address and account of which tenant they are about."""

from ipaddress import ip_network

import pytest

from gateway.auth.audit import INSTALLATION
from gateway.auth.blocks import Blocks, read_network
from schemas.errors import InvalidInput


def known(*blocks: tuple[int, str]) -> Blocks:
    """Know some blocks: of networks where they have a slash, else of accounts."""
    made = Blocks()
    made.keep(
        (tenant, ip_network(text), None) if "/" in text else (tenant, None, text)
        for tenant, text in blocks
    )
    return made


@pytest.mark.parametrize(
    ("network", "address", "is_blocked"),
    [
        ("203.0.113.9/32", "203.0.113.9", True),
        ("203.0.113.9/32", "203.0.113.8", False),
        ("203.0.113.0/24", "203.0.113.255", True),
        ("203.0.113.0/24", "203.0.114.0", False),
        ("0.0.0.0/0", "203.0.113.9", True),
        ("0.0.0.0/0", "2001:db8::", False),
        ("2001:db8::/64", "2001:db8::", True),
        ("2001:db8::/32", "2001:db8:1::", True),
        ("2001:db8::/64", "2001:db8:0:1::", False),
        ("203.0.113.0/24", "unknown", False),
    ],
)
def test_an_address_is_blocked_by_the_network_it_is_in(
    network: str, address: str, is_blocked: bool
) -> None:
    blocks = known((7, network))
    assert blocks.is_address_blocked(7, address) is is_blocked
    assert blocks.is_blocked(7, "key", address) is is_blocked
    assert not blocks.is_blocked(8, "key", address)


def test_an_account_is_blocked_whatever_its_case() -> None:
    blocks = known((7, "key-1"))
    assert blocks.is_blocked(7, "KEY-1", "203.0.113.9")
    assert not blocks.is_blocked(7, "key-2", "203.0.113.9")
    assert not blocks.is_blocked(8, "key-1", "203.0.113.9")


def test_what_the_installation_blocks_counts_for_every_tenant() -> None:
    blocks = known((INSTALLATION, "key-1"), (INSTALLATION, "203.0.113.0/24"))
    assert blocks.is_blocked(7, "key-1", "192.0.2.1")
    assert blocks.is_blocked(7, "key-2", "203.0.113.9")


def test_blocks_that_are_known_no_more_are_none() -> None:
    blocks = known((7, "key-1"), (7, "203.0.113.0/24"))
    blocks.keep(())
    assert not blocks.is_blocked(7, "key-1", "203.0.113.9")


def test_an_ipv6_client_is_its_whole_network() -> None:
    assert str(read_network("2001:db8::1")) == "2001:db8::/64"
    assert str(read_network(" 2001:db8::/32 ")) == "2001:db8::/32"
    assert str(read_network("203.0.113.9")) == "203.0.113.9/32"


@pytest.mark.parametrize("text", ["203.0.113.9/24", "example.com", "1", "", 7, None])
def test_what_is_no_network_is_refused(text: object) -> None:
    with pytest.raises(InvalidInput):
        read_network(text)
