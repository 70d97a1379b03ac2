"""The client's address: the socket's other end, or what trusted proxies say it is.

Knows nothing of keys. X-Forwarded-For can be written by anyone; each proxy appends the address that it saw.
It is therefore read from right to left, and only as far as the proxies named in the settings vouch for it:
the first address that is no trusted proxy is the client, whatever stands left of it.
"""

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from assay.serving.auth.settings import Network

Address = IPv4Address | IPv6Address
_MANY = 32
"""Hops that are looked at; the header is as long as a client likes."""


def networks(blocks: Sequence[str]) -> tuple[Network, ...]:
    """Return blocks of addresses from their texts; bits behind the mask are ignored."""
    return tuple(ip_network(block, strict=False) for block in blocks)


def parse_address(text: str) -> Address | None:
    """Return an address from `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1` or `[2001:db8::1]:80`.

    None where it is none. An IPv4 address in IPv6's clothes (`::ffff:192.0.2.1`) is the IPv4 address; a zone
    (`%eth0`) is dropped.
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

    Args:
        peer: address of the socket's other end; the text itself is returned where it is none (a Unix socket).
        forwarded: X-Forwarded-For, several of them joined by commas.
        trusted: the proxies that are believed.

    Returns:
        The last address from the right that no trusted proxy has; where what stands next is no address,
        the trusted proxy that passed it on.
    """
    current, text = _peer(peer)
    if current is None or forwarded is None:
        return text
    for hop in reversed(forwarded.split(",")[-_MANY:]):
        if not any(current in network for network in trusted):
            break
        before = parse_address(hop)
        if before is None:
            break
        current = before
    return str(current)


@lru_cache(maxsize=1024)
def _peer(text: str) -> tuple[Address | None, str]:
    """Return an address and its shortest form; to read one takes longer than all else here."""
    address = parse_address(text)
    return address, text if address is None else str(address)


def group_of(address: str) -> str:
    """Return what counts as one place on the network: an IPv4 address, or the /64 of an IPv6 address.

    A household or a rented machine has a whole /64: single addresses there are no names.
    """
    parsed = parse_address(address)
    if isinstance(parsed, IPv6Address):
        return str(ip_network((int(parsed) >> 64 << 64, 64)))
    return address
