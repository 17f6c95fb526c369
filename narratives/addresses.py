"""Web addresses that came from elsewhere: which may become a link, and which name this machine."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

_AUTHORITY = re.compile(r"(?:\[(?P<v6>[^\]]*)\]|(?P<name>[^:\[\]]*))(?::\d*)?")


def safe_link(url: object) -> str | None:
    """The address, trimmed, if it is one of the web (http or https); anything else (javascript:, data:, a file) is no link."""
    if not isinstance(url, str) or re.search(r"[\s\x00-\x1f]", url.strip()):
        return None
    try:
        parts = urlsplit(url.strip())
    except ValueError:
        return None
    return url.strip() if parts.scheme in {"http", "https"} and parts.netloc else None


def is_loopback(authority: str) -> bool:
    """Whether a host, or "host:port" as a `Host` header has it, is `localhost` or an address of this machine alone.

    No other name is: a page in a browser must not reach a service of this machine by a name of its own (DNS rebinding).
    """
    found = _AUTHORITY.fullmatch(authority)
    # What does not match is a bare IPv6 address, or no host at all.
    host = authority if found is None else found["v6"] or found["name"] or ""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
