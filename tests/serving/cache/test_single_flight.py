"""Equal questions at a time are worked out once."""

import asyncio

import pytest

from assay.serving.cache.result_cache import SingleFlight

pytestmark = pytest.mark.anyio


class Work:
    """Work that ends when it is told to."""

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


async def test_many_askers_share_one_computation():
    flights, work = SingleFlight[str](), Work()
    askers = [asyncio.create_task(flights.run("photo", work)) for _ in range(50)]
    await settle()
    assert "photo" in flights
    work.answer.set_result("open")
    assert await asyncio.gather(*askers) == ["open"] * 50
    assert work.calls == 1
    assert "photo" not in flights


async def test_other_keys_and_later_questions_are_worked_out_anew():
    flights, work = SingleFlight[str](), Work()
    work.answer.set_result("open")
    await asyncio.gather(flights.run("a", work), flights.run("b", work))
    await flights.run("a", work)
    assert work.calls == 3


async def test_an_error_goes_to_all_who_wait_and_to_nobody_later():
    flights, work = SingleFlight[str](), Work()
    askers = [asyncio.create_task(flights.run("photo", work)) for _ in range(3)]
    await settle()
    work.answer.set_exception(OSError("no"))
    assert [str(error) for error in await asyncio.gather(*askers, return_exceptions=True)] == ["no"] * 3
    good = Work()
    good.answer.set_result("open")
    assert await flights.run("photo", good) == "open"


async def test_one_who_leaves_does_not_stop_the_others_even_the_first():
    flights, work = SingleFlight[str](), Work()
    first, second = (asyncio.create_task(flights.run("photo", work)) for _ in range(2))
    await settle()
    first.cancel()
    await settle()
    work.answer.set_result("open")
    assert await second == "open"
    assert first.cancelled()
    assert work.calls == 1


async def test_when_the_last_has_left_the_work_is_cancelled_and_a_newcomer_starts_afresh():
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


async def test_a_deadline_of_one_is_not_the_deadline_of_another():
    flights, work = SingleFlight[str](), Work()
    patient = asyncio.create_task(flights.run("photo", work))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await flights.run("photo", work)
    work.answer.set_result("open")
    assert await patient == "open"
