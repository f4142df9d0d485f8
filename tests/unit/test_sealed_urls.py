"""URLs as a recording has them."""

from __future__ import annotations

import pytest

from rbuild.sealed.urls import carries_secret, printable_url, recorded_url


@pytest.mark.parametrize(
    ("url", "recorded"),
    [
        ("HTTP://Example.ORG:80", "http://example.org/"),
        ("https://user:pass@example.org:443/a%2fb?x=1&y#part", "https://example.org/a%2fb?x=1&y"),
        ("https://example.org:8443/a/../b", "https://example.org:8443/a/../b"),
        ("http://[2001:DB8::1]:80/x", "http://[2001:db8::1]/x"),
        (
            "https://b.example/o?X-Amz-Signature=s&x-amz-date=d&response-content-type=text%2Fhtml",
            "https://b.example/o?response-content-type=text%2Fhtml",
        ),
        ("https://b.example/o?sv=1&se=2&sr=b&sp=r&sig=abc%3D", "https://b.example/o"),
        ("https://cdn.example/o?Expires=1&Signature=abc&Key-Pair-Id=K&v=2", "https://cdn.example/o?v=2"),
        ("https://example.org/o?Expires=1&sv=2", "https://example.org/o?Expires=1&sv=2"),
        ("https://example.org/o?token=next-page", "https://example.org/o?token=next-page"),
    ],
)
def test_one_spelling_and_no_secret(url: str, recorded: str) -> None:
    assert recorded_url(url) == recorded
    assert recorded_url(recorded) == recorded


@pytest.mark.parametrize(
    "url", ["ftp://x/", "http:///x", "//x/y", "http://[::1", "http://a b/", "http://x:99999/", "http://x:y/"]
)
def test_what_is_no_url_of_the_web(url: str) -> None:
    with pytest.raises(ValueError):
        recorded_url(url)
    assert isinstance(printable_url(url), str)


@pytest.mark.parametrize(
    ("url", "secret"),
    [
        ("/relative?token=x", True),
        ("https://u:p@example.org/", True),
        ("https://b.example/o?X-Goog-Signature=1", True),
        ("https://b.example/o?name=token", False),
        ("/plain", False),
    ],
)
def test_secrets_in_a_redirect(url: str, secret: bool) -> None:
    assert carries_secret(url) is secret


def test_a_message_shows_no_password() -> None:
    assert "pw" not in printable_url("ssh://user:pw@example.org/x?token=pw")
