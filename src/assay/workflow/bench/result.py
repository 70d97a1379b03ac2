"""Repeated trials as one row a combination: medians, and between which values they lay.

Knows nothing of processes or photos.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, NamedTuple

from assay.inference.choice import Arithmetic
from assay.workflow.bench.trial import Trial


class Combination(NamedTuple):
    """What is measured."""

    engine: str
    precision: Arithmetic

    def __str__(self) -> str:
        return f"{self.engine} {self.precision}"


class Repeated(NamedTuple):
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
class Row:
    """What is known of one combination.

    Attributes:
        combination: the engine and the precision.
        trials: one a round; empty where it could not be measured.
        accuracy: on the photos given; None: there were none, or it could not be measured.
        error: why it could not be measured.
    """

    combination: Combination
    trials: tuple[Trial, ...] = ()
    accuracy: Accuracy | None = None
    error: str | None = None

    def of(self, figure: Callable[[Trial], float]) -> Repeated:
        """Return one figure over all trials."""
        return _repeated(figure(trial) for trial in self.trials)

    def stages(self) -> dict[str, Repeated]:
        """Return seconds a photo from file to answer, by stage."""
        names = self.trials[0].stages._fields
        return {
            name: _repeated(trial.stages[place] for trial in self.trials) for place, name in enumerate(names)
        }

    def shares(self) -> dict[str, float]:
        """Return every stage's share of the time from file to answer; they add up to 1."""
        medians = {name: seconds.median for name, seconds in self.stages().items()}
        whole = sum(medians.values())
        return {name: seconds / whole for name, seconds in medians.items()}

    def best(self) -> Trial:
        """Return the trial of the median throughput, the better of two in the middle."""
        ordered = sorted(self.trials, key=lambda trial: trial.throughput)
        return ordered[len(ordered) // 2]

    def memory(self, figure: Callable[[Trial], int | None]) -> float | None:
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
                **{name: _scaled(seconds).to_dict() for name, seconds in self.stages().items()},
            },
            "shares": {name: round(share, 4) for name, share in self.shares().items()},
            "accuracy": None if self.accuracy is None else round(self.accuracy.share, 6),
        }


@dataclass(frozen=True, slots=True)
class BenchResult:
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
    rows: tuple[Row, ...]

    @property
    def measured(self) -> tuple[Row, ...]:
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


def _repeated(values: Iterable[float]) -> Repeated:
    known: Sequence[float] = list(values)
    return Repeated(median(known), min(known), max(known))


def _scaled(seconds: Repeated) -> Repeated:
    return Repeated(*(1e3 * value for value in seconds))
