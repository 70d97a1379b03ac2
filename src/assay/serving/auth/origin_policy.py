"""Protect a server without API keys from other web pages: checks of Host, Origin and Sec-Fetch-Site."""

import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

from assay.serving.auth import AccessDeniedError

ANY_HOST = "*"
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s,/@:\[\]]+)(?::([0-9]*))?")
_OWN_SITES = frozenset({"same-origin", "none"})
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_LOCAL = "localhost"


class OriginPolicy:
    """Checks Host, Origin and Sec-Fetch-Site.

    Args:
        listening: address or name that the server listens at. At a loopback address, requests must name a
            loopback address, `localhost`, or one of `hosts`. At any other, names are checked only if there are
            `hosts`, and addresses never, since a page cannot obtain an address as its origin by DNS.
        hosts: further names of the server, without ports; `*`: any.
        origins: origins of other servers' pages that may use this one; `*`: any.
    """

    def __init__(self, listening: str, hosts: Collection[str], origins: Collection[str]) -> None:
        self._local = is_loopback(listening)
        self._hosts = frozenset(_normalize_host(host) for host in hosts)
        self._known = self._hosts | {_normalize_host(listening)}
        self._checks_host = (self._local or bool(hosts)) and ANY_HOST not in hosts
        self._origins = frozenset(origin.lower() for origin in origins)

    def check(self, method: str, headers: Mapping[str, str]) -> None:
        """Check a request by its method and headers, whose names are in lower case; repeated ones are joined by commas.

        Raises:
            AccessDeniedError: 403, the host name is not this server's, or the request is from another server's page.
        """
        host = headers.get("host")
        if host and self._checks_host and not self._is_allowed(host):
            raise AccessDeniedError(
                403, "This server does not answer under this host name; allow it with --allowed-host"
            )
        if not self._own_page(method, headers):
            raise AccessDeniedError(403, "This server does not answer pages of other origins")

    def _is_allowed(self, host: str) -> bool:
        name = host_name(host)
        if name is None:
            return False
        if name == _LOCAL or name in self._known:
            return True
        address = _address(name)
        return address is not None and (address.is_loopback or not self._local)

    def _own_page(self, method: str, headers: Mapping[str, str]) -> bool:
        origin = headers.get("origin")
        if origin is not None and (ANY_HOST in self._origins or origin.lower() in self._origins):
            return True
        if origin is not None and not same_origin(headers) and not self._of_own_name(origin):
            return False
        return headers.get("sec-fetch-site", "none") in _OWN_SITES or _is_link_navigation(method, headers)

    def _of_own_name(self, origin: str) -> bool:
        """Return whether an origin has a name of this server: a proxy may have replaced the Host."""
        return host_name(origin.partition("://")[2]) in self._hosts


def same_origin(headers: Mapping[str, str]) -> bool:
    """Return whether a request comes from a page of the requested host, or not from a page."""
    origin = headers.get("origin")
    if origin is None:
        return True
    scheme, _, page = origin.lower().partition("://")
    if scheme not in _DEFAULT_PORTS:
        return False
    page_host = _with_port(page, _DEFAULT_PORTS[scheme])
    return page_host is not None and page_host == _with_port(headers.get("host", ""), _DEFAULT_PORTS[scheme])


def is_from_own_page(headers: Mapping[str, str]) -> bool:
    """Return whether a request comes from this server's own page, or not from a browser."""
    return same_origin(headers) and headers.get("sec-fetch-site", "none") in _OWN_SITES


def is_loopback_host_header(host: str) -> bool:
    """Return whether a Host header is `localhost` or a loopback address, with any port."""
    name = host_name(host)
    return name is not None and is_loopback(name)


def is_loopback(host: str) -> bool:
    """Return whether an address or name, without a port, is a loopback one."""
    if host == _LOCAL:
        return True
    address = _address(host)
    return address is not None and address.is_loopback


@lru_cache(maxsize=1024)
def host_name(host: str) -> str | None:
    """Return the name in a Host header, in lower case and without its port; None if it is malformed."""
    found = _HOST.fullmatch(host.strip())
    return None if found is None else _normalize_host(found[1])


def _normalize_host(name: str) -> str:
    return name.lower().removeprefix("[").removesuffix("]").removesuffix(".")


def _with_port(host: str, port: str) -> tuple[str, str] | None:
    found = _HOST.fullmatch(host.strip())
    return None if found is None else (_normalize_host(found[1]), found[2] or port)


def _address(name: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(name)
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


def _is_link_navigation(method: str, headers: Mapping[str, str]) -> bool:
    """Return whether the user has followed a link: the page with the link cannot read the response."""
    return (
        method in {"GET", "HEAD"}
        and headers.get("sec-fetch-mode") == "navigate"
        and headers.get("sec-fetch-dest") == "document"
    )
