"""The runs of a project: which there are, and the report of each as data."""

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from assay.bundle import Bundle
from assay.core.errors import AssayError
from assay.core.files import read_text
from assay.data import Split
from assay.pipeline.run_folder import Run
from assay.pipeline.training_overlap import is_cross_validated, split_title
from assay.studio.errors import NotFoundError
from assay.studio.training_view import CandidateRow, candidate_rows

RUNS_FOLDER: Final = "runs"
MODELS_FOLDER: Final = "models"
"""Folder of the exported models."""
_REPORT: Final = "report.json"
_CANDIDATES: Final = "candidates.json"
_EVALUATED: Final[tuple[Split, ...]] = ("test", "val")
"""Splits whose evaluation gives the accuracy of a run: the first one that was evaluated."""
_NEEDED: Final = frozenset(
    {"result", "baseline", "positive_class", "warning", "metrics", "confusion", "photos", "abstention", "label_issues"}
    | {"mistakes", "learning_curve", "splits"}
)
"""What the pages show of a report."""
_MAX_CHARS: Final = 256 << 20
_LEVELS: Final = 10
"""Steps of the colours of a confusion matrix."""


@dataclass(frozen=True)
class RunSummary:
    """One run in the list.

    Attributes:
        name: of its folder, which is also its id.
        finished: whether it has a report.
        bundle: whether there is a classifier.
        photos: number of photos that it was evaluated on.
        split: which they are, as an adjective: test, or validation if there are no test photos.
        accuracy: of the run: that on them, 0-1.
        low: lower end of the 95 % interval of the accuracy.
        high: upper end.
        network: name of the network, and how it was trained.
        created: date and time, ISO 8601.
    """

    name: str
    finished: bool
    bundle: bool
    photos: int = 0
    split: str = ""
    accuracy: float | None = None
    low: float | None = None
    high: float | None = None
    network: str = ""
    created: str = ""


class RunStore:
    """Reads the folder `runs` of a project; reports are parsed once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._reports: dict[str, tuple[int, dict[str, Any]]] = {}

    def names(self) -> list[str]:
        """Return the names of the runs, oldest first."""
        try:
            found = [path for path in self.folder.iterdir() if (path / "run.json").is_file()]
        except OSError:
            return []
        return [path.name for path in sorted(found, key=lambda path: ((path / "recipe.yaml").exists(), _created(path)))]

    def path(self, name: str) -> Path:
        """Return the folder of a run; `NotFoundError` if there is no such run."""
        if name not in self.names():
            raise NotFoundError(f"There is no run {name}")
        return self.folder / name

    def bundle(self, name: str) -> Path:
        """Return the classifier of a run; `NotFoundError` if there is no such run, or it has none yet."""
        path = Run(self.path(name)).bundle
        if not path.is_file():
            raise NotFoundError(f"The run {name} has no classifier yet")
        return path

    def classes(self, name: str) -> tuple[str, ...]:
        """Return the classes of a run's classifier.

        Raises:
            NotFoundError: there is no such run, or it has no classifier yet.
            AssayError: the classifier is damaged.
        """
        return Bundle.open(self.bundle(name)).info.classes

    def is_cross_validated(self, name: str) -> bool:
        """Whether a run's classifier was trained on its validation photos too, and judged by cross-validation.

        Raises:
            NotFoundError: there is no such run.
        """
        return is_cross_validated(Run(self.path(name)))

    def for_labels(self, counts: Mapping[str, int]) -> str | None:
        """Return the last finished run that knows every class with photos; None if there is none."""
        used = {name for name, count in counts.items() if count}
        for name in reversed(self.names()):
            run = Run(self.folder / name)
            with suppress(AssayError, OSError):
                if run.bundle.is_file() and run.done and used <= set(run.classes):
                    return name
        return None

    def label_check_source(self, name: str) -> Path:
        """Return what `assay check --model` needs to doubt labels: held-out predictions where they cover the data.

        Raises:
            NotFoundError: there is no such run, or it has no classifier.
        """
        bundle = self.bundle(name)
        run = Run(self.folder / name)
        held_out = run.evaluation("val")
        # A fine-tuned network has learnt the wrong labels of its training photos too.
        return held_out if run.recipe().train.strategy == "auto" and held_out.is_dir() else bundle

    def new_name(self, used: Sequence[str]) -> str:
        """Return the name of the next run, other than those in use."""
        number = 1
        while (self.folder / f"run-{number}").exists() or f"run-{number}" in used:
            number += 1
        return f"run-{number}"

    def report(self, name: str) -> dict[str, Any] | None:
        """Return `report.json` of a run with its folder under `folder`; None before there is one.

        Raises:
            NotFoundError: there is no such run.
            AssayError: the file is damaged, or of another version of Assay.
        """
        run = Run(self.path(name))
        for split in _EVALUATED:
            path = run.evaluation(split) / _REPORT
            try:
                changed = path.stat().st_mtime_ns
                known = self._reports.get(name)
                if known is None or known[0] != changed:
                    known = (
                        changed,
                        {**_checked(json.loads(read_text(path, _MAX_CHARS)), path), "folder": str(path.parent)},
                    )
                    self._reports = {name: known}  # reports of large data sets take much memory
            except (OSError, ValueError):
                continue
            return known[1]
        return None

    def candidates(self, name: str) -> list[CandidateRow]:
        """Return what the search of a run has tried; empty if it had no search, or the file is damaged."""
        run = Run(self.path(name))
        try:
            records = json.loads(read_text(run.folder / _CANDIDATES, _MAX_CHARS))
            return candidate_rows(records, run.recipe().train.objective)
        except (AssayError, OSError, ValueError, TypeError, AttributeError):
            return []

    def summary(self, name: str) -> RunSummary:
        """Return a run's row of the list."""
        run = Run(self.folder / name)
        bundle = run.bundle.is_file()
        for split in _EVALUATED:
            path = run.evaluation(split) / "metrics.json"
            try:
                metrics = json.loads(read_text(path, _MAX_CHARS))
                interval = metrics.get("accuracy_interval") or (None, None)
                if isinstance(interval, dict):
                    interval = (interval["low"], interval["high"])
                return RunSummary(
                    name,
                    finished=(path.parent / _REPORT).is_file(),
                    bundle=bundle,
                    photos=int(metrics["count"]),
                    split=split_title(run, split),
                    accuracy=metrics["accuracy"],
                    low=interval[0],
                    high=interval[1],
                    network=_network(run),
                    created=_created_text(run.folder),
                )
            except (OSError, ValueError, KeyError, TypeError):
                continue
        return RunSummary(name, finished=False, bundle=bundle, network=_network(run), created=_created_text(run.folder))

    def summaries(self) -> list[RunSummary]:
        """Return all runs, latest first."""
        return [self.summary(name) for name in reversed(self.names())]

    def latest_split(self) -> str | None:
        """Return the name of the last run with a report whose splits another run can keep."""
        finished = [name for name in self.names() if self.summary(name).finished]
        return next((name for name in reversed(finished) if Run(self.folder / name).has_splits), None)

    def latest_finished(self) -> str | None:
        """Return the name of the last run with a report."""
        return next((run.name for run in self.summaries() if run.finished), None)


