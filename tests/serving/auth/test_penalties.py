"""Addresses that fail too often wait; the others do not."""

from typing import Any

import pytest

from assay.serving.auth.authenticator import AuthThrottle
from assay.serving.auth.interfaces import AccessDeniedError
from assay.serving.auth.rate_limits import Rate

RATE = Rate.per_minute(30, 3)


def _waits(penalties: AuthThrottle, address: str) -> int:
    try:
        penalties.check(address)
    except AccessDeniedError as refused:
        return int(refused.headers["Retry-After"])
    return 0


def test_the_refusal(clock: Any):
    penalties = AuthThrottle(Rate.per_minute(30, 1), clock)
    penalties.failed("192.0.2.1")
    with pytest.raises(AccessDeniedError, match="Too many failed requests") as refused:
        penalties.check("192.0.2.1")
    assert refused.value.status == 429


def test_after_some_failures_an_address_waits_as_long_as_it_is_told(clock: Any):
    penalties = AuthThrottle(RATE, clock)
    for _ in range(3):
        assert _waits(penalties, "192.0.2.1") == 0
        penalties.failed("192.0.2.1")
    assert _waits(penalties, "192.0.2.1") == 2
    assert _waits(penalties, "192.0.2.2") == 0
    clock.now += 1.9
    assert _waits(penalties, "192.0.2.1") == 1
    clock.now += 0.1
    assert _waits(penalties, "192.0.2.1") == 0


def test_however_often_it_failed_it_never_waits_longer(clock: Any):
    penalties = AuthThrottle(RATE, clock)
    for _ in range(1000):
        penalties.failed("192.0.2.1")
    assert _waits(penalties, "192.0.2.1") == 2


def test_addresses_of_one_ipv6_network_are_one(clock: Any):
    penalties = AuthThrottle(RATE, clock)
    for host in range(3):
        penalties.failed(f"2001:db8::{host:x}")
    assert _waits(penalties, "2001:db8::ffff") == 2
    assert _waits(penalties, "2001:db8:0:1::1") == 0


def test_the_table_is_bounded_and_forgets_the_oldest(clock: Any):
    penalties = AuthThrottle(RATE, clock, most=100)
    for host in range(256):
        for _ in range(3):
            penalties.failed(f"192.0.2.{host}")
    assert len(penalties) == 100
    assert _waits(penalties, "192.0.2.0") == 0
    assert _waits(penalties, "192.0.2.255") == 2
