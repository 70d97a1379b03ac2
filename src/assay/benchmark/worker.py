"""Worker process that measures one engine at one precision: start-up, latency, stages, throughput, memory.

Run as `python -m assay.benchmark.worker JOB` with the job as JSON. It prints one line after the first
prediction, from which the parent process takes the start-up time, and one line with the measurements. It
exits when its standard input is closed. It imports only what prediction needs, so that its memory is what a
server would need.
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

from assay.core.cpu import cpu_count
from assay.core.errors import AssayError
from assay.core.files import read_bytes
from assay.image import Preprocess
from assay.inference import Classifier, Engine
from assay.inference.engine_selection import ComputePrecision
from assay.recipe import PreprocessSpec

Clock = Callable[[], float]
"""Returns seconds from an arbitrary start."""


class StageTimes(NamedTuple):
    """Seconds per photo."""

    decode: float
    """From the bytes of the file to pixels."""
    preprocess: float
    """From pixels to the network's input."""
    inference: float
    """From the input to logits."""


class TimedPreprocess(Preprocess):
    """The usual preprocessing, timed.

    Attributes:
        seconds: preprocessing time of the last photo, without decoding.
    """

    def __init__(self, spec: PreprocessSpec, clock: Clock = time.perf_counter) -> None:
        super().__init__(spec)
        self._clock = clock
        self.seconds = 0.0

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Crop and scale, as `Preprocess` does."""
        started = self._clock()
        square = super().__call__(pixels)
        self.seconds = self._clock() - started
        return square

    def measure(self, data: bytes, run: Callable[[np.ndarray], object]) -> StageTimes:
        """Measure the stages of one prediction.

        Args:
            data: content of an image file.
            run: inference on uint8 [1, S, S, 3].
        """
        started = self._clock()
        square = self.read(data)
        read = self._clock()
        run(square[np.newaxis])
        ended = self._clock()
        return StageTimes(read - started - self.seconds, self.seconds, ended - read)


BATCHES = (1, 4, 16)
"""Batch sizes tried for throughput."""

_WARMUP_RUNS = 3
_MIN_RUNS = 10
_STATUS_FILE = Path("/proc/self/status")


@dataclass(frozen=True, slots=True)
class MeasurementJob:
    """What a worker measures.

    Attributes:
        model: path of the bundle.
        engine: name of the runtime.
        precision: fp32, bf16 or int8.
        photos: paths of one or more photos.
        seconds: measuring time after the first prediction.
    """

    model: str
    engine: str
    precision: ComputePrecision
    photos: list[str]
    seconds: float


class ThroughputSetting(NamedTuple):
    """Batch size and concurrency of a throughput measurement."""

    batch: int
    """Images per call."""
    streams: int
    """Concurrent calls."""


def measure(job: MeasurementJob, report: Callable[[dict[str, Any]], None]) -> None:
    """Measure a job.

    Args:
        job: what to measure.
        report: receives `{}` after the first prediction, then the measurements: `latency` and `stages` in
            seconds, `throughput` in images per second, `memory` and `peak` in bytes.

    Raises:
        AssayError: the bundle cannot be read or run.
    """
    classifier = Classifier.load(job.model, job.engine, precision=job.precision)
    classifier.predict(job.photos[0])
    report({})
    contents = [read_bytes(Path(photo)) for photo in job.photos]
    reader = TimedPreprocess(classifier.info.preprocess)
    squares = np.stack([reader.read(content) for content in contents])
    latency = _measure_latency(classifier.engine, squares, 0.4 * job.seconds)
    memory = peak_memory()
    stages = _measure_stages(classifier.engine, reader, contents, 0.2 * job.seconds)
    busy = Classifier.load(job.model, job.engine, precision=job.precision, workload="throughput").engine
    rate, best = _measure_throughput(busy, squares, 0.4 * job.seconds)
    report(
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
    """Return the peak resident memory of this process in bytes; None where the system reports none.

    Not by `getrusage` on Linux, which includes the memory of the parent at the time of the fork.
    """
    try:
        rows = dict(line.split(":", 1) for line in _STATUS_FILE.read_text(encoding="ascii").splitlines())
        return int(rows["VmHWM"].split()[0]) << 10
    except (OSError, KeyError, ValueError):
        if find_spec("resource") is None:
            return None
        resource = import_module("resource")
        held = int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        return held if sys.platform == "darwin" else held << 10


def _measure_latency(engine: Engine, squares: np.ndarray, seconds: float) -> list[float]:
    """Return the seconds of single predictions."""
    for place in range(_WARMUP_RUNS):
        engine.run(squares[place % len(squares)][np.newaxis])
    took: list[float] = []
    started = time.perf_counter()
    while len(took) < _MIN_RUNS or time.perf_counter() - started < seconds:
        image = squares[len(took) % len(squares)][np.newaxis]
        before = time.perf_counter()
        engine.run(image)
        took.append(time.perf_counter() - before)
    return took


def _measure_stages(engine: Engine, reader: TimedPreprocess, contents: list[bytes], seconds: float) -> StageTimes:
    """Return the mean seconds per stage."""
    took: list[StageTimes] = []
    started = time.perf_counter()
    while len(took) < min(len(contents), _MIN_RUNS) or time.perf_counter() - started < seconds:
        took.append(reader.measure(contents[len(took) % len(contents)], engine.run))
    return StageTimes(*(float(np.mean(stage)) for stage in zip(*took, strict=True)))


def _measure_throughput(engine: Engine, squares: np.ndarray, seconds: float) -> tuple[float, ThroughputSetting]:
    """Return the best rate in images per second, and its setting.

    Half of the time searches for the best setting, half measures it. The batch size is chosen with one
    concurrent call per processor; then a single call at a time is tried.
    """
    processors = cpu_count()
    share = seconds / 2 / (len(BATCHES) + 1)

    def rate(setting: ThroughputSetting) -> float:
        return _rate(engine, squares, setting, share)

    tried = {setting: rate(setting) for setting in (ThroughputSetting(batch, processors) for batch in BATCHES)}
    single = ThroughputSetting(max(tried, key=tried.__getitem__).batch, 1)
    if single not in tried:
        tried[single] = rate(single)
    best = max(tried, key=tried.__getitem__)
    return _rate(engine, squares, best, seconds / 2), best


def _rate(engine: Engine, squares: np.ndarray, setting: ThroughputSetting, seconds: float) -> float:
    """Return images per second with one setting, after a warm-up call per thread."""
    batch = squares[np.arange(setting.batch) % len(squares)]

    def call_until(until: float) -> int:
        calls = 0
        while not calls or time.perf_counter() < until:
            engine.run(batch)
            calls += 1
        return calls

    with ThreadPoolExecutor(setting.streams) as pool:
        list(pool.map(call_until, [0.0] * setting.streams))
        started = time.perf_counter()
        calls = sum(pool.map(call_until, [started + seconds] * setting.streams))
        return calls * setting.batch / (time.perf_counter() - started)


def _exit_with_parent() -> None:
    """Exit when the parent process closes this one's standard input or ends."""
    sys.stdin.read()
    os._exit(1)


def _main() -> None:
    Thread(target=_exit_with_parent, daemon=True).start()

    def report(values: dict[str, Any]) -> None:
        sys.stdout.write(f"{json.dumps(values)}\n")
        sys.stdout.flush()

    try:
        measure(MeasurementJob(**json.loads(sys.argv[1])), report)
    except AssayError as error:
        report({"error": str(error)})


def to_json(job: MeasurementJob) -> str:
    """Return a job as the worker's command-line argument."""
    return json.dumps(asdict(job))


if __name__ == "__main__":
    _main()
