"""Run one measurement in a worker process, and summarize repeated measurements per engine and precision."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from tempfile import TemporaryFile
from typing import Any, NamedTuple

import numpy as np

from assay.benchmark.worker import MeasurementJob, StageTimes, ThroughputSetting, to_json
from assay.core.errors import AssayError
from assay.inference.engine_selection import ComputePrecision


class MeasurementError(AssayError):
    """An engine that could not be measured; the message is a reason without its name."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one worker found.

    Attributes:
        startup: seconds from the start of the process to its first answer.
        p50: median seconds an image, batch 1, from pixels to logits.
        p95: the 95th percentile.
        p99: the 99th.
        runs: images behind these.
        throughput: images a second, from pixels to logits.
        setting: what gave it.
        memory: most bytes held while it answered one image at a time; None where nobody counts.
        peak: most bytes held at all.
        stages: mean seconds from a file to its answer.
    """

    startup: float
    p50: float
    p95: float
    p99: float
    runs: int
    throughput: float
    setting: ThroughputSetting
    memory: int | None
    peak: int | None
    stages: StageTimes


def run_measurement(job: MeasurementJob) -> Measurement:
    """Start a worker, let it do a job and end.

    Raises:
        TrialError: the engine cannot run the model, or its process died.
    """
    command = [sys.executable, "-m", "assay.benchmark.worker", to_json(job)]
    with TemporaryFile("w+", encoding="utf-8", errors="replace") as complaints:
        started = time.perf_counter()
        # In a session of its own, so that Ctrl-C reaches whoever waits. The worker ends when its input does,
        # and so with this process, however that ends.
        with subprocess.Popen(  # noqa: S603 - our own module, by the interpreter that runs us
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            encoding="utf-8",
            start_new_session=True,
        ) as process:
            try:
                first, startup, rest = _read_output(process, started)
            finally:
                process.kill()
        complaints.seek(0)
        return _parse_output(first, rest, startup, complaints.read())


def _read_output(process: subprocess.Popen[str], started: float) -> tuple[str, float, str]:
    """Return the worker's first line, when it came, in seconds, and all it said afterwards."""
    if process.stdout is None:
        raise MeasurementError("its process cannot be heard")
    first = process.stdout.readline()
    startup = time.perf_counter() - started
    return first, startup, process.stdout.read()


def _parse_output(first: str, rest: str, startup: float, complaints: str) -> Measurement:
    lines = [json.loads(line) for line in (first + rest).splitlines()]
    for line in lines:
        if "error" in line:
            raise MeasurementError(line["error"])
    if len(lines) != 2:
        last = (complaints.strip().splitlines() or ["without a word"])[-1]
        raise MeasurementError(f"its process died: {last[:200]}")
    told: dict[str, Any] = lines[1]
    p50, p95, p99 = np.percentile(told["latency"], (50, 95, 99)).tolist()
    return Measurement(
        startup=startup,
        p50=p50,
        p95=p95,
        p99=p99,
        runs=len(told["latency"]),
        throughput=told["throughput"],
        setting=ThroughputSetting(**told["setting"]),
        memory=told["memory"],
        peak=told["peak"],
        stages=StageTimes(**told["stages"]),
    )


class EngineConfig(NamedTuple):
    """What is measured."""

    engine: str
    precision: ComputePrecision

    def __str__(self) -> str:
        return f"{self.engine} {self.precision}"


class RepeatedMeasure(NamedTuple):
    """One figure, measured several times."""

    median: float
    lowest: float
    highest: float

    def to_dict(self) -> dict[str, float]:
        """Return plain values, ready for JSON."""
        return {name: float(f"{value:.4g}") for name, value in self._asdict().items()}


class Accuracy(NamedTuple):
    """How many labelled photos were answered right."""

    right: int
    photos: int

    @property
    def share(self) -> float:
        """Right answers, as a share."""
        return self.right / self.photos


