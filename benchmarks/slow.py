"""What clients that send very slowly cost the other clients.

A hundred connections send the body of a photo byte by byte, as in a slow-loris attack, while others ask as
usual. With and without them in turns, in one server.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from client import Requests, closed_loop
from processes import Place
from servers import assay_command, running

CONNECTIONS = 100
_NEIGHBOURS = 2
_PAUSE = 0.25


def measure(place: Place, say: Callable[[str], None]) -> dict[str, Any]:
    """Return the p99 of the other clients in ms per round, without and with slow ones, and how many failed."""
    rounds, seconds = (1, 3.0) if place.quick else (5, 8.0)
    requests = Requests(sorted((place.work / "photos").glob("*.jpg")))
    found: dict[str, Any] = {"alone": [], "beside": [], "failed": 0}
    with running(assay_command(place), place, requests) as (port, _):
        asyncio.run(closed_loop(port, requests.fresh, _NEIGHBOURS, 2.0))
        for turn in range(rounds):
            say(f"round {turn + 1} of {rounds}")
            alone = asyncio.run(closed_loop(port, requests.fresh, _NEIGHBOURS, seconds))
            beside = asyncio.run(_beside(port, requests, seconds))
            for name, outcome in (("alone", alone), ("beside", beside)):
                found[name].append(outcome.quantile(0.99))
                found["failed"] += sum(n for status, n in outcome.counts().items() if status != 200)
    return found


async def _beside(port: int, requests: Requests, seconds: float) -> Any:
    """Load the server while slow connections are open."""
    slow = [asyncio.create_task(_trickle(port, requests)) for _ in range(CONNECTIONS)]
    try:
        await asyncio.sleep(1.0)
        return await closed_loop(port, requests.fresh, _NEIGHBOURS, seconds)
    finally:
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)


async def _trickle(port: int, requests: Requests) -> None:
    """Send a request's head at once and its body byte by byte, for as long as the server lets it."""
    while True:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            head, body, _ = requests.fresh()
            writer.write(head)
            for byte in body:
                writer.write(bytes((byte,)))
                await writer.drain()
                await asyncio.sleep(_PAUSE)
        except ConnectionError:
            await asyncio.sleep(_PAUSE)
        finally:
            writer.close()
