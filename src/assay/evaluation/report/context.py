"""`ReportContext`: what a report shows besides the predictions. Everything is optional."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from assay.evaluation.predictions import Predictions
from assay.evaluation.selective_classification import AnswerCounts

ReadImage = Callable[[str, str], bytes]
"""Gives the bytes of a photo by its id and its path."""

MakeHeatmap = Callable[[bytes, int], bytes | None]
"""Gives, from a photo's bytes and the index of a class, a picture (any format Assay reads) of where the
classifier saw that class; or none."""


class EpochMetrics(NamedTuple):
    """One epoch of the training, counted from 1; accuracies 0-1."""

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float


class ReportFinding(NamedTuple):
    """Something the check of the data found."""

    severity: str
    """error, warning or note."""
    title: str
    """What was found, as a sentence without a full stop."""
    advice: str = ""
    photos: int = 0


@dataclass(frozen=True, kw_only=True)
class ReportContext:
    """What surrounds the predictions.

    Attributes:
        title: heading of the page.
        question: what was asked, as a sentence; empty: made from the class names.
        part: what the photos are called: test, validation; empty: just photos.
        caution: a sentence on why the numbers may be too good; empty: none.
        history: the training, an epoch a row.
        best_epoch: the epoch whose weights were kept; 0: unknown.
        temperature: what the logits were divided by before the softmax; not 1: calibration is shown before
            and after.
        threshold: least confidence that the classifier answers from; none: it always answers.
        answered: what it answers and what it leaves as unknown among these photos; none: it never abstains.
        training: predictions on the training photos; with embeddings on both sides, the nearest of them
            stand beside each mistake.
        read: how photos are read; none: from the files at their paths.
        heatmap: how a heat map is made; none: the page has none.
        findings: what the check of the data found; none: no check was made.
        parts: photos of every class in every part of the data.
        split: how the photos were shared out, in a sentence or two.
        provenance: where everything comes from: names and values, in order.
        settings: every setting of the training as text.
    """

    title: str = "Evaluation"
    question: str = ""
    part: str = ""
    caution: str = ""
    history: Sequence[EpochMetrics] = ()
    best_epoch: int = 0
    temperature: float = 1.0
    threshold: float | None = None
    answered: AnswerCounts | None = None
    training: Predictions | None = None
    read: ReadImage | None = None
    heatmap: MakeHeatmap | None = None
    findings: Sequence[ReportFinding] | None = None
    parts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    split: str = ""
    provenance: Mapping[str, str] = field(default_factory=dict)
    settings: str = ""
