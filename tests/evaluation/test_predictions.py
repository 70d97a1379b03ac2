"""`Predictions`: derived values, files and mistakes."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assay.core.errors import AssayError
from assay.evaluation import Predictions
from assay.evaluation.predictions import Mistake, misclassified_photos

Make = Callable[..., Predictions]


def same(one: Predictions, other: Predictions):
    assert one.classes == other.classes
    assert one.ids == other.ids
    assert one.paths == other.paths
    assert one.source_labels == other.source_labels
    np.testing.assert_array_equal(one.actual, other.actual)
    np.testing.assert_array_equal(one.probabilities, other.probabilities)
    assert (one.embedding is None) == (other.embedding is None)
    if one.embedding is not None:
        np.testing.assert_array_equal(one.embedding, other.embedding)


def test_derived_values():
    predictions = Predictions(
        classes=("a", "b"),
        ids=("1", "2", "3"),
        paths=("1", "2", "3"),
        actual=np.array([0, 1, 1]),
        probabilities=np.array([[0.75, 0.25], [0.6, 0.4], [0.5, 0.5]]),
    )
    assert predictions.predicted.tolist() == [0, 0, 0]  # the first of equals
    assert predictions.confidence.tolist() == [0.75, 0.6, 0.5]
    assert predictions.correct.tolist() == [True, False, False]
    assert len(predictions) == 3


def test_arrays_have_documented_types_and_are_read_only(make: Make):
    embedding = np.ones((3, 4))
    predictions = make([0, 1, 2], embedding=embedding, actual=np.array([0, 1, 2], dtype=np.uint8))
    assert predictions.actual.dtype == np.int64
    assert predictions.probabilities.dtype == np.float64
    assert predictions.embedding.dtype == np.float32
    for array in (predictions.actual, predictions.probabilities, predictions.embedding):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    embedding[0] = 5  # the caller's own array stays writable


def test_log_probabilities_can_be_used_as_logits(make: Make):
    predictions = make([0, 1, 2, 1])
    odds = np.exp(predictions.log_probabilities)
    np.testing.assert_allclose(odds / odds.sum(axis=1, keepdims=True), predictions.probabilities)
    certain = make([0], probabilities=np.array([[1.0, 0.0, 0.0]]))
    assert np.isfinite(certain.log_probabilities).all()


@pytest.mark.parametrize("others", [{}, {"embedding": np.arange(8, dtype=np.float32).reshape(4, 2)}])
@pytest.mark.parametrize("sources", [None, ("bird", "plane", "鳥", "")])
def test_file_survives_a_round_trip(
    make: Make, tmp_path: Path, others: dict[str, Any], sources: tuple[str, ...] | None
):
    names = ("ein Käfer", "車両 $x$", "a" * 300)
    predictions = make([0, 1, 2, 1], classes=names, source_labels=sources, **others)
    predictions.save(tmp_path / "predictions.npz")
    same(Predictions.load(tmp_path / "predictions.npz"), predictions)


def test_undecodable_file_names_survive_a_round_trip(make: Make, tmp_path: Path):
    predictions = make([0], ids=("caf\udce9.jpg",), paths=("/p/caf\udce9.jpg",))
    predictions.save(tmp_path / "p.npz")
    assert Predictions.load(tmp_path / "p.npz").ids == ("caf\udce9.jpg",)


def test_empty_predictions_can_be_stored(make: Make, tmp_path: Path):
    predictions = make([], embedding=np.zeros((0, 5)), source_labels=())
    predictions.save(tmp_path / "p.npz")
    same(Predictions.load(tmp_path / "p.npz"), predictions)


def test_same_predictions_give_the_same_bytes(make: Make, tmp_path: Path):
    make([0, 1]).save(tmp_path / "a.npz")
    make([0, 1]).save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_file_name_is_used_unchanged(make: Make, tmp_path: Path):
    make([0]).save(tmp_path / "stored")
    assert [path.name for path in tmp_path.iterdir()] == ["stored"]


@pytest.mark.parametrize("keep", [0, 10, 200, -30])
def test_truncated_file_raises(make: Make, tmp_path: Path, keep: int):
    path = tmp_path / "p.npz"
    make([0, 1, 2]).save(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(AssayError, match=r"p\.npz cannot be read .*: evaluate the classifier again"):
        Predictions.load(path)


def test_damaged_member_raises(make: Make, tmp_path: Path):
    path = tmp_path / "p.npz"
    make(list(range(3)) * 50).save(path)
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("probabilities.npy").header_offset
    data[start + 200] ^= 255
    path.write_bytes(data)
    with pytest.raises(AssayError, match="cannot be read"):
        Predictions.load(path)


def test_missing_file_raises(tmp_path: Path):
    with pytest.raises(AssayError, match="is missing"):
        Predictions.load(tmp_path / "p.npz")


def test_pickles_are_rejected(tmp_path: Path):
    path = tmp_path / "p.npz"
    np.savez(path, format=np.asarray(1), classes=np.array([print, "b"], dtype=object))
    with pytest.raises(AssayError, match="cannot be read"):
        Predictions.load(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": np.asarray(99)}, "no predictions of format 1"),
        ({"format": None}, "no predictions of format 1"),
        ({"actual": None}, "inconsistent"),
        ({"actual": np.array([0])}, "inconsistent"),
        ({"actual": np.array(["x", "y"])}, "inconsistent"),
        ({"ids": np.array([1, 2])}, "inconsistent"),
        ({"probabilities": np.full((2, 3), np.nan)}, "not a number"),
    ],
)
def test_other_contents_are_rejected(make: Make, tmp_path: Path, changes: dict[str, Any], message: str):
    path = tmp_path / "p.npz"
    make([0, 1]).save(path)
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files} | changes
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(AssayError, match=message):
        Predictions.load(path)


def test_plain_array_file_is_rejected(tmp_path: Path):
    np.save(tmp_path / "p.npy", np.zeros(3))
    with pytest.raises(AssayError, match="cannot be read"):
        Predictions.load(tmp_path / "p.npy")


def test_nan_probabilities_raise_with_the_id(make: Make):
    probabilities = np.full((2, 3), 1 / 3)
    probabilities[1, 2] = np.nan
    with pytest.raises(AssayError, match=r"prediction for dog/1\.jpg is not a number"):
        make([0, 1], probabilities=probabilities)


@pytest.mark.parametrize("row", [[2.0, 3.0, 4.0], [0.2, 0.2, 0.2], [1.5, -0.5, 0.0]])
def test_invalid_distributions_raise(make: Make, row: list[float]):
    with pytest.raises(AssayError, match="apply a softmax"):
        make([0], probabilities=np.array([row]))


@pytest.mark.parametrize(
    "others",
    [
        {"ids": ("1",)},
        {"paths": ("1",)},
        {"actual": np.array([0])},
        {"actual": np.array([0, 3])},
        {"actual": np.array([0, -1])},
        {"actual": np.array([[0], [1]])},
        {"probabilities": np.full((2, 2), 0.5)},
        {"embedding": np.zeros((1, 4))},
        {"embedding": np.zeros(2)},
        {"source_labels": ("x",)},
        {"classes": ("a", "b", "a")},
        {"source_labels": ("x", "y", "z")},
    ],
)
def test_mismatched_lengths_raise(make: Make, others: dict[str, Any]):
    with pytest.raises(ValueError, match=r"length|shape|outside|same name|two or more"):
        make([0, 1], **others)


def test_single_class_raises(make: Make):
    with pytest.raises(ValueError, match="two or more classes, not 1"):
        make([0, 0], [0, 0], classes=("a",))


def test_take_selects_images(make: Make):
    all_of_them = make([0, 1, 2, 1], embedding=np.eye(4), source_labels=("p", "q", "r", "s"))
    two = all_of_them.take([3, 0])
    assert two.ids == ("dog/3.jpg", "cat/0.jpg")
    assert two.source_labels == ("s", "p")
    assert two.actual.tolist() == [1, 0]
    np.testing.assert_array_equal(two.embedding, np.eye(4, dtype=np.float32)[[3, 0]])
    assert all_of_them.take(all_of_them.actual == 1).ids == ("dog/1.jpg", "dog/3.jpg")
    assert len(all_of_them.take([])) == 0


def test_mistakes_are_ordered_by_confidence(make: Make):
    probabilities = np.array([[0.2, 0.8, 0], [0.1, 0.9, 0], [0.05, 0.05, 0.9], [0, 0.4, 0.6], [1, 0, 0]])
    predictions = make([0, 1, 1, 0, 0], probabilities=probabilities, source_labels=tuple("vwxyz"))
    assert misclassified_photos(predictions) == (
        Mistake(2, "dog/2.jpg", "/photos/dog/2.jpg", "dog", "ship", 0.9, "x"),
        Mistake(0, "cat/0.jpg", "/photos/cat/0.jpg", "cat", "dog", 0.8, "v"),
        Mistake(3, "cat/3.jpg", "/photos/cat/3.jpg", "cat", "ship", 0.6, "y"),
    )


def test_equally_confident_mistakes_stay_in_order(make: Make):
    predictions = make([0] * 50, probabilities=np.tile([0.3, 0.7, 0.0], (50, 1)))
    assert [mistake.row for mistake in misclassified_photos(predictions)] == list(range(50))


def test_no_mistakes(make: Make):
    assert misclassified_photos(make([0, 1], [0, 1])) == ()
    assert misclassified_photos(make([])) == ()


def test_mistakes_without_source_labels(make: Make):
    assert misclassified_photos(make([0], [1]))[0].source_label is None
