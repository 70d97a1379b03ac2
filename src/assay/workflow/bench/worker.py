"""One engine at one precision in a process of its own: started, asked, measured, ended.

Run as `python -m assay.workflow.bench.worker JOB`, the job being JSON. It prints a line when it has answered
the first photo, by which whoever started it knows the start-up time, and one with its figures. It ends when
its standard input does.
Imports what predicting needs and nothing else, so that its memory is what a server would need.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

import numpy as np

from assay.errors import AssayError
from assay.files import read_bytes
from assay.inference import Classifier, Engine, cpu_count
from assay.inference.choice import Arithmetic
from assay.workflow.bench.stages import StagedReader, Stages

BATCHES = (1, 4, 16)
"""Sizes of batch that are tried for throughput."""

_WARM = 3
_FEWEST = 10
_STATUS = Path("/proc/self/status")


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker does.

    Attributes:
        model: path of the bundle.
        engine: the runtime's name.
        precision: fp32, bf16 or int8.
        photos: paths of photos, one or more.
        seconds: to spend after the first answer.
    """

    model: str
    engine: str
    precision: Arithmetic
    photos: list[str]
    seconds: float


class Setting(NamedTuple):
    """How an engine is kept busy."""

    batch: int
    """Images a call."""
    streams: int
    """Calls at a time."""


def measure(job: Job, tell: Callable[[dict[str, Any]], None]) -> None:
    """Do a job.

    Args:
        job: what to measure.
        tell: is given `{}` at the first answer, then the figures: `latency` and `stages` in seconds,
            `throughput` in images a second, `memory` and `peak` in bytes.

    Raises:
        AssayError: the bundle cannot be read or run.
    """
    classifier = Classifier.load(job.model, job.engine, precision=job.precision)
    classifier.predict(job.photos[0])
    tell({})
    contents = [read_bytes(Path(photo)) for photo in job.photos]
    reader = StagedReader(classifier.info.preprocess)
    squares = np.stack([reader.read(content) for content in contents])
    latency = _latency(classifier.engine, squares, 0.4 * job.seconds)
    memory = peak_memory()
    stages = _stages(classifier.engine, reader, contents, 0.2 * job.seconds)
    busy = Classifier.load(job.model, job.engine, precision=job.precision, mode="throughput").engine
    rate, best = _throughput(busy, squares, 0.4 * job.seconds)
    tell(
        {
            "latency": latency,
            "stages": stages._asdict(),
            "throughput": rate,
            "setting": best._asdict(),
            "memory": memory,
            "peak": peak_memory(),
        }
    )


def peak_memory() -> int | None:
    """Return the most memory, in bytes, that this process ever held; None where nobody counts.

    On Linux not by `getrusage`, which counts what the parent held when it made this process.
    """
    try:
        rows = dict(line.split(":", 1) for line in _STATUS.read_text(encoding="ascii").splitlines())
        return int(rows["VmHWM"].split()[0]) << 10
    except (OSError, KeyError, ValueError):
        if find_spec("resource") is None:
            return None
        resource = import_module("resource")
        held = int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        return held if sys.platform == "darwin" else held << 10


def _latency(engine: Engine, squares: np.ndarray, seconds: float) -> list[float]:
    """Return how long single images took, in seconds each."""
    for place in range(_WARM):
        engine.run(squares[place % len(squares)][np.newaxis])
    took: list[float] = []
    started = time.perf_counter()
    while len(took) < _FEWEST or time.perf_counter() - started < seconds:
        image = squares[len(took) % len(squares)][np.newaxis]
        before = time.perf_counter()
        engine.run(image)
        took.append(time.perf_counter() - before)
    return took


def _stages(engine: Engine, reader: StagedReader, contents: list[bytes], seconds: float) -> Stages:
    """Return the mean seconds of every stage."""
    took: list[Stages] = []
    started = time.perf_counter()
    while len(took) < min(len(contents), _FEWEST) or time.perf_counter() - started < seconds:
        took.append(reader.measure(contents[len(took) % len(contents)], engine.run))
    return Stages(*(float(np.mean(stage)) for stage in zip(*took, strict=True)))


def _throughput(engine: Engine, squares: np.ndarray, seconds: float) -> tuple[float, Setting]:
    """Return the best rate in images a second, and what gave it.

    Half of the time goes to finding the best setting, half to measuring it. First the size of batch is found
    with a call for each processor, then whether one call at a time does better.
    """
    processors = cpu_count()
    share = seconds / 2 / (len(BATCHES) + 1)

    def rate(setting: Setting) -> float:
        return _rate(engine, squares, setting, share)

    tried = {one: rate(one) for one in (Setting(batch, processors) for batch in BATCHES)}
    single = Setting(max(tried, key=tried.__getitem__).batch, 1)
    if single not in tried:
        tried[single] = rate(single)
    best = max(tried, key=tried.__getitem__)
    return _rate(engine, squares, best, seconds / 2), best


def _rate(engine: Engine, squares: np.ndarray, setting: Setting, seconds: float) -> float:
    """Return images a second with one setting, after a first call that makes room for this size."""
    batch = squares[np.arange(setting.batch) % len(squares)]

    def ask(until: float) -> int:
        calls = 0
        while not calls or time.perf_counter() < until:
            engine.run(batch)
            calls += 1
        return calls

    with ThreadPoolExecutor(setting.streams) as pool:
        list(pool.map(ask, [0.0] * setting.streams))
        started = time.perf_counter()
        calls = sum(pool.map(ask, [started + seconds] * setting.streams))
        return calls * setting.batch / (time.perf_counter() - started)


def _end_with_starter() -> None:
    """Wait until whoever started this process closes its input or is gone, and end."""
    sys.stdin.read()
    os._exit(1)


def _main() -> None:
    Thread(target=_end_with_starter, daemon=True).start()

    def tell(values: dict[str, Any]) -> None:
        sys.stdout.write(f"{json.dumps(values)}\n")
        sys.stdout.flush()

    try:
        measure(Job(**json.loads(sys.argv[1])), tell)
    except AssayError as error:
        tell({"error": str(error)})


def to_json(job: Job) -> str:
    """Return a job as a worker reads it."""
    return json.dumps(asdict(job))


if __name__ == "__main__":
    _main()
