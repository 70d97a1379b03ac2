"""Number of requests that start in one iteration of the event loop."""

import asyncio

import pytest

from assay.serving.connection_limits import RequestScheduler


def _run(scheduler: RequestScheduler, new: int, pipelined: int) -> list[list[str]]:
    """Let requests begin or wait; return what started in each turn of the loop."""

    async def run() -> list[list[str]]:
        loop, started = asyncio.get_running_loop(), [[]]

        def begin(name: str) -> None:
            started[-1].append(name)

        for number in range(pipelined):
            scheduler.enqueue(loop, lambda number=number: begin(f"p{number}"), pipelined=True)
        for number in range(new):
            if scheduler.try_start(loop):
                begin(f"n{number}")
            else:
                scheduler.enqueue(loop, lambda number=number: begin(f"n{number}"), pipelined=False)
        for _ in range(50):
            started.append([])
            await asyncio.sleep(0)
        while started and not started[-1]:
            started.pop()
        return started

    return asyncio.run(run())


@pytest.mark.parametrize("new", [0, 1, 3, 4, 5, 40])
@pytest.mark.parametrize("pipelined", [0, 1, 7])
def test_each_iteration_starts_at_most_the_limit_and_no_request_is_lost(new: int, pipelined: int):
    found = _run(RequestScheduler(4, 2), new, pipelined)
    assert all(len(turn) <= 4 for turn in found)
    assert all(sum(name[0] == "p" for name in turn) <= 2 for turn in found)
    flat = [name for turn in found for name in turn]
    for kind, count in (("n", new), ("p", pipelined)):
        assert [name for name in flat if name[0] == kind] == [f"{kind}{i}" for i in range(count)]


def test_pipelined_requests_do_not_delay_others():
    found = _run(RequestScheduler(4, 1), 6, 40)
    assert found[0] == ["n0", "n1", "n2", "n3"]
    assert found[1] == ["n4", "n5", "p0"]
