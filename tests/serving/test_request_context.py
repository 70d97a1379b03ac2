"""Cancellation of work whose client has disconnected."""

import asyncio

import pytest

from assay.serving.request_context import ClientDisconnectedError, cancel_on_disconnect


def test_work_is_cancelled_when_the_client_disconnects() -> None:
    async def ask() -> None:
        async def receive() -> dict[str, str]:
            await asyncio.sleep(0.01)
            return {"type": "http.disconnect"}

        with pytest.raises(ClientDisconnectedError):
            async with cancel_on_disconnect(receive):
                await asyncio.sleep(10)
        await asyncio.sleep(0)

    asyncio.run(ask())


def test_a_client_that_disconnects_as_the_work_ends_cancels_nothing_afterwards() -> None:
    async def ask() -> int:
        loop, gone = asyncio.get_running_loop(), asyncio.Event()
        work: asyncio.Future[int] = loop.create_future()

        async def receive() -> dict[str, str]:
            await gone.wait()
            return {"type": "http.disconnect"}

        def end_and_disconnect() -> None:
            loop.call_soon(work.set_result, 5)
            gone.set()

        loop.call_later(0.01, end_and_disconnect)
        async with cancel_on_disconnect(receive):
            result = await work
        await asyncio.sleep(0)
        return result

    assert asyncio.run(ask()) == 5
