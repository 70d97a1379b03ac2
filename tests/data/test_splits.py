"""Train, validation and test splits, and cross-validation folds."""

from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.core.errors import AssayError, UsageError
from assay.data.dataset import SPLITS, Dataset, Sample, Split
from assay.data.splits import assign_splits, cross_validation_folds, fold_warnings, make_folds, validation_folds
from assay.recipe import SplitSpec

SPEC = SplitSpec()
SPECS = [SPEC, SplitSpec(train=0.8, val=0.2, test=0), SplitSpec(train=0.75, val=0.125, test=0.125)]


def dataset(samples: list[Sample]) -> Dataset:
    return Dataset(Path(), tuple(sorted({item.label for item in samples})), tuple(samples)).with_samples(samples)


def photos(label: str, count: int, *, split: Split | None = None, group: str | None = None) -> list[Sample]:
    name = f"{label}/{split or ''}{group or ''}"
    return [Sample(f"{name}{place:04}.jpg", Path(), label, split, group) for place in range(count)]


def parts(data: Dataset) -> dict[str, Split | None]:
    return {sample.id: sample.split for sample in data.samples}


def sizes(data: Dataset, label: str | None = None) -> list[int]:
    return [sum(label in {None, item.label} for item in data.part(split)) for split in SPLITS]


@st.composite
def datasets(draw: st.DrawFn, groups: int = 8) -> Dataset:
    """Random labels, source labels, group sizes and, here and there, groups of several labels."""
    labels = draw(st.lists(st.sampled_from("abcde"), min_size=1, max_size=5, unique=True))
    samples: list[Sample] = []
    for group in range(draw(st.integers(groups, 40))):
        label = draw(st.sampled_from(labels))
        for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3, 10]))):
            if draw(st.integers(0, 19)) == 0:
                label = draw(st.sampled_from(labels))
            number = len(samples)
            samples.append(
                Sample(
                    f"{number}.jpg",
                    Path(),
                    label,
                    group=f"g{group}",
                    source_label=draw(st.sampled_from([None, "x", "y"])),
                )
            )
    return dataset(samples)


@given(datasets(4), st.sampled_from(SPECS), st.integers(0, 2**32 - 1))
@settings(max_examples=600, deadline=None)
def test_groups_stay_whole_and_every_sample_has_a_split(data: Dataset, spec: SplitSpec, seed: int) -> None:
    groups = defaultdict(set)
    for sample in data.samples:
        groups[sample.group].add(sample.label)
    try:
        split = assign_splits(data, spec, seed)
    except AssayError:
        # Every class must be in train; val and test can be empty only if classes have hardly a group each.
        assert len(groups) <= len(data.classes) + 2
        return
    held = defaultdict(set)
    for sample in split.samples:
        held[sample.group].add(sample.split)
    assert all(len(found) == 1 for found in held.values())
    wanted = {name for name in SPLITS if getattr(spec, name)}
    assert set.union(*held.values()) == wanted
    assert [replace(item, split=None) for item in split.samples] == list(data.samples)
    largest = max(Counter(sample.group for sample in data.samples).values())
    for name in SPLITS:
        error = len(split.part(name)) - getattr(spec, name) * len(data)
        assert abs(error) <= 2 * largest + 2 * len(data.classes)
    pure = Counter(next(iter(labels)) for labels in groups.values() if len(labels) == 1)
    for label, count in pure.items():
        if count >= len(wanted):
            assert all(item for item, name in zip(sizes(split, label), SPLITS, strict=True) if name in wanted)


@given(datasets(), st.integers(0, 9), st.data())
@settings(max_examples=60, deadline=None)
def test_result_depends_on_ids_groups_and_seed_only(data: Dataset, seed: int, draw: st.DataObject) -> None:
    shuffled = draw.draw(st.permutations(data.samples))
    renamed = [replace(item, group=f"other {hash(item.group)}") for item in shuffled]
    first = parts(assign_splits(data, SPEC, seed))
    assert parts(assign_splits(replace(data, samples=tuple(renamed)), SPEC, seed)) == first


