"""Corrected labels are applied to the predictions on the images that all classifiers were evaluated on."""

import numpy as np
import pytest

from assay.core.errors import AssayError
from assay.evaluation import Predictions
from assay.evaluation.present_labels import apply_labels


def predictions(answers: dict[str, tuple[str, str]], classes: tuple[str, ...] = ("cat", "dog")) -> Predictions:
    """Label and answer of each image."""
    index = {name: place for place, name in enumerate(classes)}
    probabilities = np.full((len(answers), len(classes)), 0.1)
    for row, (_, answer) in enumerate(answers.values()):
        probabilities[row, index[answer]] = 1.1 - 0.1 * len(classes)
    actual = np.array([index[label] for label, _ in answers.values()])
    ids = tuple(answers)
    return Predictions(classes=classes, ids=ids, paths=ids, actual=actual, probabilities=probabilities)


EARLIER = predictions({"a": ("cat", "dog"), "b": ("cat", "cat"), "c": ("dog", "dog"), "gone": ("dog", "dog")})
LATER = predictions({"new": ("cat", "cat"), "c": ("dog", "cat"), "b": ("cat", "cat"), "a": ("dog", "dog")})
PRESENT = {"a": "dog", "b": "cat", "c": "dog", "new": "cat"}


def test_both_are_measured_with_the_present_labels_on_the_images_in_common():
    found = apply_labels([EARLIER, LATER], PRESENT)
    assert [item.ids for item in found.predictions] == [("a", "b", "c")] * 2
    assert [item.correct.tolist() for item in found.predictions] == [[True, True, True], [True, True, False]]
    assert found.to_dict() == {"photos": 3, "changed": 1, "left_out": 2}


def test_classes_in_another_order_are_matched_by_name():
    later = predictions({"a": ("dog", "dog"), "b": ("cat", "dog")}, ("dog", "cat"))
    found = apply_labels([EARLIER, later], PRESENT)
    assert [item.correct.tolist() for item in found.predictions] == [[True, True], [True, False]]


def test_images_without_label_or_of_an_unknown_class_are_left_out():
    found = apply_labels([EARLIER, LATER], {"a": "bird", "c": "dog"})
    assert found.predictions[0].ids == ("c",)
    assert found.to_dict() == {"photos": 1, "changed": 0, "left_out": 4}


def test_nothing_in_common_is_an_error():
    with pytest.raises(AssayError, match="no photo in common: train again with the splits"):
        apply_labels([EARLIER, predictions({"z": ("cat", "cat")})], PRESENT)


@pytest.mark.parametrize("present", [{}, {"x/a": "cat"}, {"a": "bird", "b": ""}], ids=["empty", "ids", "classes"])
def test_photos_in_common_without_a_label_are_another_error(present: dict[str, str]):
    with pytest.raises(AssayError, match=r"none of the photos that all were evaluated on has a label.*, such as a$"):
        apply_labels([EARLIER, LATER], present)
