"""Which addresses become links, and which name this machine."""

from __future__ import annotations

import pytest

from narratives.addresses import is_loopback, safe_link


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "data:text/html,x", "file:///etc/passwd", "//evil", "https:", " java\nscript:x", None, 5, "http://["]
)
def test_only_addresses_of_the_web_become_links(url: object) -> None:
    assert safe_link(url) is None


def test_an_address_of_the_web_is_a_link() -> None:
    assert safe_link(" https://t.me/x/1 ") == "https://t.me/x/1"


@pytest.mark.parametrize(
    "authority", ["localhost", "LOCALHOST:80", "127.0.0.1", "127.0.0.1:8765", "127.0.0.2:80", "::1", "[::1]", "[::1]:80"]
)
def test_this_machine_has_these_names(authority: str) -> None:
    assert is_loopback(authority)


@pytest.mark.parametrize(
    "authority",
    [
        "", ":80", "[]", "0.0.0.0", "::", "[::]:80", "10.0.0.1", "evil.example", "evil.example:80", "127.0.0.2.example:80",
        "localhost.evil.example:80", "localhost:80:80", "[::1]evil.example:80", "evil.example[::1]", "2130706433", "127.0.0.1\n",
    ],
)  # fmt: skip
def test_every_other_name_is_foreign(authority: str) -> None:
    assert not is_loopback(authority)
