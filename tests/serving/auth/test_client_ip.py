"""The client address behind proxies cannot be forged."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.serving.auth.client_ip import client_address, client_subnet, parse_address, parse_networks

TRUSTED = parse_networks(["10.0.0.0/8", "2001:db8:aaaa::/48", "127.0.0.1"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("192.0.2.1", None, "192.0.2.1"),
        ("192.0.2.1", "198.51.100.7", "192.0.2.1"),
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", "203.0.113.9, 198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", "198.51.100.7, 10.2.3.4", "198.51.100.7"),
        ("10.0.0.1", "127.0.0.1, 198.51.100.7,10.2.3.4 , 127.0.0.1", "198.51.100.7"),
        ("10.0.0.1", "10.1.1.1, 10.2.2.2", "10.1.1.1"),
        ("10.0.0.1", "198.51.100.7:4711", "198.51.100.7"),
        ("10.0.0.1", '"[2001:db8::7]:4711"', "2001:db8::7"),
        ("10.0.0.1", "2001:db8::7", "2001:db8::7"),
        ("10.0.0.1", "198.51.100.7, unknown", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.7, unknown, 10.2.2.2", "10.2.2.2"),
        ("10.0.0.1", "198.51.100.7,", "10.0.0.1"),
        ("::ffff:10.0.0.1", "::ffff:198.51.100.7", "198.51.100.7"),
        ("2001:db8:aaaa::1", "198.51.100.7", "198.51.100.7"),
        ("/run/assay.sock", "198.51.100.7", "/run/assay.sock"),
        ("", None, ""),
    ],
)
def test_client_address_behind_trusted_proxies(peer: str, forwarded: str | None, client: str):
    assert client_address(peer, forwarded, TRUSTED) == client


@given(st.text(max_size=200))
def test_forged_forwarded_entries_are_ignored(made_up: str):
    assert client_address("10.0.0.1", f"{made_up}, 198.51.100.7", TRUSTED) == "198.51.100.7"
    assert client_address("192.0.2.1", made_up, TRUSTED) == "192.0.2.1"


def test_header_of_a_megabyte_is_not_parsed_completely():
    assert client_address("10.0.0.1", "10.0.0.2," * 200_000 + "10.0.0.3", TRUSTED) == "10.0.0.2"


@pytest.mark.parametrize("text", ["", "1.2.3", "1.2.3.4.5", "01.2.3.4", "a.b.c.d", "[::1", "1.2.3.4/8", "::g"])
def test_invalid_addresses(text: str):
    assert parse_address(text) is None or text == "[::1"


def test_client_subnets():
    assert client_subnet("192.0.2.1") == "192.0.2.1"
    assert client_subnet("2001:db8:1:2:3:4:5:6") == client_subnet("2001:db8:1:2::1") == "2001:db8:1:2::/64"
    assert client_subnet("2001:db8:1:3::1") != client_subnet("2001:db8:1:2::1")
    assert client_subnet("/run/assay.sock") == "/run/assay.sock"
