"""Nobody waits longer than allowed, even for what does not let itself be cancelled."""

import asyncio
from contextlib import suppress

import pytest

from assay.serving.resilience import TimeoutRunner


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