@given(datasets(), st.integers(0, 9), st.integers(3, 5))
@settings(max_examples=60, deadline=None)
def test_folds_test_every_sample_once_and_keep_groups(data: Dataset, seed: int, k: int) -> None:
    groups = {sample.group for sample in data.samples}
    if len(groups) < k + len(data.classes) + 2:
        return
    rounds = make_folds(data.samples, k, seed)
    assert sorted(item.id for fold in rounds for item in fold.test) == sorted(item.id for item in data.samples)
    for fold in rounds:
        together = [*fold.train, *fold.val, *fold.test]
        assert sorted(item.id for item in together) == sorted(item.id for item in data.samples)
        held = [{item.group for item in part} for part in fold]
        assert sum(map(len, held)) == len(groups)
        assert all(held)
        assert [{item.split for item in part} for part in fold] == [{"train"}, {"val"}, {"test"}]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (SPEC, [70, 15, 15]),
        (SplitSpec(train=0.8, val=0.2, test=0), [80, 20, 0]),
        (SplitSpec(train=0.6, val=0.15, test=0.25), [60, 15, 25]),
    ],
)
def test_shares_are_exact_in_every_class(spec: SplitSpec, expected: list[int]) -> None:
    split = assign_splits(dataset(photos("a", 100) + photos("b", 200)), spec, 0)
    assert sizes(split, "a") == expected
    assert sizes(split, "b") == [2 * count for count in expected]
    assert split.warnings == ()


def test_split_is_stable_across_versions() -> None:
    # Part of the product: a changed algorithm would move photos between the parts of a repeated run.
    split = assign_splits(dataset(photos("a", 10)), SplitSpec(train=0.5, val=0.3, test=0.2), 7)
    letters = "".join((sample.split or "")[1] for sample in split.samples)
    assert letters == "rrraeaarer"


def test_different_seeds_give_different_splits() -> None:
    data = dataset(photos("a", 60))
    assert parts(assign_splits(data, SPEC, 1)) != parts(assign_splits(data, SPEC, 2))


def test_splits_are_stratified_by_source_label() -> None:
    samples = [replace(item, source_label="xy"[place % 2]) for place, item in enumerate(photos("a", 200))]
    split = assign_splits(dataset(samples), SPEC, 0)
    for name, count in zip(SPLITS, (70, 15, 15), strict=True):
        assert Counter(item.source_label for item in split.part(name)) == {"x": count, "y": count}


def test_random_split_ignores_groups_and_warns_of_leaks() -> None:
    data = dataset([*photos("a", 30, group="g"), *photos("a", 30), *photos("b", 30)])
    split = assign_splits(data, SplitSpec(method="random"), 0)
    assert len({item.split for item in split.samples if item.group}) == 3
    assert split.warnings == ("1 group of photos is in more than one split, since groups are ignored (random)",)
    assert assign_splits(data, SPEC, 0).warnings == ()


def test_existing_splits_are_kept() -> None:
    data = dataset([item for split in SPLITS for item in photos("a", 3, split=split) + photos("b", 2, split=split)])
    split = assign_splits(data, SPEC, 0)
    assert split.samples == data.samples
    assert split.warnings == ()


def test_val_is_taken_from_train_only() -> None:
    data = dataset(photos("a", 85, split="train") + photos("b", 170, split="train") + photos("a", 40, split="test"))
    split = assign_splits(data, SPEC, 0)
    assert sizes(split, "a") == [70, 15, 40]
    assert sizes(split, "b") == [140, 30, 0]
    assert [item.id for item in split.part("test")] == [item.id for item in data.part("test")]
    assert "val was taken from train" in split.warnings[0]
    assert "the existing split test has no photo of 'b'" in split.warnings[1]


def test_existing_test_split_is_unchanged() -> None:
    samples = [
        *photos("a", 20, split="train"),
        *photos("a", 5, split="train", group="g"),
        *photos("a", 5, split="test", group="g"),
    ]
    split = assign_splits(dataset(samples), SPEC, 0)
    assert len(split.part("test")) == 5
    assert len({item.split for item in split.samples if item.group and item.split != "test"}) == 1
    assert "1 group of photos is in more than one split, since they were there already" in split.warnings


def test_train_and_val_without_a_test_split() -> None:
    data = dataset(photos("a", 8, split="train") + photos("a", 2, split="val"))
    split = assign_splits(data, SPEC, 0)
    assert sizes(split) == [8, 2, 0]
    assert split.warnings == ("the data has no test split, so the metrics are those of validation",)


def test_train_split_alone_is_divided() -> None:
    split = assign_splits(dataset(photos("a", 100, split="train")), SPEC, 0)
    assert sizes(split) == [70, 15, 15]
    assert "the data has a train split only" in split.warnings[0]


