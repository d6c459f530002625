"""Bodies opened piece by piece, whatever packed them."""

import gzip
from collections.abc import Callable, Iterable

import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from gateway.uploads.opening import PIECE_BYTES, Opener
from schemas.errors import InvalidInput


def opened(pieces: Iterable[bytes]) -> bytes:
    opener = Opener()
    found = [part for piece in pieces for part in opener.open(piece)]
    found += opener.finish()
    assert all(0 < len(part) <= PIECE_BYTES for part in found)
    return b"".join(found)


CHECKED = {int(zstd.CompressionParameter.checksum_flag): 1}
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda body: body,
    "gzip": gzip.compress,
    "zstd": lambda body: zstd.compress(body, options=CHECKED),
    "two gzip members": lambda body: gzip.compress(body[:5]) + gzip.compress(body[5:]),
    "two zstd frames": lambda body: zstd.compress(body[:5]) + zstd.compress(body[5:]),
}


@given(
    st.binary(max_size=300).map(lambda body: b"a," + body * 700),
    st.sampled_from(sorted(PACKERS)),
    st.integers(1, 100_000),
)
def test_a_body_is_the_same_however_it_was_packed_and_cut(
    body: bytes, packer: str, size: int
) -> None:
    packed = PACKERS[packer](body)
    size = max(size, len(packed) // 500)
    assert opened(packed[n : n + size] for n in range(0, len(packed), size)) == body


@pytest.mark.parametrize("body", [b"", b"a", b"abc", b"\x1f", b"\x28\xb5\x2f"])
def test_a_body_too_short_to_tell_is_plain(body: bytes) -> None:
    assert opened([body]) == body
    assert opened(body[n : n + 1] for n in range(len(body))) == body


@pytest.mark.parametrize("packer", ["gzip", "zstd"])
def test_a_body_that_is_cut_short_or_broken_is_refused(packer: str) -> None:
    packed = PACKERS[packer](b"timestamp,quantity\n" * 1_000)
    for wrong in (packed[:-3], packed[:10], packed + b"rest", packed[:20] + b"????" + packed[24:]):
        with pytest.raises(InvalidInput, match=packer):
            opened([wrong])


def test_a_zstd_window_that_would_take_much_memory_is_refused() -> None:
    window = {
        int(zstd.CompressionParameter.window_log): 27,
        int(zstd.CompressionParameter.enable_long_distance_matching): 1,
    }
    compressor = zstd.ZstdCompressor(options=window)
    packed = compressor.compress(b"a,b\n" * 10_000) + compressor.flush()
    with pytest.raises(InvalidInput, match="zstd"):
        opened([packed])
