"""`Dataset`: order, classes, mapping, fingerprint and formats."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from assay.core.errors import AssayError
from assay.data import load_dataset
from assay.data.dataset import (
    Dataset,
    Sample,
    check_label_collisions,
    class_order,
    count_formats,
    empty_classes,
    map_labels,
    natural_key,
    quote_names,
)


def dataset(*samples: Sample) -> Dataset:
    return Dataset(Path("/photos"), ("b", "a"), samples)


def sample(name: str, label: str = "a", **rest: str) -> Sample:
    return Sample(name, Path("/photos") / name, label, digest="0" * 64, **rest)  # type: ignore[arg-type]


def test_natural_order_is_total() -> None:
    names = ["class10", "class2", "Class1", "10", "9", "ä", "b", "", "2a", "2"]
    assert sorted(names, key=natural_key) == [
        "",
        "2",
        "2a",
        "9",
        "10",
        "b",
        "Class1",
        "class2",
        "class10",
        "ä",
    ]
    assert natural_key("A") != natural_key("a")


def test_targets_follow_the_stored_class_order() -> None:
    data = dataset(sample("1", "a"), sample("2", "b"), sample("3", "b"))
    assert data.targets().tolist() == [1, 0, 0]
    assert data.targets(data.samples[:1]).dtype == np.int64
    assert list(data.counts().items()) == [("b", 2), ("a", 1)]


def test_splits_and_their_counts() -> None:
    data = dataset(sample("1", split="train"), sample("2", "b", split="train"), sample("3", split="test"))
    assert [item.id for item in data.part("train")] == ["1", "2"]
    assert data.part("val") == ()
    assert data.counts("test") == {"b": 0, "a": 1}


def test_fingerprint_depends_on_content_and_labels_but_not_splits() -> None:
    data = dataset(sample("1"), sample("2", "b"))
    split = dataset(sample("1", split="test", group="g"), sample("2", "b"))
    assert len(data.fingerprint) == 64
    assert split.fingerprint == data.fingerprint
    changed = [
        dataset(sample("1"), replace(sample("2", "b"), digest="1" * 64)),
        dataset(sample("1"), sample("2", "a")),
        dataset(sample("1"), sample("3", "b")),
        dataset(sample("1")),
        replace(data, classes=("a", "b")),
    ]
    assert len({data.fingerprint, *(other.fingerprint for other in changed)}) == 6


def test_samples_are_ordered_by_id_and_warnings_unique() -> None:
    data = dataset().with_samples([sample("2"), sample("1")], ["odd"]).with_samples([sample("1")], ["odd"])
    assert data.warnings == ("odd",)
    assert [item.id for item in dataset().with_samples([sample("2"), sample("1")]).samples] == ["1", "2"]


MAPPING = {"vehicle": ("truck", "ship"), "animal": ("cat",)}


def samples(*labels: str) -> list[Sample]:
    return [Sample(f"{place}.jpg", Path(f"{place}.jpg"), label) for place, label in enumerate(labels)]


def test_mapping_keeps_the_source_label() -> None:
    mapped = map_labels(samples("ship", "cat"), MAPPING)
    assert [(item.label, item.source_label) for item in mapped] == [("vehicle", "ship"), ("animal", "cat")]


def test_mapping_twice_changes_nothing() -> None:
    mapped = map_labels(samples("ship", "cat"), MAPPING)
    assert map_labels(mapped, MAPPING) == mapped


def test_samples_of_the_new_classes_are_not_mapped() -> None:
    assert map_labels(samples("animal"), MAPPING) == samples("animal")


def test_label_that_is_also_a_class_name_is_mapped_once() -> None:
    mapping = {"cat": ("dog",), "dog": ("cat",)}
    mapped = map_labels(samples("dog"), mapping)
    assert [(item.label, item.source_label) for item in mapped] == [("cat", "dog")]
    assert map_labels(mapped, mapping) == mapped


def test_labels_without_a_class_are_named() -> None:
    with pytest.raises(AssayError, match=r"'bird', 'frog' belongs to; add it under one of 'vehicle', 'animal'"):
        map_labels(samples("frog", "bird", "cat"), MAPPING)


@pytest.mark.parametrize("labels", [("Open", "open"), ("STRASSE", "straße")])
def test_names_that_differ_in_case_are_rejected(labels: tuple[str, str]) -> None:
    with pytest.raises(AssayError, match="differ only in case"):
        check_label_collisions(labels)
    check_label_collisions([labels[0], labels[0], "other"])


def test_very_long_names_are_rejected() -> None:
    check_label_collisions(["a" * 255, "b"])
    with pytest.raises(AssayError, match=r"^the name of class 'aaaa.{0,60} has 3,000 characters, more than 255"):
        check_label_collisions(["a" * 3000, "b"])


@pytest.mark.parametrize("other", ["cat\u200b", "ca\u202et", "ca\xadt", "cat ", "Cat\ufeff"])
def test_names_that_look_equal_are_rejected(other: str) -> None:
    with pytest.raises(AssayError, match="differ only in case, blanks or invisible characters"):
        check_label_collisions(["cat", other, "dog"])


def test_invisible_name_is_rejected() -> None:
    with pytest.raises(AssayError, match="without visible characters"):
        check_label_collisions(["\u200b", "dog"])


def test_class_order_given_then_mapping_then_natural() -> None:
    found = ["c10", "c2", "c1"]
    assert class_order(found, None, None) == ("c1", "c2", "c10")
    assert class_order(["animal"], MAPPING, None) == ("vehicle", "animal")
    assert class_order(found, None, ["c10", "c1", "c2", "c3"]) == ("c10", "c1", "c2", "c3")
    with pytest.raises(AssayError, match="the data has the class 'c2', but the classifier knows 'c10', 'c1'"):
        class_order(found, None, ["c10", "c1"])
    with pytest.raises(AssayError, match="the data has the classes 'c"):
        class_order(found, None, ["c10", "c3"])


def test_long_lists_are_shortened() -> None:
    assert quote_names({f"c{number}" for number in range(12)}, 2) == "'c0', 'c1' and 10 more"
    assert quote_names(["b", "a"]) == "'b', 'a'"


def test_empty_classes_are_found() -> None:
    assert empty_classes(["a", "b", "c"], samples("b")) == ["a", "c"]


def test_formats_are_counted_by_content(tmp_path: Path):
    names = {"a/1.jpg": "WEBP", "a/2.jpg": "JPEG", "b/1.tif": "TIFF", "b/2.png": "WEBP", "b/3.bmp": "BMP"}
    rng = np.random.default_rng(0)
    for name, kind in names.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (20, 20, 3), np.uint8)).save(tmp_path / name, kind)
    dataset = load_dataset(tmp_path)
    assert count_formats(dataset.samples) == {"webp": 2, "jpeg": 1, "tiff": 1, "bmp": 1}
    (tmp_path / "a/2.jpg").unlink()
    unknown = [replace(sample, format=None) for sample in dataset.samples]  # as read from a manifest
    assert "jpeg" not in count_formats(unknown)


def test_arrays_have_no_format(tmp_path: Path):
    pixels = np.random.default_rng(0).integers(0, 255, (4, 20, 20, 3), np.uint8)
    np.savez(tmp_path / "photos.npz", images=pixels, labels=np.array([0, 0, 1, 1]))
    assert count_formats(load_dataset(tmp_path / "photos.npz").samples) == {}
