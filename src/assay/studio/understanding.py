"""What the step Understand shows of a report: mistakes with their nearest training photos, suspected labels."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from assay.studio.accuracy import split_counts
from assay.studio.pages import text
from assay.studio.photos import Photo

MAX_MISTAKES: Final = 60
MAX_SUSPECTS: Final = 60
FEW_PHOTOS: Final = 50
"""Evaluated photos below which the page says that the accuracy is uncertain."""


@dataclass(frozen=True)
class ReportPhoto:
    """A photo of a report; `photo` is None if the project does not have it any more."""

    name: str
    photo: Photo | None


@dataclass(frozen=True)
class MistakeCard:
    """A misclassified photo."""

    shown: ReportPhoto
    actual: str
    predicted: str
    confidence: float
    nearest: tuple[tuple[ReportPhoto, str], ...]
    """Training photos that look most alike to the network, and their labels."""


@dataclass(frozen=True)
class Suspect:
    """A photo whose label is probably wrong."""

    shown: ReportPhoto
    label: str
    suggested: str
    probability: float
    """Of the suggested class, 0-1."""

    @property
    def resolved(self) -> bool:
        """Whether its label has been changed, or it has been left out, since the training."""
        photo = self.shown.photo
        return photo is None or photo.left_out or photo.label != self.label


def report_photo(name: str, photos: Mapping[str, Photo]) -> ReportPhoto:
    """Return a photo of a report by its id there, which is its name."""
    return ReportPhoto(name, photos.get(name))


def mistake_cards(report: Mapping[str, Any], photos: Mapping[str, Photo]) -> list[MistakeCard]:
    """Return the mistakes of a report, the most confident first."""
    return [
        MistakeCard(
            report_photo(mistake["id"], photos),
            mistake["actual"],
            mistake["predicted"],
            mistake["confidence"],
            tuple((report_photo(item["id"], photos), item["label"]) for item in mistake["nearest"]),
        )
        for mistake in report["mistakes"][:MAX_MISTAKES]
    ]


def suspects(report: Mapping[str, Any], photos: Mapping[str, Photo]) -> list[Suspect]:
    """Return the photos whose labels are probably wrong, the most doubtful first."""
    return [
        Suspect(
            report_photo(item["id"], photos), item["label"], item["suggested"], float(item["suggested_probability"])
        )
        for item in report["label_issues"]["photos"][:MAX_SUSPECTS]
    ]


def photos_used(report: Mapping[str, Any], *, cross_validated: bool = False) -> str:
    """Return a sentence on which photos were trained on and which were kept for the result of a report.

    Args:
        report: of the run.
        cross_validated: whether the classifier was trained on the validation photos too, and chosen by
            cross-validation.
    """
    counts = split_counts(report)
    numbers = {split: counts.get(split, 0) for split in ("train", "val", "test")}
    key = "photos_used_test" if numbers["test"] else "photos_used_val"
    if cross_validated:
        key = f"{key}_cross_validated"
        numbers["train"] += numbers["val"]
    used = text(key, **numbers)
    return f"{used} {text('few_evaluated')}" if report["metrics"]["count"] < FEW_PHOTOS else used
