"""What the page says about compared runs: nobody wins a tie."""

import json
from collections.abc import Sequence

import numpy as np
import pytest

from assay.evaluation import Predictions, compute_metrics
from assay.pipeline.compare import RunResult, rank
from assay.studio.comparison import ComparisonView, comparison_view
from assay.studio.runs import RunSummary


def view(
    *correct: int,
    photos: int = 40,
    other_photos: bool = False,
    labels: dict[str, int] | None = None,
    runs: Sequence[RunSummary] = (),
) -> ComparisonView:
    """Compare runs of which each has its first photos right."""
    results = []
    for place, right in enumerate(correct, start=1):
        actual = np.zeros(photos, dtype=np.int64)
        wrong = np.arange(photos) >= right
        probabilities = np.where(wrong[:, None], [[0.2, 0.8]], [[0.8, 0.2]])
        ids = tuple(f"{place if other_photos else 0}-{number}.png" for number in range(photos))
        predictions = Predictions(classes=("a", "b"), ids=ids, paths=ids, actual=actual, probabilities=probabilities)
        results.append(RunResult(f"runs/run-{place}", "test", predictions, compute_metrics(predictions, None)))
    return comparison_view(json.loads(json.dumps({**rank(results).to_dict(), "labels": labels})), runs)


@pytest.mark.parametrize("second", [36, 35])
def test_a_tie_has_no_best(second: int):
    found = view(36, second)
    assert found.summary.startswith("With 40 photos, no difference between the runs can be shown.")
    assert found.runs[0].sentence == ""
    expected = (
        "as many correct answers as run-1" if second == 36 else "2.5 points below run-1: may be chance (p = 1.000)"
    )
    assert found.runs[1].sentence == expected


def test_a_difference_beyond_chance_has_a_best():
    found = view(20, 39)
    assert found.summary == "run-2 is better than the others, and by more than chance."
    assert [run.sentence for run in found.runs] == [
        "47.5 points below run-2: more than chance (p < 0.001)",
        "the highest accuracy",
    ]


def test_some_may_be_worse_and_others_not():
    found = view(20, 39, 38)
    assert "some runs are worse by more than chance" in found.summary
    assert "may be chance" in found.runs[2].sentence


def test_what_cannot_be_compared_says_what_to_do():
    found = view(20, 39, other_photos=True)
    assert found.summary.endswith("Train again with the present classes, then compare the new runs.")
    assert (found.possible, found.scope) == (False, "")
    assert found.runs[0].sentence
    assert found.runs[0].sentence.endswith("(80 occur in one evaluation only)")


def test_corrected_labels_and_other_photos_are_told():
    labels = {"photos": 40, "changed": 1, "left_out": 2}
    own = RunSummary("run-2", finished=True, bundle=True, photos=42, split="test", accuracy=0.9)
    same = RunSummary("run-1", finished=True, bundle=True, photos=40, split="test", accuracy=0.9)
    found = view(36, 35, labels=labels, runs=[own, same])
    assert found.scope.startswith("All of these runs were measured on the same 40 photos, which none of them")
    assert "1 label was corrected after one of the trainings." in found.scope
    assert found.scope.endswith(
        "2 photos that not all of them were measured on, or that are not in use now, are not counted."
    )
    assert [run.own for run in found.runs] == [None, own]
