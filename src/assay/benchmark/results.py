"""The results of a benchmark: repeated measurements per engine and precision, and their summary."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, NamedTuple

from assay.benchmark.worker import StageTimes, ThroughputSetting
from assay.inference.engine_selection import ComputePrecision


@dataclass(frozen=True, slots=True)
class Measurement:
    """The measurements of one worker process.

    Attributes:
        startup: seconds from the start of the process to its first prediction.
        p50: median latency in seconds at batch size 1, from pixels to logits.
        p95: the 95th percentile.
        p99: the 99th percentile.
        runs: number of predictions behind the percentiles.
        throughput: images per second, from pixels to logits.
        setting: batch size and concurrency of the throughput.
        memory: peak bytes at batch size 1; None where the system reports none.
        peak: peak bytes of the whole run.
        stages: mean seconds per stage.
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


class EngineConfig(NamedTuple):
    """An engine and a precision."""

    engine: str
    precision: ComputePrecision

    def __str__(self) -> str:
        return f"{self.engine} {self.precision}"


class RepeatedMeasure(NamedTuple):
    """One quantity, measured several times."""

    median: float
    lowest: float
    highest: float

    def to_dict(self) -> dict[str, float]:
        """Return plain values, ready for JSON."""
        return {name: float(f"{value:.4g}") for name, value in self._asdict().items()}


class Accuracy(NamedTuple):
    """Number of correct predictions on labelled photos."""

    right: int
    photos: int

    @property
    def share(self) -> float:
        """Accuracy, 0–1."""
        return self.right / self.photos


@dataclass(frozen=True, slots=True)
class BenchmarkRow:
    """The measurements of one combination.

    Attributes:
        combination: the engine and the precision.
        trials: one per round; empty if it could not be measured.
        accuracy: None without labelled photos, or if it could not be measured.
        error: why it could not be measured.
    """

    combination: EngineConfig
    trials: tuple[Measurement, ...] = ()
    accuracy: Accuracy | None = None
    error: str | None = None

    def of(self, figure: Callable[[Measurement], float]) -> RepeatedMeasure:
        """Summarize one quantity over all trials."""
        return _summarize(figure(trial) for trial in self.trials)

    def stages(self) -> dict[str, RepeatedMeasure]:
        """Return seconds per photo, by stage."""
        names = self.trials[0].stages._fields
        return {name: _summarize(trial.stages[place] for trial in self.trials) for place, name in enumerate(names)}

    def shares(self) -> dict[str, float]:
        """Return the share of every stage in the time from file to prediction; they add up to 1."""
        medians = {name: seconds.median for name, seconds in self.stages().items()}
        whole = sum(medians.values())
        return {name: seconds / whole for name, seconds in medians.items()}

    def best(self) -> Measurement:
        """Return the trial with the median throughput (of an even number, the upper one)."""
        ordered = sorted(self.trials, key=lambda trial: trial.throughput)
        return ordered[len(ordered) // 2]

    def memory(self, figure: Callable[[Measurement], int | None]) -> float | None:
        """Return the median of a memory measurement in MiB; None where the system reports none."""
        known = [held for trial in self.trials if (held := figure(trial)) is not None]
        return median(known) / (1 << 20) if known else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values: times in milliseconds, start-up in seconds, memory in MiB."""
        values: dict[str, Any] = {"engine": self.combination.engine, "precision": self.combination.precision}
        if not self.trials:
            return {**values, "error": self.error}
        memory, peak = self.memory(lambda trial: trial.memory), self.memory(lambda trial: trial.peak)
        return {
            **values,
            "latency_ms": {
                "p50": self.of(lambda trial: 1e3 * trial.p50).to_dict(),
                "p95": self.of(lambda trial: 1e3 * trial.p95).to_dict(),
                "p99": self.of(lambda trial: 1e3 * trial.p99).to_dict(),
                "runs": sum(trial.runs for trial in self.trials),
            },
            "throughput_per_s": {
                **self.of(lambda trial: trial.throughput).to_dict(),
                **self.best().setting._asdict(),
            },
            "startup_s": self.of(lambda trial: trial.startup).to_dict(),
            "memory_mib": {
                "batch_1": None if memory is None else round(memory),
                "peak": None if peak is None else round(peak),
            },
            "file_to_answer_ms": {
                "total": self.of(lambda trial: 1e3 * sum(trial.stages)).to_dict(),
                **{name: _milliseconds(seconds).to_dict() for name, seconds in self.stages().items()},
            },
            "shares": {name: round(share, 4) for name, share in self.shares().items()},
            "accuracy": None if self.accuracy is None else round(self.accuracy.share, 6),
        }


@dataclass(frozen=True, slots=True)
class BenchmarkResult:
    """The result of a benchmark.

    Attributes:
        name: of the classifier.
        version: of the classifier.
        size: side of the input in pixels.
        photos: description of the photos whose stages were measured.
        judged: number of photos of the accuracy; 0: none.
        caution: why the accuracy may be too high, or empty.
        rounds: measurements of every combination.
        machine: see `machine()`.
        load: load average before and after.
        rows: one per combination.
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
        """Rows of the combinations that could be measured."""
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
