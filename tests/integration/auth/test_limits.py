"""A tenant over its limits is told so, and the others notice nothing."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import requests

from tests.ground import NewGround
from tests.integration.auth.conftest import Office, Site, make_office
from tests.processes import running

REQUESTS, EVENTS, BYTES = 2, 5, 1_000


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def narrow(new_ground: NewGround) -> AsyncIterator[Site]:
    """Run one gateway process with low limits."""
    async with new_ground("limits") as ground:
        service = ground.service(
            "gateway",
            METERLINE_GATEWAY_REQUESTS_PER_SECOND=str(REQUESTS),
            METERLINE_GATEWAY_EVENTS_PER_SECOND=str(EVENTS),
            METERLINE_GATEWAY_BYTES_PER_SECOND=str(BYTES),
        )
        with running(service):
            service.start()
            yield Site(service.url, ground.postgres, [service])


def send_until_refused(
    office: Office, token: str, path: str, body: object, most: int
) -> requests.Response:
    """Repeat a request until it is over the limit; the refusal."""
    for _ in range(most):
        answer = office.send("POST" if body is not None else "GET", path, body, token=token)
        if answer.status_code == 429:
            return answer
    raise AssertionError(f"{most} requests were let through")


def assert_refused(answer: requests.Response, policy: str) -> None:
    assert answer.json()["code"] == "rate_limited"
    assert int(answer.headers["Retry-After"]) >= 1
    assert answer.headers["RateLimit"].startswith(f'"{policy}";r=0;t=')


async def test_requests_are_limited_for_each_tenant_by_itself(narrow: Site) -> None:
    greedy, modest = await make_office(narrow), await make_office(narrow)
    token, other = greedy.log_in(), modest.log_in()
    path = "/api/customers/names"
    first = greedy.send("GET", path, token=token)
    assert first.headers["RateLimit-Policy"].startswith(f'"requests";q={REQUESTS * 10};w=10')
    assert first.headers["RateLimit"].startswith(f'"requests";r={REQUESTS * 10 - 1};t=')
    assert_refused(send_until_refused(greedy, token, path, None, 500), "requests")
    assert modest.send("GET", path, token=other).ok


@pytest.mark.parametrize(
    ("path", "body", "policy"),
    [
        ("/api/usage/event", {"quantity": 1}, "events"),
        ("/api/usage/events", [{"quantity": 1}] * 100, "events"),
        ("/api/usage/events", [{"quantity": 1, "idempotency_key": "x" * 200}] * 45, "bytes"),
    ],
)
async def test_events_and_their_bytes_are_limited_too(
    narrow: Site, path: str, body: object, policy: str
) -> None:
    greedy, modest = await make_office(narrow), await make_office(narrow)
    token, other = greedy.log_in(), modest.log_in()
    assert_refused(send_until_refused(greedy, token, path, body, 2_000), policy)
    assert modest.send("POST", path, body, token=other).status_code != 429
    assert greedy.send("GET", "/api/customers/names", token=token).ok
