"""Determine the client's IP address behind trusted proxies, and its subnet."""

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from assay.serving.auth.settings import Network

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
