"""The circuit breaker, and timeouts for operations that cannot be cancelled."""

import asyncio
from contextlib import suppress

import pytest

from assay.serving.resilience import CircuitBreaker, TimeoutRunner


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_consecutive_failures_open_the_breaker_and_a_success_closes_it():
    clock = Clock()
    breaker = CircuitBreaker(failures=2, pause=1, clock=clock)
    assert not breaker.failed()
    assert breaker.allows()
    assert breaker.failed()
    assert breaker.open
    assert not breaker.allows()
    clock.now = 1
    assert breaker.allows()
    assert breaker.succeeded()
    assert breaker.allows()
    assert not breaker.open


def test_separate_failures_do_not_open_the_breaker():
    breaker = CircuitBreaker(failures=2)
    for _ in range(5):
        breaker.failed()
        assert not breaker.succeeded()
    assert breaker.allows()


def test_open_breaker_allows_one_trial_at_a_time():
    clock = Clock()
    breaker = CircuitBreaker(failures=1, pause=1, clock=clock)
    breaker.failed()
    clock.now = 1
    assert [breaker.allows() for _ in range(3)] == [True, False, False]


def test_pauses_double_up_to_the_maximum():
    clock = Clock()
    breaker = CircuitBreaker(failures=1, pause=1, max_pause=4, clock=clock)
    breaker.failed()
    pauses = []
    for _ in range(4):
        start = clock.now
        while not breaker.allows():
            clock.now += 0.5
        pauses.append(clock.now - start)
        assert not breaker.failed()
    assert pauses == [1, 2, 4, 4]


def test_result_in_time_is_returned():
    async def quick() -> int:
        return 7

    assert asyncio.run(TimeoutRunner().run(quick, 1.0)) == 7


def test_error_is_propagated():
    async def fails() -> None:
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError, match="gone"):
        asyncio.run(TimeoutRunner().run(fails, 1.0))


def test_operation_that_ignores_cancellation_is_abandoned():
    async def scenario() -> bool:
        go = asyncio.Event()

        async def stubborn() -> None:
            with suppress(asyncio.CancelledError):
                await go.wait()
            await go.wait()

        in_time = TimeoutRunner()
        with pytest.raises(TimeoutError):
            await in_time.run(stubborn, 0.01)
        go.set()
        await in_time.settle()
        return True

    assert asyncio.run(scenario())
