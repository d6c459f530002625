"""Where webhooks may go, and when they are tried again."""

from datetime import timedelta
from ipaddress import ip_address

import pytest

from schemas.errors import InvalidInput
from schemas.webhook import WAITS, check_url, may_go_to, next_wait

INSIDE = (
    *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"),
    *("0.0.0.0", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "ff02::1"),
    *("::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::10.0.0.1", "2002:7f00:1::"),
)


@pytest.mark.parametrize("address", INSIDE)
def test_what_is_inside_is_never_gone_to(address: str) -> None:
    assert not may_go_to(ip_address(address), scheme="https")
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(InvalidInput, match="url_not_public"):
        check_url(f"https://{host}/", allows_loopback=False)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_what_is_public_is_gone_to_by_https_alone(address: str) -> None:
    assert may_go_to(ip_address(address), scheme="https")
    assert not may_go_to(ip_address(address), scheme="http", allows_loopback=True)


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://example.com/", "url_not_https"),
        ("ftp://example.com/", "url_not_https"),
        ("https:///path", "url_malformed"),
        ("https://user:secret@example.com/", "url_malformed"),
        ("https://example.com/#part", "url_malformed"),
        ("https://example.com:99999/", "url_malformed"),
        ("https://exa mple.com/", "url_malformed"),
        ("https://[::1", "url_malformed"),
        ("https://2130706433/", None),  # resolved, and then refused by its address
        ("https://example.com:8443/hook?x=1", None),
    ],
)
def test_urls(url: str, code: str | None) -> None:
    if code is None:
        check_url(url, allows_loopback=False)
        return
    with pytest.raises(InvalidInput, match=code):
        check_url(url, allows_loopback=False)


def test_http_is_for_this_machine_in_development() -> None:
    for host in ("127.0.0.1:8000", "localhost", "[::1]"):
        check_url(f"http://{host}/", allows_loopback=True)
        with pytest.raises(InvalidInput, match="url_not_https"):
            check_url(f"http://{host}/", allows_loopback=False)
    with pytest.raises(InvalidInput, match="url_not_https"):
        check_url("http://example.com/", allows_loopback=True)


def test_it_is_tried_for_about_three_days_with_growing_waits() -> None:
    waits = [next_wait(attempt) for attempt in range(1, len(WAITS) + 2)]
    assert waits[-1] is None
    assert list(WAITS) == sorted(WAITS)
    assert timedelta(days=2.8) < sum(WAITS, timedelta()) < timedelta(days=3.2)
