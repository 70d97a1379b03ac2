"""What the page shows of a training that runs: stage, time left, the candidates and the best one so far."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from assay.studio.jobs import Job, JobStatus


@dataclass(frozen=True)
class CandidateRow:
    """A candidate of the strategy `auto`."""

    name: str
    outcome: str
    reason: str
    accuracy: float | None
    balanced_accuracy: float | None
    half_width: float | None
    """Half the 95 % interval of what candidates are compared by."""
    photos: int
    after: float
    balanced: bool
    """Whether candidates are compared by balanced accuracy."""


@dataclass(frozen=True)
class CurvePoint:
    """A point of the curve."""

    x: float
    """Seconds, or the epoch."""
    y: float
    """Accuracy on held-out photos, 0-1."""
    best: bool


@dataclass(frozen=True)
class TrainingView:
    """The state of a training.

    Attributes:
        job: that trains.
        stage: what it does now.
        trying: name of the candidate that is tried now; empty if there is none.
        share: of the stage that is done, 0-1; None: unknown.
        elapsed: seconds.
        left: seconds until the budget ends; None: there is no budget, or it has ended.
        candidates: in the order tried, the current best marked as kept.
        best: of the candidates.
        epochs: of fine-tuning or of a fixed strategy.
        curve: accuracy of the candidates over time, or of the epochs.
        curve_of: `time` or `epochs`.
        splits: number of photos by split.
    """

    job: Job
    stage: str
    trying: str
    share: float | None
    elapsed: float
    left: float | None
    candidates: Sequence[CandidateRow]
    best: CandidateRow | None
    epochs: Sequence[Mapping[str, Any]]
    curve: Sequence[CurvePoint]
    curve_of: str
    splits: Mapping[str, int]

    @property
    def can_keep_best(self) -> bool:
        """Whether stopping keeps a classifier; after the search, it would interrupt the evaluation."""
        return self.best is not None and not is_search_over(self.job)


def is_search_over(job: Job) -> bool:
    """Return whether no candidate is tried any more, so that there is nothing to stop."""
    return bool(job.of("search_end"))


def training_view(job: Job) -> TrainingView:
    """Read the events of a training."""
    settings = (job.of("settings") or [{}])[-1]
    data = (job.of("data") or [{}])[-1]
    candidates = candidate_rows(job.of("candidate"), settings.get("objective"))
    tried = [row for row in candidates if row.accuracy is not None]
    kept = [row for row in tried if row.outcome == "kept"]
    epochs = job.of("epoch")
    minutes = settings.get("minutes")
    left = None
    if job.status is JobStatus.running and minutes:
        left = max(0.0, 60 * float(minutes) - job.seconds) or None
    curve, curve_of = _curve(tried, epochs)
    return TrainingView(
        job=job,
        stage=_stage(job),
        trying=_trying(job),
        share=_share(job),
        elapsed=job.seconds,
        left=left,
        candidates=candidates,
        best=kept[-1] if kept else None,
        epochs=epochs,
        curve=curve,
        curve_of=curve_of,
        splits=dict(data.get("splits", {})),
    )


def candidate_rows(records: Sequence[Mapping[str, Any]], objective: str | None) -> list[CandidateRow]:
    """Read the candidates of a search.

    Args:
        records: as in the events of the training and in `candidates.json`.
        objective: of the training.
    """
    return [
        CandidateRow(
            name=str(record.get("name", "")),
            outcome=str(record.get("outcome", "")),
            reason=str(record.get("reason", "")),
            accuracy=record.get("accuracy"),
            balanced_accuracy=record.get("balanced_accuracy"),
            half_width=record.get("half_width"),
            photos=int(record.get("photos") or 0),
            after=float(record.get("after") or 0.0),
            balanced=objective == "balanced_accuracy",
        )
        for record in records
    ]


def _curve(tried: Sequence[CandidateRow], epochs: Sequence[Mapping[str, Any]]) -> tuple[list[CurvePoint], str]:
    if tried:
        return [
            CurvePoint(row.after, row.accuracy, row.outcome == "kept") for row in tried if row.accuracy is not None
        ], "time"
    scores = [float(row["val_accuracy"]) for row in epochs if row.get("val_accuracy") is not None]
    return [CurvePoint(place, score, score == max(scores)) for place, score in enumerate(scores, start=1)], "epochs"


def _stage(job: Job) -> str:
    if job.stopping:
        return "stopping"
    what = "" if job.progress is None else str(job.progress.get("what", ""))
    return what or "starting"


def _trying(job: Job) -> str:
    events = [item for item in job.events if item["event"] in ("trying", "candidate", "search_end")]
    return str(events[-1].get("name", "")) if job.running and events and events[-1]["event"] == "trying" else ""


def _share(job: Job) -> float | None:
    if job.progress is None or job.stopping:
        return None
    done, total = job.progress.get("done"), job.progress.get("total")
    if not isinstance(done, int | float) or not isinstance(total, int | float) or total <= 0:
        return None
    return min(1.0, done / total)