@dataclass(frozen=True)
class MatrixCell:
    """A cell of the confusion matrix."""

    count: int
    share: float
    """Of its row, 0-1."""
    level: int
    """Intensity of the colour, 0-10."""
    correct: bool


def matrix_rows(report: Mapping[str, Any]) -> tuple[list[str], list[list[MatrixCell]]]:
    """Return the classes and the confusion matrix of a report: a row for each label."""
    classes = list(report["confusion"]["classes"])
    size = len(classes)
    counts = [[0] * size for _ in range(size)]
    photos = report["photos"]
    for actual, predicted in zip(photos["actual"], photos["predicted"], strict=True):
        counts[actual][predicted] += 1
    rows = []
    for place, row in enumerate(counts):
        total = sum(row)
        rows.append(
            [
                MatrixCell(
                    count,
                    count / total if total else 0.0,
                    math.ceil(_LEVELS * count / total) if total else 0,
                    place == column,
                )
                for column, count in enumerate(row)
            ]
        )
    return classes, rows


def cell_photos(report: Mapping[str, Any], actual: int, predicted: int) -> list[tuple[str, float]]:
    """Return the ids in the report and the confidence of the photos in a cell, the most confident first."""
    photos = report["photos"]
    columns = zip(photos["ids"], photos["actual"], photos["predicted"], photos["confidence"], strict=True)
    found = [(name, confidence) for name, label, said, confidence in columns if (label, said) == (actual, predicted)]
    return sorted(found, key=lambda item: -item[1])


def threshold_curve(report: Mapping[str, Any]) -> dict[str, list[float]]:
    """Return precision and coverage of the answers above each confidence, for a slider.

    `threshold` falls from 1; `answered` and `correct` count the photos with at least that confidence.
    """
    photos = report["photos"]
    pairs = sorted(
        (
            (confidence, actual == predicted)
            for confidence, actual, predicted in zip(
                photos["confidence"], photos["actual"], photos["predicted"], strict=True
            )
        ),
        reverse=True,
    )
    thresholds, answered, correct = [], [], []
    right = 0
    for place, (confidence, hit) in enumerate(pairs, start=1):
        right += hit
        if place == len(pairs) or pairs[place][0] < confidence:
            thresholds.append(confidence)
            answered.append(place)
            correct.append(right)
    return {"threshold": thresholds, "answered": list(map(float, answered)), "correct": list(map(float, correct))}


def _checked(report: object, path: Path) -> Mapping[str, Any]:
    """Return the content of `report.json` if it has what the pages show.

    Raises:
        AssayError: it has not.
    """
    if isinstance(report, dict) and report.keys() >= _NEEDED:
        return report
    raise AssayError(f"{path} is damaged, or of another version of Assay: evaluate the run again, or train another one")


def _created(path: Path) -> float:
    try:
        return (path / "recipe.yaml").stat().st_mtime
    except OSError:
        return 0.0


def _created_text(path: Path) -> str:
    when = _created(path)
    return datetime.fromtimestamp(when).astimezone().isoformat(timespec="minutes") if when else ""


def _network(run: Run) -> str:
    try:
        recipe = run.recipe()
    except (AssayError, OSError):
        return ""
    minutes = recipe.train.auto.minutes
    budget = f", {minutes:g} min" if recipe.train.strategy == "auto" and minutes else ""
    return f"{recipe.net.name}, {recipe.train.strategy}{budget}"
