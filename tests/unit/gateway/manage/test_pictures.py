"""Logos: what is a picture of bounded size, and draws only."""

import base64
import struct

import pytest

from gateway.manage.pictures import LOGO_BYTES_MAX, logo
from schemas.errors import InvalidInput


def uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def png(width: int, height: int, more: bytes = b"") -> bytes:
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", width, height) + more


def jpeg(width: int, height: int) -> bytes:
    return b"\xff\xd8\xff\xe0\0\x04ab\xff\xc0\0\x11\x08" + struct.pack(">HH", height, width)


def svg(inside: str) -> bytes:
    return f'<svg xmlns="http://www.w3.org/2000/svg">{inside}</svg>'.encode()


@pytest.mark.parametrize(
    "given",
    [
        uri("png", png(300, 80)),
        uri("jpeg", jpeg(300, 80)),
        uri("svg+xml", svg('<linearGradient id="a" href="#b"/><path d="M0 0" fill="url(#a)"/>')),
    ],
)
def test_a_picture_is_taken_as_it_is(given: str) -> None:
    assert logo(given) == given


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ("iVBORw0KGgo=", "logo_malformed"),
        (5, "logo_malformed"),
        ("data:text/html;base64,PGI+", "logo_malformed"),
        ("data:image/png;base64,A", "logo_malformed"),
        (uri("png", b"GIF89a"), "logo_malformed"),
        (uri("jpeg", png(1, 1)), "logo_malformed"),
        (uri("jpeg", b"\xff\xd8\xff\xe0"), "logo_malformed"),
        (uri("png", png(4_001, 1)), "logo_too_large"),
        (uri("png", png(0, 1)), "logo_too_large"),
        (uri("png", png(1, 1, bytes(LOGO_BYTES_MAX))), "logo_too_large"),
        (uri("svg+xml", b"<svg>\xff</svg>"), "logo_malformed"),
        (uri("svg+xml", b"<b/>"), "logo_malformed"),
        (uri("svg+xml", svg("<script>1</script>")), "logo_unsafe"),
        (uri("svg+xml", svg('<g onload="x()"/>')), "logo_unsafe"),
        (uri("svg+xml", svg('<use href="http://a/b"/>')), "logo_unsafe"),
        (uri("svg+xml", svg('<g id="a"/><use href="#a"/>')), "logo_unsafe"),
        (uri("svg+xml", svg('<s:use xlink:href="#a"/>')), "logo_unsafe"),
        (uri("svg+xml", svg('<pattern id="a"/>')), "logo_unsafe"),
        (uri("svg+xml", svg('<image href="#x"/>')), "logo_unsafe"),
        (uri("svg+xml", svg('<path fill="url(http://a)"/>')), "logo_unsafe"),
        (uri("svg+xml", b'<!DOCTYPE a [<!ENTITY b "c">]>' + svg("")), "logo_unsafe"),
    ],
)
def test_what_is_no_harmless_picture_is_refused(given: object, code: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        logo(given)
    assert refused.value.code == code