def test_photos_without_a_split_among_others_are_mentioned() -> None:
    some = [*photos("a", 20, split="train"), *photos("a", 5, split="val"), *photos("a", 5)]
    split = assign_splits(dataset(some), SPEC, 0)
    assert "5 photos without a split were divided among train, val and test" in split.warnings
    tested = [*some[:-4], *photos("a", 5, split="test")]
    split = assign_splits(dataset(tested), SPEC, 0)
    assert "1 photo without a split was divided among train and val" in split.warnings


def test_a_class_with_test_photos_only_is_mentioned() -> None:
    kept = [item for split in SPLITS for item in photos("a", 9, split=split)]
    split = assign_splits(dataset([*kept, *photos("b", 9, split="test")]), SPEC, 0)
    assert split.warnings[-1] == "no training or validation photo is of 'b': test photos of it will be misclassified"


@pytest.mark.parametrize("brought", [("test",), ("val",), ("val", "test")])
def test_missing_training_split_raises(brought: tuple[Split, ...]) -> None:
    samples = [item for split in brought for item in photos("a", 9, split=split)]
    with pytest.raises(AssayError, match=f"has no training split, only {' and '.join(brought)}; add training photos"):
        assign_splits(dataset(samples), SPEC, 0)
    assert sum(sizes(assign_splits(dataset(samples + photos("a", 30)), SPEC, 0))) == len(samples) + 30


def test_samples_without_a_split_among_others() -> None:
    marked = dataset(photos("a", 30, split="test") + photos("a", 85))
    assert sizes(assign_splits(marked, SPEC, 0)) == [70, 15, 30]
    learning = dataset(photos("a", 30, split="train") + photos("a", 70))
    assert sizes(assign_splits(learning, SPEC, 0)) == [70, 15, 15]


def test_samples_without_a_split_follow_their_group() -> None:
    samples = photos("a", 90) + photos("b", 1, split="test", group="g") + photos("b", 4, group="g")
    split = assign_splits(dataset(samples), SPEC, 0)
    assert {item.split for item in split.samples if item.group} == {"test"}


