"""Requests that are of no events: repeated under one key until they are answered, or refused."""

import pytest

from meterline_client import RequestRefused, Unavailable
from tests.unit.client.stub import Reply, always, problem, stub
from tests.unit.client.test_sender import SHORT, client_of


async def test_other_requests_are_repeated_under_one_idempotency_key_or_refused() -> None:
    busy = always(problem(503, "database_unavailable"))
    made = always(Reply(200, {"ref": 1}))
    async with stub(busy, busy, made) as server, client_of(server.url) as client:
        assert await client.request("POST", "/api/customers", {"name": "A"}) == {"ref": 1}
        assert len(server.bodies) == 3
        assert len({sent.get("idempotency-key") for sent in server.headers[1:]}) == 1
        assert {sent["version"] for sent in server.headers[1:]} == {"V0"}
    async with stub(always(problem(409, "name_taken"))) as server, client_of(server.url) as client:
        with pytest.raises(RequestRefused, match="name_taken") as refused:
            await client.request("POST", "/api/customers", {"name": "A"})
        assert refused.value.status == 409
    async with stub(*[busy] * 10_000) as server, client_of(server.url, **SHORT) as client:
        with pytest.raises(Unavailable):
            await client.request("POST", "/api/customers", {"name": "A"})
