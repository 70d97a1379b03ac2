from dataclasses import replace
from pathlib import Path

import numpy as np

from assay.data.dataset import Dataset, Sample, natural_key


def dataset(*samples: Sample) -> Dataset:
    return Dataset(Path("/photos"), ("b", "a"), samples)


def sample(name: str, label: str = "a", **rest: str) -> Sample:
    return Sample(name, Path("/photos") / name, label, digest="0" * 64, **rest)  # type: ignore[arg-type]


def test_natural_order_counts_and_is_total() -> None:
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


def test_targets_follow_the_stored_order_not_the_alphabet() -> None:
    data = dataset(sample("1", "a"), sample("2", "b"), sample("3", "b"))
    assert data.targets().tolist() == [1, 0, 0]
    assert data.targets(data.samples[:1]).dtype == np.int64
    assert list(data.counts().items()) == [("b", 2), ("a", 1)]


def test_parts_and_their_counts() -> None:
    data = dataset(sample("1", split="train"), sample("2", "b", split="train"), sample("3", split="test"))
    assert [one.id for one in data.part("train")] == ["1", "2"]
    assert data.part("val") == ()
    assert data.counts("test") == {"b": 0, "a": 1}


def test_fingerprint_tells_content_and_labels_but_not_splits() -> None:
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


def test_samples_are_ordered_by_id_and_warnings_said_once() -> None:
    data = dataset().with_samples([sample("2"), sample("1")], ["odd"]).with_samples([sample("1")], ["odd"])
    assert data.warnings == ("odd",)
    assert [one.id for one in dataset().with_samples([sample("2"), sample("1")]).samples] == ["1", "2"]
