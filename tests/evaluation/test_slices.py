import json
from collections.abc import Callable

import pytest

from assay.core.errors import UsageError
from assay.evaluation import Predictions, accuracy_by_slice, accuracy_by_source_label, slices_text, wilson_interval

Make = Callable[..., Predictions]


@pytest.fixture
def mapped(make: Make) -> Predictions:
    """Three birds of which two are taken for vehicles, two frogs, one truck."""
    return make(
        [0, 0, 0, 0, 0, 1],
        [1, 1, 0, 0, 0, 1],
        classes=("animal", "vehicle"),
        source_labels=("bird", "bird", "bird", "frog", "frog", "truck"),
    )


def test_least_accurate_first(mapped: Predictions):
    bird, frog, truck = accuracy_by_source_label(mapped)
    assert (bird.name, bird.actual, bird.count, bird.correct) == ("bird", "animal", 3, 1)
    assert bird.accuracy == pytest.approx(1 / 3)
    assert bird.interval == wilson_interval(1, 3)
    assert (bird.mistaken_for, bird.mistaken_count) == ("vehicle", 2)
    assert bird.confidence == pytest.approx(mapped.confidence[:3].mean())
    assert (frog.name, frog.mistaken_for, frog.mistaken_count) == ("frog", None, 0)
    assert (truck.name, truck.actual) == ("truck", "vehicle")
    assert sum(one.count for one in (bird, frog, truck)) == len(mapped)
    assert json.loads(json.dumps(bird.to_dict(), allow_nan=False)) == bird.to_dict()


def test_any_property(mapped: Predictions):
    found = accuracy_by_slice(mapped, ["small", "large"] * 3)
    assert {one.name: (one.count, one.actual) for one in found} == {
        "small": (3, "animal"),
        "large": (3, None),
    }
    with pytest.raises(ValueError, match="2 names for 6 photos"):
        accuracy_by_slice(mapped, ["a", "b"])


def test_without_source_labels_or_photos(make: Make):
    with pytest.raises(UsageError, match="no source labels"):
        accuracy_by_source_label(make([0]))
    assert accuracy_by_slice(make([]), []) == ()
    assert slices_text((), "size").split()[0] == "size"


def test_text(mapped: Predictions):
    lines = slices_text(accuracy_by_source_label(mapped), "category").splitlines()
    assert lines[0].split()[:5] == ["category", "class", "photos", "correct", "accuracy"]
    assert lines[1].split()[:6] == ["bird", "animal", "3", "1", "33.3", "%"]
    assert lines[1].endswith("vehicle (2)")
    assert "several" in slices_text(accuracy_by_slice(mapped, ["x"] * 6), "size")
