"""Dynamic batching, and the priority of the threads that compute."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Sequence

import pytest

from assay.inference import EngineSetup
from assay.serving.batching import Batcher, BatchResult, compute_executor
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


def _batcher(network: Network, batch: int = 4, streams: int = 1, few: Network | None = None) -> Batcher[int, int]:
    setup = EngineSetup("openvino", threads=streams, streams=streams, batch=batch)
    return Batcher(network, few or network, setup, NullTelemetry())


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


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux")
def test_compute_threads_have_low_priority():
    def priority() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    with compute_executor(1, "assay-test") as pool:
        assert pool.submit(priority).result() == min(19, priority() + 5)


_SCRIPT = """
import sys, time
from assay.serving.batching import compute_executor, exit_despite_threads
pool = compute_executor(2, "assay-decode")
pool.submit(time.sleep, float(sys.argv[1]))
time.sleep(0.2)
pool.shutdown(wait=False, cancel_futures=True)
print("written", flush=False)
exit_despite_threads("assay-decode", 0.3)
print("returned")
"""


@pytest.mark.parametrize(("seconds", "message"), [(60, "written\n"), (0, "written\nreturned\n")])
def test_process_exits_while_a_thread_is_busy(seconds, message):
    command = [sys.executable, "-c", _SCRIPT, str(seconds)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert ended.stdout == message
