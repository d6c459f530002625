"""Who may not log in: addresses, networks and accounts that somebody has blocked.

A tenant's block counts for its own accounts, one of the installation (tenant 0) for all. Every
process knows the blocks from memory, so that they hold without Postgres too, and reads them every
few seconds. Blocking an account ends its sessions and tokens; blocking an address leaves who is
logged in alone.
"""

from collections.abc import Iterable
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final
from uuid import UUID, uuid4

import asyncpg
import msgspec

from gateway.auth import audit
from gateway.auth.audit import INSTALLATION, Who
from gateway.auth.origin import IPV6_SITE_BITS
from gateway.auth.sql import QUERY_SECONDS, queries
from gateway.manage import values
from runtime.postgres import Connection
from schemas.errors import Conflict, InvalidInput, NotFound

BLOCKS_MAX: Final = 1_000
"""The most that a tenant has at once."""

LOADED_MAX: Final = 100_000

Network = IPv4Network | IPv6Network


class Block(msgspec.Struct, frozen=True):
    """A block as it is asked for: an address or an account. expires_at: None for ever."""

    address: Network | None
    account: str | None
    note: str | None
    expires_at: datetime | None


def read_network(value: object) -> Network:
    """Read an address or a network. An IPv6 client has a /64 to choose from: it is one client."""
    text = values.text(value)
    try:
        network = ip_network(text.strip())
    except ValueError:
        detail = "must be an address or a network, such as 203.0.113.9 or 203.0.113.0/24"
        raise InvalidInput("address_malformed", detail) from None
    if isinstance(network, IPv6Network) and network.prefixlen > IPV6_SITE_BITS:
        return network.supernet(new_prefix=IPV6_SITE_BITS)
    return network


def read_account(value: object) -> str:
    """Read the name of a key or the e-mail of an admin; its case does not count."""
    return values.name(value).lower()


class Blocks:
    """The blocks in force, as this process knows them."""

    def __init__(self) -> None:
        self._accounts: set[tuple[int, str]] = set()
        #: By version and length of prefix: the tenants by the bits of the prefix.
        self._networks: dict[tuple[int, int], dict[int, set[int]]] = {}

    async def load(self, pool: asyncpg.Pool) -> None:
        """Read them."""
        async with pool.acquire(timeout=QUERY_SECONDS) as connection:
            rows = await connection.fetch(queries.load_blocks, LOADED_MAX, timeout=QUERY_SECONDS)
        self.keep((row["tenant_id"], row["address"], row["account"]) for row in rows)

    def keep(self, blocks: Iterable[tuple[int, Network | None, str | None]]) -> None:
        """Know these blocks, each of a tenant and of an address or an account, and no others."""
        accounts: set[tuple[int, str]] = set()
        networks: dict[tuple[int, int], dict[int, set[int]]] = {}
        for tenant_id, network, account in blocks:
            if account is not None:
                accounts.add((tenant_id, account))
            elif network is not None:
                kind = (network.version, network.prefixlen)
                bits = _prefix(int(network.network_address), *kind)
                networks.setdefault(kind, {}).setdefault(bits, set()).add(tenant_id)
        self._accounts, self._networks = accounts, networks

    def is_address_blocked(self, tenant_id: int, address: str) -> bool:
        """Tell whether a tenant, or the installation (0), has blocked an address."""
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        return any(
            tenant_id in tenants.get(_prefix(int(parsed), *kind), ())
            for kind, tenants in self._networks.items()
            if kind[0] == parsed.version
        )

    def is_blocked(self, tenant_id: int, account: str, address: str) -> bool:
        """Tell whether an account of a tenant may not log in from an address."""
        name = account.lower()
        return any(
            (tenant, name) in self._accounts or self.is_address_blocked(tenant, address)
            for tenant in (INSTALLATION, tenant_id)
        )


def _prefix(address: int, version: int, length: int) -> int:
    return address >> ((32 if version == 4 else 128) - length)  # noqa: PLR2004


async def add_block(connection: Connection, tenant_id: int, who: Who, block: Block) -> UUID:
    """Block an address or an account, and return the block's ref.

    tenant_id: 0 for the whole installation. Raises NotFound when a tenant has no such account,
    and Conflict when it has too many blocks.
    """
    await connection.execute(queries.forget_blocks, tenant_id)
    if await connection.fetchval(queries.count_blocks, tenant_id) >= BLOCKS_MAX:
        raise Conflict("blocks_too_many", f"there are {BLOCKS_MAX} blocks: end one first")
    if block.account is not None:
        is_known = await _end_account(connection, tenant_id, block.account)
        if not is_known and tenant_id != INSTALLATION:
            raise NotFound("account_unknown", f"you have no account {block.account[:64]!r}")
    block_ref = uuid4()
    row = (block.address, block.account, block.note, who.actor, block.expires_at)
    await connection.execute(queries.add_block, tenant_id, block_ref, *row)
    made = msgspec.structs.asdict(block)
    await audit.record(connection, tenant_id, who, "block.made", block_ref, after=made)
    return block_ref


async def _end_account(connection: Connection, tenant_id: int, account: str) -> bool:
    """End the sessions and tokens of an account; tell whether there is one of that name."""
    admins = await connection.fetch(queries.find_account_admins, tenant_id, account)
    for admin in admins:
        await connection.execute(queries.end_sessions_of, admin["tenant_id"], admin["admin_ref"])
    keys = await connection.fetch(queries.end_tokens_of, tenant_id, account)
    return bool(admins or keys)


async def end_block(connection: Connection, tenant_id: int, who: Who, block_ref: UUID) -> None:
    """End a block. Raises NotFound."""
    row = await connection.fetchrow(queries.delete_block, tenant_id, block_ref)
    if row is None:
        raise NotFound("block_unknown", f"there is no block {block_ref}")
    former = {"address": row["address"], "account": row["account"]}
    await audit.record(connection, tenant_id, who, "block.ended", block_ref, before=former)
