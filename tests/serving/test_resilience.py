"""The circuit breaker, and timeouts for operations that cannot be cancelled."""

import asyncio
from contextlib import suppress

import pytest

from assay.serving.resilience import CircuitBreaker, TimeoutRunner


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_failures_in_a_row_open_it_and_an_answer_closes_it():
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


def test_failures_with_answers_between_do_not_open_it():
    breaker = CircuitBreaker(failures=2)
    for _ in range(5):
        breaker.failed()
        assert not breaker.succeeded()
    assert breaker.allows()


def test_one_at_a_time_tries_while_it_is_open():
    clock = Clock()
    breaker = CircuitBreaker(failures=1, pause=1, clock=clock)
    breaker.failed()
    clock.now = 1
    assert [breaker.allows() for _ in range(3)] == [True, False, False]


def test_pauses_double_up_to_the_longest():
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


def test_what_is_in_time_is_returned():
    async def quick() -> int:
        return 7

    assert asyncio.run(TimeoutRunner().run(quick, 1.0)) == 7


def test_an_error_is_passed_on():
    async def fails() -> None:
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError, match="gone"):
        asyncio.run(TimeoutRunner().run(fails, 1.0))


def test_what_swallows_its_cancellation_is_left_behind():
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
