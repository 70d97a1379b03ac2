"""Photos over HTTP: `assay serve` against Flask with eager PyTorch, and against servers made for models.

Client and server share the processors, for every server. The servers take turns, round after round, each time
in a fresh process. The rival servers are given the int8 model of Assay's bundle, the same runtime and draft
decoding; the Flask server is the plain baseline.
"""

import asyncio
import itertools
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from client import Client, Requests, closed_loop, open_loop
from processes import BASELINES, BenchmarkError, Place, memory, rivals_python, run_json, take_turns

from assay.inference import Classifier

PLAIN = "Flask, eager PyTorch"
RIVALS = {
    "LitServe": "litserve_int8.py",
    "BentoML": "bentoml_int8.py",
    "Ray Serve": "ray_int8.py",
    "uvicorn, bare Starlette handler": "starlette_int8.py",
}
LIMIT = "OpenVINO AsyncInferQueue without a server"
CONCURRENCY = 8
_START_SECONDS = 120.0


@contextmanager
def running(command: list[str], place: Place, requests: Requests) -> Iterator[tuple[int, int]]:
    """Run a server until the block ends; give its port and process, when it has answered a photo.

    Raises:
        BenchmarkError: it does not answer.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [part.replace("PORT", str(port)) for part in command],
            env=place.environment(),
            cwd=place.work,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            if not _answers(port, process, requests):
                log.seek(0)
                last = (log.read().decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
                raise BenchmarkError(f"{Path(command[1]).name} does not answer photos: {last[:300]}")
            yield port, process.pid
        finally:
            _end(process)


def _answers(port: int, process: subprocess.Popen[bytes], requests: Requests) -> bool:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            status = asyncio.run(asyncio.wait_for(_ask(port, requests), 30))
        except TimeoutError:
            status = 0
        if status == 200:
            return True
        time.sleep(0.2)
    return False


async def _ask(port: int, requests: Requests) -> int:
    client = Client(port)
    try:
        return await client.ask(requests.fresh())
    finally:
        client.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a server and all that it started: they are a session of their own."""
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def holds_torch(pid: int) -> bool:
    """Tell whether a process has loaded torch's libraries."""
    return "libtorch" in Path(f"/proc/{pid}/maps").read_text(encoding="utf-8", errors="replace")


def assay_command(place: Place) -> list[str]:
    """Return how a user starts Assay's server; with the model of the others, also where Assay prefers fp32."""
    assay = str(Path(sys.executable).with_name("assay"))
    options = ["--port", "PORT", "--no-auth", "--engine", place.engine, "--precision", "int8"]
    return [assay, "serve", str(place.work / "whole.assay"), *options]


def measure(place: Place, say: Callable[[str], None]) -> tuple[dict[str, dict[str, list[float]]], list[str]]:
    """Return requests a second and what else was measured, by server, one value a round; and what failed."""
    rounds, seconds = (1, 2.0) if place.quick else (5, 6.0)
    requests = Requests(sorted((place.work / "photos").glob("*.jpg")))
    python = str(rivals_python())
    commands = {"Assay": assay_command(place), PLAIN: [python, str(BASELINES / "flask_eager.py"), "PORT"]}
    if place.rivals:
        commands |= {name: [python, str(BASELINES / file), "PORT"] for name, file in RIVALS.items()}
        commands[LIMIT] = [python, str(BASELINES / "openvino_async.py"), str(seconds)]

    def measure_one(name: str, command: list[str]) -> dict[str, float]:
        if name == LIMIT:
            return run_json(command, place.environment(), timeout=300)
        return _one(command, place, requests, seconds, ours=name == "Assay")

    return take_turns(commands, rounds, {*RIVALS, LIMIT}, measure_one, say)


def _one(command: list[str], place: Place, requests: Requests, seconds: float, *, ours: bool) -> dict[str, float]:
    """Start one server and load it."""
    with running(command, place, requests) as (port, pid):
        asyncio.run(closed_loop(port, requests.fresh, CONCURRENCY, seconds / 4))
        fresh = asyncio.run(closed_loop(port, requests.fresh, CONCURRENCY, seconds))
        if set(fresh.latencies) != {200}:
            raise BenchmarkError(f"{Path(command[1]).name} answered {fresh.counts()} instead of 200 alone")
        result = {"rate": fresh.rate(), "p50": fresh.quantile(0.5), "p99": fresh.quantile(0.99)}
        if ours:
            alone, bare = asyncio.run(_in_turns(port, place, requests, seconds))
            asyncio.run(closed_loop(port, requests.same, CONCURRENCY, 1.0))
            hits = asyncio.run(closed_loop(port, requests.same, CONCURRENCY, seconds / 2))
            result |= {"alone": alone, "bare": bare, "hits": hits.rate(), "hits p99": hits.quantile(0.99)}
            result |= {"memory": memory(pid) / 2**20, "torch": float(holds_torch(pid))}
        return result


async def _in_turns(port: int, place: Place, requests: Requests, seconds: float) -> tuple[float, float]:
    """Return the medians, in ms, of requests alone, and of the same photos without a server between them."""
    classifier = Classifier.load(place.work / "whole.assay", place.engine, precision="int8")
    photos = [path.read_bytes() for path in sorted((place.work / "photos").glob("*.jpg"))]
    client, served, bare = Client(port), [], []
    begin = time.perf_counter()
    for photo in itertools.cycle(photos):
        start = time.perf_counter()
        await client.ask(requests.fresh())
        between = time.perf_counter()
        classifier.predict(photo)
        end = time.perf_counter()
        served.append(1e3 * (between - start))
        bare.append(1e3 * (end - between))
        if end - begin > seconds:
            break
    client.close()
    return statistics.median(served), statistics.median(bare)


def overload(place: Place, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Load Assay's server with twice what it can do, whatever it answers; return the results per round."""
    rounds, seconds = (1, 6.0) if place.quick else (3, 60.0)
    requests = Requests(sorted((place.work / "photos").glob("*.jpg")))
    found = []
    with running(assay_command(place), place, requests) as (port, pid):
        asyncio.run(closed_loop(port, requests.fresh, CONCURRENCY, 2.0))

        def most() -> float:
            return asyncio.run(closed_loop(port, requests.fresh, 2 * CONCURRENCY, seconds / 6)).rate()

        peak = most()
        for turn in range(rounds):
            say(f"round {turn + 1} of {rounds}: twice {peak:.0f} requests/s for {seconds:.0f} s")
            outcome = asyncio.run(open_loop(port, requests.fresh, 2 * peak, seconds))
            # Before and after: machines drift.
            before, peak = peak, most()
            counts, most_here = outcome.counts(), statistics.mean((before, peak))
            found.append(
                {
                    "peak": most_here,
                    "sent": sum(counts.values()),
                    "counts": {str(status): count for status, count in sorted(counts.items())},
                    "goodput_share": outcome.rate() / most_here,
                    "rejection_p99": outcome.quantile(0.99, 503),
                    "accepted_p99": outcome.quantile(0.99),
                    "other_5xx": sum(n for status, n in counts.items() if status >= 500 and status != 503),
                    "unanswered": counts.get(0, 0),
                    "latest": outcome.latest,
                    "memory": memory(pid) / 2**20,
                }
            )
    return found
