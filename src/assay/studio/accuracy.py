"""Accuracies in words: every one says on which photos it was measured.

The accuracy of a run is that on its test photos, or on its validation photos if it has no others. What a search shows
while it runs was measured on the photos that choose the best candidate, and is named so.
"""

from collections.abc import Mapping
from typing import Any, Final

from assay.core.html_pages import no_break
from assay.core.text_layout import format_percent
from assay.pipeline.run_folder import SPLIT_TITLES
from assay.studio.pages import text
from assay.studio.training_view import CandidateRow

_SPACE: Final = "\N{NO-BREAK SPACE}"


def search_score(row: CandidateRow) -> str:
    """Return what a search compares candidates by: accuracy or balanced accuracy, with half of its 95 % interval."""
    value = row.balanced_accuracy if row.balanced else row.accuracy
    half_width = "" if row.half_width is None else f"{_SPACE}±{_SPACE}{100 * row.half_width:.1f}"
    return f"{_percent(value)}{half_width}"


def search_photos(row: CandidateRow, splits: Mapping[str, int]) -> str:
    """Return on which photos the score of a candidate was measured.

    Args:
        row: the candidate.
        splits: number of photos by split. A candidate with a score on more photos than the validation photos was
            cross-validated.
    """
    held_out = _is_cross_validated(row, splits)
    measured = text("search_cross_validated" if held_out else "search_validation", count=row.photos)
    return f"{text('balanced_accuracy')} {measured}" if row.balanced else measured


def search_note(splits: Mapping[str, int]) -> str:
    """Return how the scores of a search differ from the accuracy of the run."""
    count = splits.get("test", 0)
    return text("search_then_test", count=count) if count else text("search_then_val")


def search_sentence(report: Mapping[str, Any], candidates: list[CandidateRow], *, cross_validated: bool = False) -> str:
    """Return what the search of a run had shown of the candidate that was kept; empty if there was no search.

    Args:
        report: of the run.
        candidates: of its search.
        cross_validated: whether the classifier was evaluated by cross-validation where there are no test photos.
    """
    kept = _kept(candidates)
    if kept is None:
        return ""
    counts = split_counts(report)
    measured = f"{search_score(kept)} {search_photos(kept, counts)}"
    untested = "held-out" if cross_validated else SPLIT_TITLES["val"]
    return text("search_was", measured=measured, split=SPLIT_TITLES["test"] if counts.get("test") else untested)


def split_counts(report: Mapping[str, Any]) -> dict[str, int]:
    """Return the number of photos of a report by split."""
    return {split: sum(classes.values()) for split, classes in report["splits"]["counts"].items()}


def _kept(candidates: list[CandidateRow]) -> CandidateRow | None:
    kept = [row for row in candidates if row.outcome == "kept" and row.accuracy is not None]
    return kept[-1] if kept else None


def _is_cross_validated(row: CandidateRow, splits: Mapping[str, int]) -> bool:
    return row.photos > splits.get("val", 0)


def _percent(share: float | None) -> str:
    return no_break(format_percent(share))
