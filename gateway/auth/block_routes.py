"""`/auth/blocks`: addresses and accounts that may not log in, over HTTP."""

from typing import Final

from aiohttp import web

from gateway.auth.blocks import Block, add_block, end_block, read_account, read_network
from gateway.auth.keys import read_instant
from gateway.auth.requests import who_asks
from gateway.auth.routing import auth_routes
from gateway.auth.sql import queries
from gateway.manage import values
from gateway.manage.answers import json_answer
from gateway.manage.body import Fields
from gateway.manage.context import caller, path_ref, read_body, transaction


def read_block(fields: Fields) -> Block:
    """Read the body of `POST /auth/blocks`."""
    block = Block(
        address=fields.optional(read_network, "address"),
        account=fields.optional(read_account, "account"),
        note=fields.optional(values.text, "note"),
        expires_at=fields.optional(read_instant, "expires_at"),
    )
    if fields.has("address") == fields.has("account"):
        fields.add("required", "say either an address or an account", "address")
    return block


async def make_block(request: web.Request) -> web.Response:
    """POST /auth/blocks: from now on an address or an account logs in to this tenant no more.

    A blocked account's sessions and tokens end; who is logged in from a blocked address stays so.
    """
    body = await read_body(request, refuses_unknown=True)
    block = read_block(body.fields)
    body.finish()
    async with transaction(request) as (connection, tenant_id):
        who = who_asks(request, caller(request))
        block_ref = await add_block(connection, tenant_id, who, block)
    return json_answer({"block_ref": block_ref})


async def list_blocks(request: web.Request) -> web.Response:
    """GET /auth/blocks: those in force, at most 1,000, in the order they were made."""
    async with transaction(request) as (connection, tenant_id):
        rows = await connection.fetch(queries.list_blocks, tenant_id)
    shown = [dict(row) | {"address": row["address"] and str(row["address"])} for row in rows]
    return json_answer(shown)


async def delete_block(request: web.Request) -> web.Response:
    """DELETE /auth/blocks/<block_ref>."""
    block_ref = path_ref(request, "block_ref")
    async with transaction(request) as (connection, tenant_id):
        await end_block(connection, tenant_id, who_asks(request, caller(request)), block_ref)
    return json_answer({"block_ref": block_ref})


ROUTES: Final[list[web.RouteDef]] = [
    *auth_routes("POST", "/auth/blocks", make_block, reads=read_block),
    *auth_routes("GET", "/auth/blocks", list_blocks),
    *auth_routes("DELETE", "/auth/blocks/{block_ref}", delete_block),
]
