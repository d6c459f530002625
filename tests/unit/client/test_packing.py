"""Which requests are packed, and that what is packed is what was to be sent."""

import gzip

import pytest

from meterline_client import AsyncClient, Limits
from meterline_client.packing import INLINE_BYTES_MAX, pack
from tests.unit.client.stub import stub


@pytest.mark.parametrize("size", [1_024, INLINE_BYTES_MAX, INLINE_BYTES_MAX + 1, 1_000_000])
async def test_a_large_body_is_packed_whole(size: int) -> None:
    body = b"[%b]" % (b" " * (size - 2))
    packed, headers = await pack(body, 1_024)
    assert headers["Content-Encoding"] == "gzip"
    assert len(packed) < len(body)
    assert gzip.decompress(packed) == body
    assert await pack(body, 1_024) == (packed, headers), "a further try sends the same bytes"


@pytest.mark.parametrize("bytes_min", [1_024, None])
async def test_a_small_body_is_sent_as_it_is_and_any_other_without_the_setting(
    bytes_min: int | None,
) -> None:
    body = b" " * (1_023 if bytes_min else 100_000)
    sent, headers = await pack(body, bytes_min)
    assert sent is body
    assert "Content-Encoding" not in headers


@pytest.mark.parametrize(("bytes_min", "coding"), [(1_024, "gzip"), (None, None)])
async def test_the_clients_limits_decide(bytes_min: int | None, coding: str | None) -> None:
    limits = Limits(gzip_bytes_min=bytes_min)
    async with stub() as server, AsyncClient(server.url, "key", "word", limits=limits) as client:
        await client.send_many({"quantity": n, "idempotency_key": f"key-{n}"} for n in range(500))
        assert sorted(key for keys in server.sent for key in keys) == sorted(
            f"key-{n}" for n in range(500)
        )
        assert max(map(len, server.bodies)) > 1_024
        codings = {
            headers.get("content-encoding")
            for headers, body in zip(server.headers[1:], server.bodies, strict=True)
            if len(body) >= 1_024
        }
        assert codings == {coding}
