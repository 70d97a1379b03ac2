from pathlib import Path

import pytest

from assay.core.errors import AssayError
from assay.data.dataset import Sample, check_label_collisions, class_order, empty_classes, map_labels, quote_names

MAPPING = {"vehicle": ("truck", "ship"), "animal": ("cat",)}


def samples(*labels: str) -> list[Sample]:
    return [Sample(f"{place}.jpg", Path(f"{place}.jpg"), label) for place, label in enumerate(labels)]


def test_mapping_keeps_the_source_label() -> None:
    mapped = map_labels(samples("ship", "cat"), MAPPING)
    assert [(one.label, one.source_label) for one in mapped] == [("vehicle", "ship"), ("animal", "cat")]


def test_mapping_twice_changes_nothing() -> None:
    mapped = map_labels(samples("ship", "cat"), MAPPING)
    assert map_labels(mapped, MAPPING) == mapped


def test_photos_of_the_new_classes_are_left_as_they_are() -> None:
    assert map_labels(samples("animal"), MAPPING) == samples("animal")


def test_a_label_that_is_also_a_class_name_is_mapped_once() -> None:
    mapping = {"cat": ("dog",), "dog": ("cat",)}
    mapped = map_labels(samples("dog"), mapping)
    assert [(one.label, one.source_label) for one in mapped] == [("cat", "dog")]
    assert map_labels(mapped, mapping) == mapped


def test_labels_without_a_class_are_named() -> None:
    with pytest.raises(AssayError, match=r"'bird', 'frog' belongs to; add it under one of 'vehicle', 'animal'"):
        map_labels(samples("frog", "bird", "cat"), MAPPING)


@pytest.mark.parametrize("labels", [("Open", "open"), ("STRASSE", "straße")])
def test_names_that_differ_in_case_are_refused(labels: tuple[str, str]) -> None:
    with pytest.raises(AssayError, match="differ only in case"):
        check_label_collisions(labels)
    check_label_collisions([labels[0], labels[0], "other"])


@pytest.mark.parametrize("other", ["cat\u200b", "ca\u202et", "ca\xadt", "cat ", "Cat\ufeff"])
def test_names_that_look_alike_are_refused(other: str) -> None:
    with pytest.raises(AssayError, match="differ only in case, blanks or invisible characters"):
        check_label_collisions(["cat", other, "dog"])


def test_a_name_that_nobody_sees_is_refused() -> None:
    with pytest.raises(AssayError, match="nobody can see"):
        check_label_collisions(["\u200b", "dog"])


def test_order_is_the_given_one_then_the_mappings_then_natural() -> None:
    found = ["c10", "c2", "c1"]
    assert class_order(found, None, None) == ("c1", "c2", "c10")
    assert class_order(["animal"], MAPPING, None) == ("vehicle", "animal")
    assert class_order(found, None, ["c10", "c1", "c2", "c3"]) == ("c10", "c1", "c2", "c3")
    with pytest.raises(AssayError, match="the data has the class 'c2', but the classifier knows 'c10', 'c1'"):
        class_order(found, None, ["c10", "c1"])


def test_long_lists_are_cut() -> None:
    assert quote_names({f"c{number}" for number in range(12)}, 2) == "'c0', 'c1' and 10 more"
    assert quote_names(["b", "a"]) == "'b', 'a'"


def test_empty_classes_are_found() -> None:
    assert empty_classes(["a", "b", "c"], samples("b")) == ["a", "c"]
