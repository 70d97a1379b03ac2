"""Dynamic batching."""

import asyncio
import threading
from collections.abc import Sequence

import pytest

from assay.inference import EngineSetup
from assay.serving.batching import Batcher, BatchResult
from assay.serving.compute_pool import ComputePool
from assay.serving.telemetry import NullTelemetry


class Network:
    """Doubles numbers, when it is let; remembers its batches, and how many were processed at a time."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.free = threading.Event()
        self.free.set()
        self.running = self.most_running = 0
        self._lock = threading.Lock()

    def __call__(self, numbers: Sequence[int]) -> list[int]:
        with self._lock:
            self.batches.append(list(numbers))
            self.running += 1
            self.most_running = max(self.most_running, self.running)
        self.free.wait(10)
        with self._lock:
            self.running -= 1
        if 13 in numbers:
            raise ValueError("13")
        return [2 * number for number in numbers]


@pytest.fixture
def network() -> Network:
    return Network()


def _batcher(
    network: Network, batch: int = 4, streams: int = 1, few: Network | None = None, pool: ComputePool | None = None
) -> Batcher[int, int]:
    setup = EngineSetup("openvino", threads=streams, streams=streams, batch=batch)
    return Batcher(network, few or network, setup, pool or ComputePool(100), NullTelemetry())


async def _started(network: Network, batches: int) -> None:
    while len(network.batches) < batches:  # noqa: ASYNC110 - it is counted in another thread
        await asyncio.sleep(0.001)


def test_first_item_starts_at_once_and_later_ones_are_batched(network: Network):
    async def ask() -> list[BatchResult[int]]:
        batcher = _batcher(network)
        network.free.clear()
        asking = [asyncio.create_task(batcher.submit(number)) for number in range(7)]
        await asyncio.sleep(0)
        network.free.set()
        return await asyncio.gather(*asking)

    answers = asyncio.run(ask())
    assert [answer.output for answer in answers] == [0, 2, 4, 6, 8, 10, 12]
    assert [number for batch in network.batches for number in batch] == list(range(7))
    assert all(len(batch) <= 4 for batch in network.batches)
    assert all(answer.queue >= 0 and answer.inference > 0 for answer in answers)


def test_cancelled_items_are_not_run(network: Network):
    async def ask() -> list[BatchResult[int]]:
        batcher = _batcher(network, batch=1)
        network.free.clear()
        asking = [asyncio.create_task(batcher.submit(number)) for number in range(5)]
        for _ in range(3):
            await asyncio.sleep(0)
        asking[2].cancel()
        asking[3].cancel()
        await asyncio.sleep(0)
        network.free.set()
        return await asyncio.gather(asking[0], asking[1], asking[4])

    assert [answer.output for answer in asyncio.run(ask())] == [0, 2, 8]
    assert network.batches == [[0], [1], [4]]


def test_failure_reaches_only_its_batch(network: Network):
    async def ask() -> BatchResult[int]:
        batcher = _batcher(network)
        with pytest.raises(ValueError, match="13"):
            await batcher.submit(13)
        return await batcher.submit(1)

    assert asyncio.run(ask()).output == 2


def test_every_stream_runs_a_batch_while_many_items_are_in_progress(network: Network):
    async def ask() -> list[int]:
        batcher = _batcher(network, streams=3)
        network.free.clear()
        asking = [asyncio.create_task(batcher.submit(number, in_progress=9)) for number in range(9)]
        await _started(network, 3)
        await asyncio.sleep(0.05)
        waiting = len(batcher)
        network.free.set()
        assert [answer.output for answer in await asyncio.gather(*asking)] == [2 * number for number in range(9)]
        return [network.most_running, waiting]

    assert asyncio.run(ask()) == [3, 0]
    assert sorted(map(len, network.batches)) == [3, 3, 3]


def test_one_item_gets_all_threads(network: Network):
    few = Network()

    async def ask() -> None:
        batcher = _batcher(network, streams=2, few=few)
        await batcher.submit(1, in_progress=1)
        await batcher.submit(2, in_progress=2)

    asyncio.run(ask())
    assert (few.batches, network.batches) == ([[1]], [[2]])


def test_batches_with_all_threads_run_one_at_a_time(network: Network):
    few = Network()

    async def ask() -> None:
        batcher = _batcher(network, batch=4, streams=8, few=few)
        few.free.clear()
        asking = [asyncio.create_task(batcher.submit(number, in_progress=1)) for number in range(1)]
        await _started(few, 1)
        asking += [asyncio.create_task(batcher.submit(number, in_progress=number + 1)) for number in range(1, 4)]
        await asyncio.sleep(0.05)
        assert len(batcher) == 3
        few.free.set()
        await asyncio.gather(*asking)

    asyncio.run(ask())
    assert (few.batches, few.most_running, network.batches) == ([[0], [1, 2, 3]], 1, [])


class Busy:
    """Occupies a thread of a pool until `end`."""

    def __init__(self, pool: ComputePool) -> None:
        self._end = threading.Event()
        self._work = pool.submit(lambda: self._end.wait(10))

    async def end(self) -> None:
        self._end.set()
        await self._work


async def _turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def _two_items_that_wait(
    network: Network,
) -> tuple[Batcher[int, int], list[Busy], list[asyncio.Task[BatchResult[int]]]]:
    """A batcher with two items, whose pool has two threads, both occupied."""
    pool = ComputePool(2)
    batcher = _batcher(network, batch=8, pool=pool)
    decoding = [Busy(pool), Busy(pool)]
    asking = [asyncio.create_task(batcher.submit(number)) for number in range(2)]
    await _turns()
    assert len(batcher) == 2
    return batcher, decoding, asking


def test_items_wait_for_an_efficient_batch_while_all_threads_have_work(network: Network):
    async def ask() -> None:
        batcher, decoding, asking = await _two_items_that_wait(network)
        asking.append(asyncio.create_task(batcher.submit(2)))
        await _turns()
        assert len(batcher) == 0
        for busy in decoding:
            await busy.end()
        await asyncio.gather(*asking)
        assert network.batches == [[0, 1, 2]]

    asyncio.run(ask())


def test_a_batch_starts_with_fewer_items_once_a_thread_is_idle(network: Network):
    async def ask() -> None:
        _, decoding, asking = await _two_items_that_wait(network)
        await decoding[0].end()
        await asyncio.gather(*asking)
        assert network.batches == [[0, 1]]
        await decoding[1].end()

    asyncio.run(ask())


def test_images_that_wait_to_be_decoded_are_decoded_before_a_small_batch(network: Network):
    async def ask() -> None:
        pool = ComputePool(1)
        batcher = _batcher(network, batch=8, pool=pool)
        busy = Busy(pool)
        decoded = pool.submit(lambda: list(network.batches))
        asking = asyncio.create_task(batcher.submit(1))
        await _turns()
        await busy.end()
        assert await decoded == []
        assert (await asking).output == 2

    asyncio.run(ask())


def test_a_model_without_batches_does_not_wait(network: Network):
    async def ask() -> int:
        pool = ComputePool(1)
        batcher, busy = _batcher(network, batch=1, pool=pool), Busy(pool)
        other = pool.submit(lambda: len(network.batches))
        asking = asyncio.create_task(batcher.submit(4))
        await _turns()
        await busy.end()
        assert await other == 1, "a batch is started before other work"
        return (await asking).output

    assert asyncio.run(ask()) == 8
