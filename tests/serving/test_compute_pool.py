"""The threads that decode and classify."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.serving.compute_pool import ComputePool, compute_executor


def _run(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    return asyncio.run(work())


def test_urgent_work_is_started_first_and_the_rest_in_order():
    async def ask() -> list[int]:
        pool, release, started = ComputePool(1), threading.Event(), []
        first = pool.submit(partial(release.wait, 10))
        works = [pool.submit(partial(started.append, number), urgent=number > 2) for number in range(5)]
        release.set()
        await asyncio.gather(first, *works)
        pool.close()
        return started

    assert _run(ask) == [3, 4, 0, 1, 2]


@settings(deadline=None, max_examples=20)
@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), max_size=30), st.integers(1, 4))
def test_every_task_ends_once_with_its_result_or_error(tasks: list[tuple[bool, bool, bool]], threads: int):
    async def ask() -> None:
        pool, calls = ComputePool(threads), []

        def work(number: int, *, fails: bool) -> int:
            calls.append(number)
            if fails:
                raise ValueError(number)
            return number

        futures = [
            pool.submit(partial(work, number, fails=fails), urgent=urgent)
            for number, (urgent, fails, _) in enumerate(tasks)
        ]
        for future, (_, _, cancelled) in zip(futures, tasks, strict=True):
            if cancelled:
                future.cancel()
        results = await asyncio.gather(*futures, return_exceptions=True)
        await pool.submit(int)
        for number, (result, (_, fails, cancelled)) in enumerate(zip(results, tasks, strict=True)):
            expected = asyncio.CancelledError if cancelled else ValueError if fails else int
            assert isinstance(result, expected)
            assert result == number or not isinstance(result, int)
            assert calls.count(number) == 1 or cancelled
        pool.close()

    _run(ask)


def test_callbacks_run_once_and_only_when_a_thread_is_idle():
    async def ask() -> list[bool]:
        pool, called = ComputePool(2), []
        releases = [threading.Event() for _ in range(3)]
        works = [pool.submit(partial(release.wait, 10)) for release in releases]

        def callback() -> None:
            called.append(pool.full)

        pool.call_when_not_full(callback)
        pool.call_when_not_full(callback)
        releases[0].set()
        await works[0]
        await asyncio.sleep(0.02)
        assert called == []
        for release, work in zip(releases[1:], works[1:], strict=True):
            release.set()
            await work
        await asyncio.sleep(0.02)
        pool.close()
        return called

    assert _run(ask) == [False]


def test_closing_cancels_work_that_has_not_started():
    async def ask() -> None:
        pool, release = ComputePool(1), threading.Event()
        running, waiting = pool.submit(partial(release.wait, 10)), pool.submit(int)
        await asyncio.sleep(0.02)
        pool.close()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        release.set()
        assert await running is True

    _run(ask)


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux")
def test_compute_threads_have_low_priority():
    def priority() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    with compute_executor(1, "assay-test") as pool:
        assert pool.submit(priority).result() == min(19, priority() + 5)


_SCRIPT = """
import sys, time
from assay.serving.compute_pool import compute_executor, exit_despite_threads
pool = compute_executor(2, "assay-compute")
pool.submit(time.sleep, float(sys.argv[1]))
time.sleep(0.2)
pool.shutdown(wait=False, cancel_futures=True)
print("written", flush=False)
exit_despite_threads(0.3)
print("returned")
"""


@pytest.mark.parametrize(("seconds", "message"), [(60, "written\n"), (0, "written\nreturned\n")])
def test_process_exits_while_a_thread_is_busy(seconds, message):
    command = [sys.executable, "-c", _SCRIPT, str(seconds)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert ended.stdout == message
