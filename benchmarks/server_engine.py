"""Whether measuring engines slows a server down, and how close a server comes to what the processors can do.

Two servers run at the same time and are loaded in turns: one that starts with an empty cache folder, and one
that starts after the engines were measured for one photo, for a folder and for a server. The ratio of their
request rates is computed within each round.

The limit of a server is (processors - processor time of the client) / (decoding + inference), each in
processor seconds per photo, alone on one thread. Rates depend on other work on the machine; the processor time
of a request, of which decoding and inference are the useful share, hardly does.

    python benchmarks/server_engine.py FOLDER

FOLDER is made by `prepare.py`.
"""

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from against import processor_seconds
from client import Requests, closed_loop
from processes import Place
from servers import CONCURRENCY, assay_command, running

from assay.core.cpu import cpu_count
from assay.inference import Classifier, EngineSetup, ModelLoader
from assay.serving.engine_measurement import EngineMeasurementJob

FRESH, MEASURED = "fresh", "after measuring"
_LOADS = (
    "import assay, sys; [assay.load(sys.argv[1], workload=name, measure=True) for name in ('latency', 'throughput')]"
)


@dataclass(frozen=True)
class _Place(Place):
    """A place with a cache folder of its own, whose servers do not measure in the background."""

    cache: str = ""

    def environment(self) -> dict[str, str]:
        own = {"ASSAY_CACHE": str(self.work / self.cache), "ASSAY_SERVE_MODELS__MEASURE": "false"}
        return {**super().environment(), **own}


def measure(place: Place, say: Callable[[str], None]) -> dict[str, list[float]]:
    """Return, per round, the ratios of requests per second and processor time, and the shares of the limit."""
    rounds, seconds = (1, 1.0) if place.quick else (15, 2.0)
    requests = Requests(sorted((place.work / "photos").glob("*.jpg")))
    places = {name: _Place(place.work, place.quick, cache=f"cache of {name}") for name in (FRESH, MEASURED)}
    say("measuring the engines for one photo, a folder and a server")
    _measure_engines(places[MEASURED])
    found: dict[str, list[float]] = {"rate": [], "processor time": [], "useful": [], "share of the limit": []}
    with ExitStack() as stack:
        servers = {
            name: stack.enter_context(running(assay_command(item), item, requests)) for name, item in places.items()
        }
        for turn in range(-1, rounds):  # the first one warms up
            say(f"round {turn + 1} of {rounds}")
            loads = {name: _load(*server, requests, seconds) for name, server in servers.items()}
            seconds_per_photo = _decoding_and_inference(place)
            if turn >= 0:
                found["rate"].append(loads[MEASURED]["rate"] / loads[FRESH]["rate"])
                found["processor time"].append(loads[MEASURED]["seconds"] / loads[FRESH]["seconds"])
                fresh, available = loads[FRESH], cpu_count() - loads[FRESH]["client"]
                found["useful"].append(seconds_per_photo / fresh["seconds"])
                found["share of the limit"].append(fresh["rate"] * seconds_per_photo / available)
    return found


def _measure_engines(place: Place) -> None:
    model, environment = str(place.work / "whole.assay"), place.environment()
    subprocess.run([sys.executable, "-c", _LOADS, model], env=environment, check=True)
    job = EngineMeasurementJob(model, "server", "auto", "auto", cpu_count())
    with subprocess.Popen(job.command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        if process.stdout is not None:
            process.stdout.read()


def _load(port: int, pid: int, requests: Requests, seconds: float) -> dict[str, float]:
    """Load a server; return requests per second, and processor seconds of the server and the client."""
    server, client = processor_seconds(pid), time.process_time()
    outcome = asyncio.run(closed_loop(port, requests.fresh, CONCURRENCY, seconds))
    count = len(outcome.latencies[200])
    return {
        "rate": outcome.rate(),
        "seconds": (processor_seconds(pid) - server) / count,
        "client": (time.process_time() - client) / outcome.seconds,
    }


def _decoding_and_inference(place: Place) -> float:
    """Return the processor seconds that a photo needs at least, decoded and classified by one thread."""
    loader = ModelLoader(place.work / "whole.assay", threads=1)
    classifier = Classifier.from_setup(loader, EngineSetup("auto", 1, 1, 16))
    contents = [path.read_bytes() for path in sorted((place.work / "photos").glob("*.jpg"))[:16]]
    begin = time.process_time()
    squares = np.stack([classifier.preprocess.read(content) for content in contents])
    decoded = time.process_time()
    classifier.outputs(squares)
    begin_inference = time.process_time()
    classifier.outputs(squares)
    return (decoded - begin + time.process_time() - begin_inference) / len(contents)


def main() -> None:
    """Measure and print medians and quartiles."""
    figures: dict[str, Any] = measure(Place(Path(sys.argv[1])), lambda text: print(text, file=sys.stderr))
    for name, values in figures.items():
        low, middle, high = statistics.quantiles(values, n=4)
        print(f"{name:<20}{middle:8.3f}   quartiles {low:.3f} to {high:.3f}, {len(values)} rounds")


if __name__ == "__main__":
    main()
