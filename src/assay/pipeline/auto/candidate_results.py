"""What the strategy `auto` tried: one record per candidate, as a table and as JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Literal

from assay.core.tables import write_json
from assay.core.text_layout import format_percent
from assay.pipeline.auto.scores import Gain, HeldOutScores
from assay.pipeline.run_folder import Run
from assay.training import EpochMetrics

Outcome = Literal["kept", "replaced", "not kept", "not tried"]
"""replaced: kept until a later candidate was better."""

CANDIDATES_FILE = "candidates.json"
"""In the run folder."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One candidate of a search.

    Attributes:
        name: what it is, such as `linear probe, efficientnet-lite0, stretch, 224 pixels`.
        outcome: whether it was kept.
        reason: why.
        photos: number of held-out photos; 0 if it was not tried.
        accuracy: on them, 0-1.
        balanced_accuracy: mean recall of the classes on them, 0-1.
        half_width: half the width of the 95 % interval of the objective.
        log_loss: on them, after temperature scaling, in nats.
        seconds: that it took.
        after: seconds from the start of the run to its end.
        fine_tuned: whether all layers were trained, not the head alone.
    """

    name: str
    outcome: Outcome
    reason: str
    photos: int = 0
    accuracy: float | None = None
    balanced_accuracy: float | None = None
    half_width: float | None = None
    log_loss: float | None = None
    seconds: float = 0.0
    after: float = 0.0
    fine_tuned: bool = False

    @classmethod
    def tried(
        cls,
        name: str,
        scores: HeldOutScores,
        outcome: Outcome,
        reason: str,
        *,
        seconds: float,
        after: float,
        fine_tuned: bool = False,
    ) -> "Candidate":
        """Return the record of a candidate with scores."""
        return cls(
            name=name,
            outcome=outcome,
            reason=reason,
            photos=len(scores),
            accuracy=scores.accuracy,
            balanced_accuracy=scores.balanced_accuracy,
            half_width=scores.half_width,
            log_loss=float((scores.losses * scores.weights).mean()),
            seconds=seconds,
            after=after,
            fine_tuned=fine_tuned,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def describe_gain(gain: Gain, objective: str, *, slower: bool = False) -> str:
    """Return a comparison with the best candidate before, in words.

    Args:
        gain: over the best candidate before.
        objective: its name.
        slower: as for `Gain.is_better`.
    """
    points, error = 100 * gain.objective, 100 * gain.objective_error
    name = objective.replace("_", " ")
    if not isfinite(error):
        return f"{name} {points:+.1f} points on a single photo or group of photos: too few to compare"
    text = f"{name} {points:+.1f} ± {error:.1f} points, log loss {-gain.loss:+.3f} ± {gain.loss_error:.3f}"
    if gain.is_worse:
        return f"{text}: worse"
    return (
        text
        if gain.is_better(slower=slower)
        else f"{text}: too little to be sure" + slower * ", or to be worth the time"
    )


def candidates_table(candidates: Sequence[Candidate]) -> list[list[str]]:
    """Return a header and one row per candidate."""
    rows = [["candidate", "held-out photos", "accuracy", "balanced", "log loss", "seconds", "result", "reason"]]
    for candidate in candidates:
        loss = "" if candidate.log_loss is None else f"{candidate.log_loss:.3f}"
        figures = [
            f"{candidate.photos:,}",
            format_percent(candidate.accuracy),
            format_percent(candidate.balanced_accuracy),
            loss,
        ]
        if candidate.accuracy is None:
            figures = [""] * len(figures)
        rows.append([candidate.name, *figures, f"{candidate.seconds:.0f}", candidate.outcome, candidate.reason])
    return rows


def write_candidates(folder: Path, candidates: Sequence[Candidate]) -> None:
    """Write `candidates.json` into a run folder."""
    write_json(folder / CANDIDATES_FILE, [candidate.to_dict() for candidate in candidates])


def read_candidates(folder: Path) -> list[Candidate]:
    """Read what `write_candidates` wrote; empty if there is nothing or if it is damaged."""
    try:
        stored = json.loads((folder / CANDIDATES_FILE).read_text(encoding="utf-8"))
        return [Candidate(**values) for values in stored]
    except (OSError, ValueError, TypeError):
        return []


def epochs_of_kept_network(run: Run) -> tuple[EpochMetrics, ...]:
    """Return the epochs of a run; empty if they are those of a fine-tuning whose network was not kept.

    Raises:
        AssayError: the file of the metrics was changed.
    """
    kept = [candidate for candidate in read_candidates(run.folder) if candidate.outcome == "kept"]
    return run.epochs if not kept or kept[-1].fine_tuned else ()
