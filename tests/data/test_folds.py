"""Folds of data that brings parts of its own: its test stays the test, its other parts are ignored."""

from pathlib import Path

import pytest

from assay.core.errors import AssayError, UsageError
from assay.data.dataset import Dataset, Sample, Split
from assay.data.splits import cross_validation_folds, fold_warnings, validation_folds
from assay.recipe import SplitSpec


def dataset(samples: list[Sample]) -> Dataset:
    classes = tuple(sorted({one.label for one in samples}))
    return Dataset(Path(), classes, ()).with_samples(samples)


def photos(label: str, count: int, split: Split | None = None, group: str | None = None) -> list[Sample]:
    name = f"{label}/{split or ''}{group or ''}"
    return [Sample(f"{name}{place:04}.jpg", Path(), label, split, group) for place in range(count)]


def of_both(count: int, split: Split | None = None) -> list[Sample]:
    return photos("a", count, split) + photos("b", count, split)


def ids(samples: object) -> set[str]:
    return {one.id for one in samples}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("others", "count"),
    [(("train",), 20), (("train", "val"), 40), ((None,), 20), (("val",), 20), (("train", None), 40)],
)
@pytest.mark.parametrize("k", [2, 5])
def test_a_test_part_stays_the_test_of_every_fold(others: tuple[Split | None, ...], count: int, k: int) -> None:
    brought = of_both(6, "test")
    data = dataset([*brought, *(one for split in others for one in of_both(10, split))])
    rounds = cross_validation_folds(data, k, SplitSpec(), 0)
    assert len(rounds) == k
    for fold in rounds:
        assert ids(fold.part("test")) == ids(brought)
        assert len(fold.part("train")) + len(fold.part("val")) == count
        assert set(fold.counts("val").values()) == {count // 2 // k}
    assert sorted(one.id for fold in rounds for one in fold.part("val")) == sorted(ids(data.samples) - ids(brought))


@pytest.mark.parametrize("parts", [(), ("train",), ("val",), ("test",), ("train", "val")])
def test_without_a_test_to_keep_every_photo_is_tested_once(parts: tuple[Split, ...]) -> None:
    data = dataset([one for split in parts or (None,) for one in of_both(12, split)])
    rounds = cross_validation_folds(data, 3, SplitSpec(), 0)
    assert sorted(one.id for fold in rounds for one in fold.part("test")) == sorted(ids(data.samples))
    assert all(fold.part("train") and fold.part("val") for fold in rounds)
    said = fold_warnings(data)
    assert bool(said) == bool(parts)
    assert all(name in said[0] for name in parts)


def test_copies_stay_in_one_fold_and_copies_of_test_photos_are_told() -> None:
    samples = of_both(8, "train") + photos("a", 4, "train", "g") + photos("a", 4, "test")
    leak = [*photos("b", 1, "train", "h"), *photos("b", 1, "test", "h")]
    for fold in validation_folds(samples, 2, 0):
        assert len({one.split for one in (*fold.train, *fold.val) if one.group == "g"}) == 1
    assert "stays the test of every fold" in fold_warnings(dataset(samples))[0]
    assert len(fold_warnings(dataset(samples))) == 1
    assert "1 group of photos that show the same" in fold_warnings(dataset(samples + leak))[1]


def test_folds_that_cannot_be_made_are_refused() -> None:
    with pytest.raises(UsageError, match="2 folds or more"):
        validation_folds(of_both(9), 1, 0)
    with pytest.raises(AssayError, match="6 photos in 2 groups that stay together are too few for 3 folds"):
        validation_folds(photos("a", 3, "train", "g") + photos("b", 3, "train", "h"), 3, 0)
