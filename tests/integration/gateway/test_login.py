"""Who may call: logins, tokens, scopes, and keys that stop."""

import base64
import json
from datetime import UTC, datetime, timedelta
from time import monotonic

import asyncpg
import jwt
import pytest

from tests.integration.gateway.conftest import PASSWORD, Site, add_key, log_in


async def login(site: Site, body: object) -> tuple[int, object]:
    status, answer = await site.post("/auth/login", body)
    return status, answer


async def test_a_key_and_its_password_give_a_token_for_an_hour(site: Site) -> None:
    status, token = await login(site, {"api_key": site.api_key, "password": PASSWORD})
    assert status == 200
    assert isinstance(token, str)
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] == 3_600
    assert (claims["iss"], claims["tenant"]) == ("meterline", site.tenant_ref)
    assert jwt.get_unverified_header(token).keys() == {"alg", "kid", "typ"}


async def test_username_is_another_name_and_a_form_another_shape(site: Site) -> None:
    status, _ = await login(site, {"username": site.api_key, "password": PASSWORD})
    assert status == 200
    form = f"api_key={site.api_key}&password={PASSWORD.replace(' ', '+')}"
    status, _ = await login(site, form.encode())
    assert status == 200


@pytest.mark.parametrize("name", ["", "nobody", "x" * 9_000, "\0", "\u202e"])
async def test_a_wrong_name_and_a_wrong_password_get_one_answer(site: Site, name: str) -> None:
    status, wrong_name = await login(site, {"api_key": name, "password": PASSWORD})
    assert status == 401
    status, wrong_password = await login(site, {"api_key": site.api_key, "password": name})
    assert status == 401
    assert wrong_name | {"instance": ""} == wrong_password | {"instance": ""}  # type: ignore[operator]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"api_key": "k"},
        {"api_key": 7, "password": "p"},
        {"email": "a@example.com"},
        [],
        b"",
        b"{",
        b"\xff",
    ],
)
async def test_a_login_that_is_none_is_refused(site: Site, body: object) -> None:
    status, _ = await login(site, body)
    assert status in (400, 422)


async def refused(site: Site, authorization: str | None) -> str:
    headers = {"Version": "V0"}
    if authorization is not None:
        headers["Authorization"] = authorization
    async with site.session.post(f"{site.url}/api/usage/event", headers=headers) as answer:
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        code = (await answer.json())["code"]
        assert isinstance(code, str)
        return code


def forged(token: str, **claims: object) -> str:
    body = jwt.decode(token, options={"verify_signature": False}) | claims
    kid = jwt.get_unverified_header(token)["kid"]
    return jwt.encode(body, b"x" * 32, "HS256", headers={"kid": kid})


def unsigned(token: str) -> str:
    header = base64.urlsafe_b64encode(json.dumps({"alg": "none", "typ": "JWT"}).encode())
    return f"{header.decode().rstrip('=')}.{token.split('.')[1]}."


async def test_missing_and_forged_tokens_are_401(site: Site) -> None:
    token = site.headers["Authorization"].removeprefix("Bearer ")
    assert await refused(site, None) == "token_missing"
    assert await refused(site, "Basic abc") == "token_missing"
    for bad in [
        "x",
        "a.b.c",
        token[:-2],
        token + "x",
        forged(token),
        unsigned(token),
        "x" * 5_000,
        "\u00e9",
        jwt.encode({"sub": "x"}, b"y" * 32, "HS256", headers={"kid": "a"}),
        jwt.encode({"sub": "x"}, b"y" * 32, "HS256"),
    ]:
        assert await refused(site, f"Bearer {bad}") == "token_invalid", bad


async def signed(site: Site, **changes: object) -> str:
    """A token of ours, properly signed, with claims changed; None leaves one out."""
    token = site.headers["Authorization"].removeprefix("Bearer ")
    kid = jwt.get_unverified_header(token)["kid"]
    connection = await asyncpg.connect(site.database)
    try:
        secret = await connection.fetchval("SELECT secret FROM signing_key WHERE kid = $1", kid)
    finally:
        await connection.close()
    claims = jwt.decode(token, options={"verify_signature": False}) | changes
    kept = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(kept, secret, "HS256", headers={"kid": kid})


async def test_tokens_with_claims_that_do_not_fit_are_401(site: Site) -> None:
    now = int(datetime.now(UTC).timestamp())
    await site.post("/api/usage/event", {}, {"Authorization": f"Bearer {await signed(site)}"})
    expired = await signed(site, iat=now - 7_200, exp=now - 3_600)
    assert await refused(site, f"Bearer {expired}") == "token_expired"
    unfit: list[dict[str, object]] = [
        {"iss": "other"},
        {"aud": "other"},
        {"exp": None},
        {"sub": None},
        {"exp": 10**300},
        {"exp": now + 10**6},
        {"iat": now + 600, "exp": now + 700},
        {"tenant": "00000000-0000-4000-8000-000000000009"},
        {"sub": "00000000-0000-4000-8000-000000000009"},
    ]
    for changes in unfit:
        token = await signed(site, **changes)
        assert await refused(site, f"Bearer {token}") == "token_invalid", changes


async def test_the_version_is_asked_for_under_api(site: Site) -> None:
    for version in (None, "V1", ""):
        headers = {"Authorization": site.headers["Authorization"]}
        if version is not None:
            headers["Version"] = version
        async with site.session.post(f"{site.url}/api/usage/event", headers=headers) as answer:
            assert answer.status == 400
            detail = (await answer.json())["detail"]
            assert "Version" in detail
            assert "V0" in detail


async def test_a_key_without_the_scope_may_not_write_usage(site: Site) -> None:
    connection = await asyncpg.connect(site.database)
    try:
        name, _ = await add_key(connection, site.tenant_id, ["usage:read"])
    finally:
        await connection.close()
    token = await log_in(site.session, site.url, name)
    for path in ("/api/usage/event", "/api/usage/events"):
        status, refusal = await site.post(path, [], {"Authorization": f"Bearer {token}"})
        assert (status, refusal["code"]) == (403, "scope_missing")


async def test_a_revoked_key_stops_soon_on_every_process(site: Site) -> None:
    await site.take(site.event())
    connection = await asyncpg.connect(site.database)
    try:
        await connection.execute(
            "UPDATE api_key SET revoked_at = now() WHERE api_key = $1", site.api_key
        )
    finally:
        await connection.close()
    deadline = monotonic() + 60
    in_a_row = 0
    while in_a_row < 30:
        assert monotonic() < deadline
        async with site.session.post(
            f"{site.url}/api/usage/event",
            data=json.dumps(site.event()),
            headers=site.headers | {"Connection": "close"},
        ) as answer:
            in_a_row = in_a_row + 1 if answer.status == 401 else 0
    status, _ = await login(site, {"api_key": site.api_key, "password": PASSWORD})
    assert status == 401


async def test_an_expired_key_can_not_log_in(site: Site) -> None:
    connection = await asyncpg.connect(site.database)
    try:
        past = datetime.now(UTC) - timedelta(seconds=1)
        name, _ = await add_key(connection, site.tenant_id, ["usage:write"], expires_at=past)
    finally:
        await connection.close()
    status, _ = await login(site, {"api_key": name, "password": PASSWORD})
    assert status == 401
