"""Concurrent calls with the same key are computed once."""

import asyncio

import pytest

from assay.serving.cache.result_cache import SingleFlight

pytestmark = pytest.mark.anyio


class Work:
    """Work that ends on request."""

    def __init__(self) -> None:
        self.calls = 0
        self.cancelled = False
        self.answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def __call__(self) -> str:
        self.calls += 1
        try:
            return await self.answer
        except asyncio.CancelledError:
            self.cancelled = True
            raise


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_concurrent_calls_share_one_computation():
    flights, work = SingleFlight[str](), Work()
    askers = [asyncio.create_task(flights.run("photo", work)) for _ in range(50)]
    await settle()
    assert "photo" in flights
    work.answer.set_result("open")
    assert await asyncio.gather(*askers) == ["open"] * 50
    assert work.calls == 1
    assert "photo" not in flights


async def test_other_keys_and_later_calls_are_computed_again():
    flights, work = SingleFlight[str](), Work()
    work.answer.set_result("open")
    await asyncio.gather(flights.run("a", work), flights.run("b", work))
    await flights.run("a", work)
    assert work.calls == 3


async def test_error_reaches_all_waiting_callers_only():
    flights, work = SingleFlight[str](), Work()
    askers = [asyncio.create_task(flights.run("photo", work)) for _ in range(3)]
    await settle()
    work.answer.set_exception(OSError("no"))
    assert [str(error) for error in await asyncio.gather(*askers, return_exceptions=True)] == ["no"] * 3
    good = Work()
    good.answer.set_result("open")
    assert await flights.run("photo", good) == "open"


async def test_cancelled_caller_does_not_stop_others():
    flights, work = SingleFlight[str](), Work()
    first, second = (asyncio.create_task(flights.run("photo", work)) for _ in range(2))
    await settle()
    first.cancel()
    await settle()
    work.answer.set_result("open")
    assert await second == "open"
    assert first.cancelled()
    assert work.calls == 1


async def test_work_is_cancelled_with_the_last_caller_and_restarted_by_the_next():
    flights, work = SingleFlight[str](), Work()
    askers = [asyncio.create_task(flights.run("photo", work)) for _ in range(2)]
    await settle()
    for asker in askers:
        asker.cancel()
    await asyncio.gather(*askers, return_exceptions=True)
    fresh = Work()
    fresh.answer.set_result("open")
    assert await flights.run("photo", fresh) == "open"
    assert work.cancelled
    assert "photo" not in flights


async def test_each_caller_has_its_own_deadline():
    flights, work = SingleFlight[str](), Work()
    patient = asyncio.create_task(flights.run("photo", work))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await flights.run("photo", work)
    work.answer.set_result("open")
    assert await patient == "open"
