"""Addresses with many failed requests must wait; others need not."""

from typing import Any

import pytest

from assay.serving.auth import AccessDeniedError
from assay.serving.auth.authenticator import AuthThrottle
from assay.serving.auth.rate_limits import Rate

RATE = Rate.per_minute(30, 3)


def _waits(throttle: AuthThrottle, address: str) -> int:
    try:
        throttle.check(address)
    except AccessDeniedError as refused:
        return int(refused.headers["Retry-After"])
    return 0


def test_throttled_address_gets_429(clock: Any):
    throttle = AuthThrottle(Rate.per_minute(30, 1), clock)
    throttle.record_failure("192.0.2.1")
    with pytest.raises(AccessDeniedError, match="Too many failed requests") as refused:
        throttle.check("192.0.2.1")
    assert refused.value.status == 429


def test_address_waits_after_failures_for_retry_after(clock: Any):
    throttle = AuthThrottle(RATE, clock)
    for _ in range(3):
        assert _waits(throttle, "192.0.2.1") == 0
        throttle.record_failure("192.0.2.1")
    assert _waits(throttle, "192.0.2.1") == 2
    assert _waits(throttle, "192.0.2.2") == 0
    clock.now += 1.9
    assert _waits(throttle, "192.0.2.1") == 1
    clock.now += 0.1
    assert _waits(throttle, "192.0.2.1") == 0


def test_wait_does_not_grow_with_the_number_of_failures(clock: Any):
    throttle = AuthThrottle(RATE, clock)
    for _ in range(1000):
        throttle.record_failure("192.0.2.1")
    assert _waits(throttle, "192.0.2.1") == 2


def test_addresses_of_one_ipv6_64_are_throttled_together(clock: Any):
    throttle = AuthThrottle(RATE, clock)
    for host in range(3):
        throttle.record_failure(f"2001:db8::{host:x}")
    assert _waits(throttle, "2001:db8::ffff") == 2
    assert _waits(throttle, "2001:db8:0:1::1") == 0


def test_number_of_addresses_is_bounded_and_the_oldest_are_dropped(clock: Any):
    throttle = AuthThrottle(RATE, clock, max_addresses=100)
    for host in range(256):
        for _ in range(3):
            throttle.record_failure(f"192.0.2.{host}")
    assert len(throttle) == 100
    assert _waits(throttle, "192.0.2.0") == 0
    assert _waits(throttle, "192.0.2.255") == 2