@given(datasets(), datasets(), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_new_samples_do_not_move_old_ones(old: Dataset, more: Dataset, seed: int) -> None:
    earlier = {item.id: item.split for item in assign_splits(old, SPEC, seed).samples if item.split}
    # New photos, some in groups of old ones, some in groups of their own.
    added = [
        replace(item, id=f"new{item.id}", group=f"{item.group}" if place % 2 else f"new {item.group}")
        for place, item in enumerate(more.samples)
    ]
    split = assign_splits(old.with_samples([*old.samples, *added]), SPEC, seed + 1, earlier)
    later = parts(split)
    assert {item: later[item] for item in earlier} == earlier
    held = defaultdict(set)
    for sample in split.samples:
        held[sample.group].add(sample.split)
    assert all(len(found) == 1 for found in held.values())


def test_new_samples_fill_missing_shares() -> None:
    old = assign_splits(dataset(photos("a", 100)), SPEC, 0)
    like = {item.id: item.split for item in old.samples if item.split}
    data = dataset(photos("a", 200))
    assert sizes(assign_splits(data, SPEC, 0, like)) == [140, 30, 30]
    shifted = assign_splits(data, SplitSpec(train=0.5, val=0.25, test=0.25), 0, like)
    assert sizes(shifted) == [100, 50, 50]


def test_splits_of_an_earlier_run_include_its_validation() -> None:
    data = dataset(photos("a", 50, split="train") + photos("a", 10, split="test"))
    first = assign_splits(data, SPEC, 0)
    like = {item.id: item.split for item in first.samples if item.split}
    again = assign_splits(data, SPEC, 99, like)
    assert parts(again) == parts(first)


def test_new_sample_that_links_two_splits_gives_a_warning() -> None:
    data = dataset(photos("a", 3, group="g") + photos("a", 20))
    ids = [item.id for item in data.samples if item.group]
    split = assign_splits(data, SPEC, 0, {ids[0]: "train", ids[1]: "test"})
    assert parts(split)[ids[0]] == "train"
    assert parts(split)[ids[1]] == "test"
    assert any("in more than one split" in sentence for sentence in split.warnings)


def test_too_few_groups_raise() -> None:
    with pytest.raises(AssayError, match="2 photos are too few for 'train', 'val', 'test'"):
        assign_splits(dataset(photos("a", 1) + photos("b", 1)), SPEC, 0)
    with pytest.raises(AssayError, match="12 photos in 1 group that stays together are too few"):
        assign_splits(dataset(photos("a", 12, group="g")), SPEC, 0)


def test_classes_with_few_groups_go_to_train_with_a_warning() -> None:
    split = assign_splits(dataset(photos("a", 30) + photos("b", 1)), SPEC, 0)
    assert sizes(split, "b") == [1, 0, 0]
    assert split.warnings == (
        "val has no photo of 'b': too few groups for every split",
        "test has no photo of 'b': too few groups for every split",
    )


def test_folds_are_stratified_with_the_given_validation_share() -> None:
    rounds = make_folds(photos("a", 50) + photos("b", 100), 5, 0, val=0.25)
    for fold in rounds:
        assert [Counter(item.label for item in part) for part in fold] == [
            {"a": 30, "b": 60},
            {"a": 10, "b": 20},
            {"a": 10, "b": 20},
        ]


def test_folds_can_ignore_groups() -> None:
    samples = photos("a", 40, group="g") + photos("b", 40)
    assert all(any(item.group for item in fold.test) for fold in make_folds(samples, 4, 0, method="random"))


def test_invalid_fold_arguments_raise() -> None:
    with pytest.raises(UsageError, match="2 folds or more, not 1"):
        make_folds(photos("a", 9), 1, 0)
    with pytest.raises(AssayError, match="4 photos are too few for 5 folds"):
        make_folds(photos("a", 4), 5, 0)


def fold_dataset(samples: list[Sample]) -> Dataset:
    classes = tuple(sorted({item.label for item in samples}))
    return Dataset(Path(), classes, ()).with_samples(samples)


def fold_photos(label: str, count: int, split: Split | None = None, group: str | None = None) -> list[Sample]:
    name = f"{label}/{split or ''}{group or ''}"
    return [Sample(f"{name}{place:04}.jpg", Path(), label, split, group) for place in range(count)]


def of_both(count: int, split: Split | None = None) -> list[Sample]:
    return fold_photos("a", count, split) + fold_photos("b", count, split)


def ids(samples: object) -> set[str]:
    return {item.id for item in samples}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("others", "count"),
    [(("train",), 20), (("train", "val"), 40), ((None,), 20), (("val",), 20), (("train", None), 40)],
)
@pytest.mark.parametrize("k", [2, 5])
def test_split_is_the_test_split_of_every_fold(others: tuple[Split | None, ...], count: int, k: int) -> None:
    brought = of_both(6, "test")
    data = fold_dataset([*brought, *(item for split in others for item in of_both(10, split))])
    rounds = cross_validation_folds(data, k, SplitSpec(), 0)
    assert len(rounds) == k
    for fold in rounds:
        assert ids(fold.part("test")) == ids(brought)
        assert len(fold.part("train")) + len(fold.part("val")) == count
        assert set(fold.counts("val").values()) == {count // 2 // k}
    assert sorted(item.id for fold in rounds for item in fold.part("val")) == sorted(ids(data.samples) - ids(brought))


@pytest.mark.parametrize("parts", [(), ("train",), ("val",), ("test",), ("train", "val")])
def test_without_a_test_split_every_sample_is_tested_once(parts: tuple[Split, ...]) -> None:
    data = fold_dataset([item for split in parts or (None,) for item in of_both(12, split)])
    rounds = cross_validation_folds(data, 3, SplitSpec(), 0)
    assert sorted(item.id for fold in rounds for item in fold.part("test")) == sorted(ids(data.samples))
    assert all(fold.part("train") and fold.part("val") for fold in rounds)
    message = fold_warnings(data)
    assert bool(message) == bool(parts)
    assert all(name in message[0] for name in parts)


def test_groups_stay_in_one_fold_and_leaks_to_test_give_a_warning() -> None:
    samples = of_both(8, "train") + fold_photos("a", 4, "train", "g") + fold_photos("a", 4, "test")
    leak = [*fold_photos("b", 1, "train", "h"), *fold_photos("b", 1, "test", "h")]
    for fold in validation_folds(samples, 2, 0):
        assert len({item.split for item in (*fold.train, *fold.val) if item.group == "g"}) == 1
    assert "is the test split of every fold" in fold_warnings(fold_dataset(samples))[0]
    assert len(fold_warnings(fold_dataset(samples))) == 1
    assert "1 group of photos that show the same" in fold_warnings(fold_dataset(samples + leak))[1]


def test_impossible_folds_raise() -> None:
    with pytest.raises(UsageError, match="2 folds or more"):
        validation_folds(of_both(9), 1, 0)
    with pytest.raises(AssayError, match="6 photos in 2 groups that stay together are too few for 3 folds"):
        validation_folds(fold_photos("a", 3, "train", "g") + fold_photos("b", 3, "train", "h"), 3, 0)