@dataclass(frozen=True, slots=True)
class BenchmarkRow:
    """What is known of one combination.

    Attributes:
        combination: the engine and the precision.
        trials: one a round; empty where it could not be measured.
        accuracy: on the photos given; None: there were none, or it could not be measured.
        error: why it could not be measured.
    """

    combination: EngineConfig
    trials: tuple[Measurement, ...] = ()
    accuracy: Accuracy | None = None
    error: str | None = None

    def of(self, figure: Callable[[Measurement], float]) -> RepeatedMeasure:
        """Return one figure over all trials."""
        return _summarize(figure(trial) for trial in self.trials)

    def stages(self) -> dict[str, RepeatedMeasure]:
        """Return seconds a photo from file to answer, by stage."""
        names = self.trials[0].stages._fields
        return {name: _summarize(trial.stages[place] for trial in self.trials) for place, name in enumerate(names)}

    def shares(self) -> dict[str, float]:
        """Return every stage's share of the time from file to answer; they add up to 1."""
        medians = {name: seconds.median for name, seconds in self.stages().items()}
        whole = sum(medians.values())
        return {name: seconds / whole for name, seconds in medians.items()}

    def best(self) -> Measurement:
        """Return the trial of the median throughput, the better of two in the middle."""
        ordered = sorted(self.trials, key=lambda trial: trial.throughput)
        return ordered[len(ordered) // 2]

    def memory(self, figure: Callable[[Measurement], int | None]) -> float | None:
        """Return the median of a memory figure in MiB; None where nobody counted."""
        known = [held for trial in self.trials if (held := figure(trial)) is not None]
        return median(known) / (1 << 20) if known else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON; times in milliseconds, start-up in seconds, memory in MiB."""
        told: dict[str, Any] = {"engine": self.combination.engine, "precision": self.combination.precision}
        if not self.trials:
            return {**told, "error": self.error}
        memory, peak = self.memory(lambda one: one.memory), self.memory(lambda one: one.peak)
        return {
            **told,
            "latency_ms": {
                "p50": self.of(lambda one: 1e3 * one.p50).to_dict(),
                "p95": self.of(lambda one: 1e3 * one.p95).to_dict(),
                "p99": self.of(lambda one: 1e3 * one.p99).to_dict(),
                "runs": sum(trial.runs for trial in self.trials),
            },
            "throughput_per_s": {
                **self.of(lambda one: one.throughput).to_dict(),
                **self.best().setting._asdict(),
            },
            "startup_s": self.of(lambda one: one.startup).to_dict(),
            "memory_mib": {
                "batch_1": None if memory is None else round(memory),
                "peak": None if peak is None else round(peak),
            },
            "file_to_answer_ms": {
                "total": self.of(lambda one: 1e3 * sum(one.stages)).to_dict(),
                **{name: _milliseconds(seconds).to_dict() for name, seconds in self.stages().items()},
            },
            "shares": {name: round(share, 4) for name, share in self.shares().items()},
            "accuracy": None if self.accuracy is None else round(self.accuracy.share, 6),
        }


@dataclass(frozen=True, slots=True)
class BenchmarkResult:
    """What a benchmark gave.

    Attributes:
        name: of the classifier.
        version: of the classifier.
        size: side of the network's square, in pixels.
        photos: what was answered from file to label, in words.
        judged: photos on which accuracy was counted; 0: none.
        caution: why the accuracy may be too good; empty where nothing speaks against it.
        rounds: how often every combination was measured.
        machine: what it was measured on.
        load: processes that wanted a processor over the minute before and the last minute.
        rows: every combination.
    """

    name: str
    version: str
    size: int
    photos: str
    judged: int
    caution: str
    rounds: int
    machine: dict[str, Any]
    load: tuple[float | None, float | None]
    rows: tuple[BenchmarkRow, ...]

    @property
    def measured(self) -> tuple[BenchmarkRow, ...]:
        """The combinations that could be measured."""
        return tuple(row for row in self.rows if row.trials)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {
            "model": {"name": self.name, "version": self.version, "size": self.size},
            "photos": self.photos,
            "judged": self.judged,
            "caution": self.caution,
            "rounds": self.rounds,
            "machine": {**self.machine, "load_before": self.load[0], "load_after": self.load[1]},
            "combinations": [row.to_dict() for row in self.rows],
        }


def _summarize(values: Iterable[float]) -> RepeatedMeasure:
    known: Sequence[float] = list(values)
    return RepeatedMeasure(median(known), min(known), max(known))


def _milliseconds(seconds: RepeatedMeasure) -> RepeatedMeasure:
    return RepeatedMeasure(*(1e3 * value for value in seconds))
