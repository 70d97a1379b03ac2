"""Comparison of classifiers on the same images, with a test of significance."""

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.bundle import Bundle, amend_bundle
from assay.core.errors import AssayError, UsageError
from assay.evaluation import Predictions, compute_metrics
from assay.pipeline import compare_results
from assay.pipeline.compare import holm_adjust

_COUNT = 200


def predictions(wrong: int, *, first: int = 0, prefix: str = "", classes: tuple[str, ...] = ("no", "yes")):
    """Photos 0 to 199, of which `wrong` from the photo `first` on are answered wrongly."""
    actual = np.arange(_COUNT) % 2
    answer = actual.copy()
    answer[first : first + wrong] = 1 - answer[first : first + wrong]
    probabilities = np.full((_COUNT, len(classes)), 0.2 / (len(classes) - 1))
    probabilities[np.arange(_COUNT), answer] = 0.8
    ids = tuple(f"{prefix}{number:03}.png" for number in range(_COUNT))
    return Predictions(classes=classes, ids=ids, paths=ids, actual=actual, probabilities=probabilities)


def saved(folder: Path, made: Predictions, positive: str | None = None) -> Path:
    made.save(folder / "predictions.npz")
    if positive is not None:
        metrics = compute_metrics(made, positive).to_dict()
        (folder / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    return folder


def test_others_are_compared_with_the_best(tmp_path: Path):
    paths = [
        saved(tmp_path / "poor", predictions(60)),
        saved(tmp_path / "good", predictions(10)),
        saved(tmp_path / "near", predictions(11, first=100)),
    ]
    ranking = compare_results(paths)
    assert ranking.best.name == str(paths[1])
    poor, good, near = ranking.comparisons
    assert (poor.significant, good.significant, near.significant) == (True, None, False)
    assert poor.comparison is not None
    assert poor.comparison.difference == pytest.approx(-0.25)
    for result in ("-25.0 points, p < 0.001: significant", "not significant", "best", "Holm", "McNemar"):
        assert result in ranking.text


def test_ties_in_accuracy_are_broken_by_log_loss(tmp_path: Path):
    sure = predictions(10)
    doubtful = Predictions(
        classes=sure.classes,
        ids=sure.ids,
        paths=sure.paths,
        actual=sure.actual,
        probabilities=0.5 + 0.1 * (sure.probabilities - 0.5),
    )
    paths = [saved(tmp_path / "doubtful", doubtful), saved(tmp_path / "sure", sure)]
    assert compare_results(paths).best.name == str(paths[1])
    assert "not significant" in compare_results(paths).text


def test_different_images_or_classes_are_not_compared(tmp_path: Path):
    paths = [
        saved(tmp_path / "one", predictions(10)),
        saved(tmp_path / "elsewhere", predictions(20, prefix="other/")),
        saved(tmp_path / "three", predictions(20, classes=("no", "yes", "perhaps"))),
    ]
    ranking = compare_results(paths)
    assert [comparison.comparison for comparison in ranking.comparisons] == [None, None, None]
    assert "not evaluated on the same photos" in ranking.comparisons[1].reason
    assert "classes of the classifiers differ" in ranking.comparisons[2].reason
    assert ranking.text.count("not comparable") == 2
    assert "McNemar" not in ranking.text


def test_runs_are_compared_on_test_or_else_validation(tmp_path: Path):
    run = tmp_path / "run"
    saved(run / "evaluation" / "val", predictions(50))
    other = saved(tmp_path / "other", predictions(5))
    assert compare_results([run, other]).comparisons[0].result.split == "validation"
    saved(run / "evaluation" / "test", predictions(1))
    ranking = compare_results([run, other])
    assert ranking.comparisons[0].result.split == "test"
    assert ranking.best.metrics.correct == 199


def test_validation_photos_of_a_cross_validated_run_are_called_held_out(
    tmp_path: Path, make_bundle: Callable[..., Path]
):
    run = tmp_path / "run"
    folder = saved(run / "evaluation" / "val", predictions(50))
    shutil.copy(make_bundle(), run / "model.assay")
    other = saved(tmp_path / "other", predictions(5))
    assert [compare_results([path, other]).comparisons[0].result.split for path in (run, folder)] == ["validation"] * 2
    amend_bundle(Bundle.open(run / "model.assay"), {"metrics": {"confidence": {"cross_validated": True}}})
    assert [compare_results([path, other]).comparisons[0].result.split for path in (run, folder)] == ["held-out"] * 2


def test_cross_validation_uses_out_of_fold_predictions(tmp_path: Path):
    folder = saved(tmp_path / "crossval", predictions(3))
    (folder / "crossval.json").write_text("{}", encoding="utf-8")
    ranking = compare_results([folder, saved(tmp_path / "b", predictions(4)) / "predictions.npz"])
    assert [item.result.split for item in ranking.comparisons] == ["out of fold", "–"]


def test_precision_is_that_of_the_positive_class(tmp_path: Path):
    # Photo 0 is a `no` answered `yes`.
    paths = [saved(tmp_path / "a", predictions(1), "no"), saved(tmp_path / "b", predictions(0), "no")]
    ranking = compare_results(paths)
    assert "precision of no" in ranking.text
    assert ranking.comparisons[0].result.precision == 1.0
    assert compare_results(paths, "yes").comparisons[0].result.precision == pytest.approx(100 / 101)


def test_csv_contains_the_same(tmp_path: Path):
    paths = [saved(tmp_path / "a", predictions(60)), saved(tmp_path / "b", predictions(10))]
    ranking = compare_results(paths)
    ranking.write_csv(tmp_path / "table.csv")
    rows = list(csv.DictReader((tmp_path / "table.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["best"] for row in rows] == ["no", "yes"]
    assert float(rows[0]["accuracy"]) == 0.7
    assert rows[0]["significant"] == "yes"
    assert rows[1]["p_value"] == ""
    result = json.loads(json.dumps(ranking.to_dict()))
    assert result["compared"][0]["p_adjusted"] == float(rows[0]["p_adjusted"])


def test_corrected_labels_are_compared_on_the_photos_in_common(tmp_path: Path):
    earlier, later = predictions(10), predictions(0)
    kept = np.arange(150)
    later = replace(
        later,
        ids=later.ids[:150],
        paths=later.paths[:150],
        actual=later.actual[kept],
        probabilities=later.probabilities[kept],
    )
    later = replace(later, actual=np.where(kept < 5, 1 - later.actual, later.actual))
    paths = [saved(tmp_path / "earlier", earlier), saved(tmp_path / "later", later)]
    assert "not comparable" in compare_results(paths).text
    rows = [f"{name},{name},{('no', 'yes')[number % 2]}" for number, name in enumerate(earlier.ids)]
    manifest = tmp_path / "labels.csv"
    manifest.write_text("\n".join(["id,path,label", *rows]), encoding="utf-8")
    ranking = compare_results(paths, labels=manifest)
    assert [item.result.metrics.accuracy for item in ranking.comparisons] == [140 / 150, 1.0]
    assert ranking.to_dict()["labels"] == {"photos": 150, "changed": 5, "left_out": 50}
    assert (
        "compared on 150 photos that all were evaluated on (50 of some evaluations left out); 5 labels" in ranking.text
    )
    assert ranking.comparisons[0].significant


@pytest.mark.parametrize("way", ["relative", "absolute", "link"])
def test_labels_are_found_by_the_path_if_the_ids_are_others(tmp_path: Path, way: str):
    folder = tmp_path / "photos"
    folder.mkdir()
    both = [predictions(10), predictions(0)]
    both = [replace(item, paths=tuple(str(folder / f"{name}.png") for name in item.ids)) for item in both]
    paths = [saved(tmp_path / name, item) for name, item in zip("ab", both, strict=True)]
    (tmp_path / "link").symlink_to(folder)
    place = {"relative": "photos", "absolute": str(folder), "link": str(tmp_path / "link")}[way]
    rows = [f"{place}/{name}.png,{('no', 'yes')[number % 2]}" for number, name in enumerate(both[0].ids)]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label", *rows, "photos/absent.png,no"]), encoding="utf-8")
    found = compare_results(paths, labels=tmp_path / "labels.csv").to_dict()["labels"]
    assert found == {"photos": 200, "changed": 0, "left_out": 0}


def test_the_label_of_a_tar_is_not_that_of_its_photos(tmp_path: Path):
    tar = str(tmp_path / "photos.tar")
    both = [replace(item, paths=(tar,) * len(item.ids)) for item in (predictions(10), predictions(0))]
    paths = [saved(tmp_path / name, item) for name, item in zip("ab", both, strict=True)]
    (tmp_path / "labels.csv").write_text("path,label\nphotos.tar,yes\n", encoding="utf-8")
    with pytest.raises(AssayError, match="none of the photos that all were evaluated on"):
        compare_results(paths, labels=tmp_path / "labels.csv")


def test_input_without_predictions_is_rejected(tmp_path: Path):
    good = saved(tmp_path / "good", predictions(1))
    (tmp_path / "model.assay").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "run.json").write_text("{}", encoding="utf-8")
    for name, message in [
        ("nowhere", "does not exist"),
        ("model.assay", "assay evaluate"),
        ("empty", "has no predictions"),
        ("begun", "assay train --resume"),
    ]:
        with pytest.raises(UsageError, match=message):
            compare_results([good, tmp_path / name])
    with pytest.raises(UsageError, match="two or more"):
        compare_results([good])
    with pytest.raises(UsageError, match="named twice"):
        compare_results([good, good])
    (tmp_path / "bad.npz").write_bytes(b"no zip")
    with pytest.raises(AssayError, match="bad"):
        compare_results([good, tmp_path / "bad.npz"])


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_keeps_the_order_and_never_lowers_a_p_value(values: list[float]):
    adjusted = holm_adjust(values)
    assert all(before <= after <= 1 for before, after in zip(values, adjusted, strict=True))
    order = sorted(range(len(values)), key=values.__getitem__)
    assert [adjusted[place] for place in order] == sorted(adjusted)
    for before, after in zip(values, adjusted, strict=True):
        assert after <= min(1, len(values) * before) + 1e-12


def test_holm_by_hand():
    assert holm_adjust([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
