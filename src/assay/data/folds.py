"""Folds of cross-validation: groups whole, classes in proportion, the same for the same seed.

A test part that the data brings stays the test of every fold; all other parts are ignored.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from assay.data.apportion import Group, apportion
from assay.data.groups import group_indices, straddling
from assay.data.samples import Dataset, Sample, Split
from assay.errors import AssayError, UsageError
from assay.recipe import SplitSpec


class Fold(NamedTuple):
    """One round of cross-validation: every sample in exactly one part, with its `split` set."""

    train: tuple[Sample, ...]
    val: tuple[Sample, ...]
    test: tuple[Sample, ...]


def folds(
    samples: Sequence[Sample], k: int, seed: int, *, val: float = 0.15, method: str = "grouped"
) -> list[Fold]:
    """Share samples out to k rounds; every sample is tested in exactly one of them.

    Args:
        samples: their own splits are ignored.
        k: number of rounds, 2 or more.
        seed: decides between equals.
        val: share of the photos not tested that chooses (early stopping, calibration), above 0 and below 1.
        method: `grouped` keeps groups whole, `random` ignores them.

    Raises:
        UsageError: k is below 2.
        AssayError: fewer groups than folds, or too few to carve val.
    """
    ordered, parts = _held_out(samples, k, seed, method, least=3, needs=f"{k} folds and validation")
    rounds = []
    for fold in range(k):
        rest = [sample for sample, part in zip(ordered, parts, strict=True) if part != fold]
        groups = group_indices(rest, singly=method == "random")
        carved = _spread(rest, groups, [1 - val, val], seed * k + fold)
        rounds.append(
            Fold(
                _as("train", (sample for sample, part in zip(rest, carved, strict=True) if part == 0)),
                _as("val", (sample for sample, part in zip(rest, carved, strict=True) if part == 1)),
                _as("test", (sample for sample, part in zip(ordered, parts, strict=True) if part == fold)),
            )
        )
    return rounds


def validation_folds(samples: Sequence[Sample], k: int, seed: int, *, method: str = "grouped") -> list[Fold]:
    """Share all samples but those of the test part out to k rounds; each validates in exactly one of them.

    Args:
        samples: those with the split `test` are the test of every round; other splits are ignored.
        k: number of rounds, 2 or more.
        seed: decides between equals.
        method: `grouped` keeps groups whole, `random` ignores them.

    Raises:
        UsageError: k is below 2.
        AssayError: fewer groups than folds.
    """
    test = tuple(sample for sample in samples if sample.split == "test")
    known = [sample for sample in samples if sample.split != "test"]
    ordered, parts = _held_out(known, k, seed, method, least=2, needs=f"{k} folds")
    return [
        Fold(
            _as("train", (sample for sample, part in zip(ordered, parts, strict=True) if part != fold)),
            _as("val", (sample for sample, part in zip(ordered, parts, strict=True) if part == fold)),
            test,
        )
        for fold in range(k)
    ]


def has_own_test(dataset: Dataset) -> bool:
    """Whether the data brings a test part, and other photos besides: it then stays the test of every fold."""
    return {"test"} < {sample.split for sample in dataset.samples}


def cross_validation_folds(dataset: Dataset, k: int, spec: SplitSpec, seed: int) -> list[Dataset]:
    """Return the data set k times, each time with the parts of one fold.

    Data with a test part of its own: k-fold cross-validation of all other photos. Every photo of theirs is a
    validation photo once, and the test is the same in all folds. Other data: every photo is a test photo
    once, and validation photos are taken from the rest in the proportion of `spec`.

    Args:
        dataset: labelled samples with their groups; of its own parts only the test is kept.
        k: number of folds, 2 or more.
        spec: method, and the share of validation.
        seed: decides between equals.

    Raises:
        UsageError: k is below 2.
        AssayError: too few groups for the folds.
    """
    if has_own_test(dataset):
        rounds = validation_folds(dataset.samples, k, seed, method=spec.method)
    else:
        share = spec.val / (spec.train + spec.val)
        rounds = folds(dataset.samples, k, seed, val=share, method=spec.method)
    return [dataset.with_samples([*fold.train, *fold.val, *fold.test]) for fold in rounds]


def fold_remarks(dataset: Dataset) -> list[str]:
    """Say what cross-validation does with the parts that the data brings; nothing if it brings none."""
    brought = {sample.split for sample in dataset.samples} - {None}
    if not brought:
        return []
    if not has_own_test(dataset):
        names = " and ".join(sorted(map(str, brought)))
        return [f"the data's own parts ({names}) are ignored: cross-validation makes its own of all photos"]
    test = dataset.part("test")
    kept = f"the data's own test part ({len(test)} photos) stays the test of every fold"
    rest = f"the other {len(dataset) - len(test)} photos make the folds, which also select the best epoch"
    remarks = [f"{kept}; {rest}"]
    tested = {sample.id for sample in test}
    sides = [replace(sample, split="test" if sample.id in tested else "train") for sample in dataset.samples]
    if leaks := straddling(sides):
        groups = "1 group" if len(leaks) == 1 else f"{len(leaks)} groups"
        remarks.append(f"{groups} of photos that show the same are both in that test part and outside it")
    return remarks


def too_few(photos: int, groups: int) -> str:
    """Begin the sentence that says that photos cannot be shared out."""
    told = "1 photo" if photos == 1 else f"{photos} photos"
    whole = "1 group that stays" if groups == 1 else f"{groups} groups that stay"
    inside = f" in {whole} together" if groups < photos else ""
    return f"{told}{inside} {'is' if photos == 1 else 'are'} too few for"


def group_of(members: Sequence[Sample], part: int | None) -> Group:
    """Return samples that stay together as `apportion` takes them."""
    strata = tuple((sample.label, sample.source_label or "") for sample in members)
    return Group(strata, min(sample.id for sample in members), part)


def _held_out(
    samples: Sequence[Sample], k: int, seed: int, method: str, *, least: int, needs: str
) -> tuple[list[Sample], list[int]]:
    """Return the samples by id, and for each the fold that holds it out."""
    if k < 2:
        raise UsageError(f"cross-validation needs 2 folds or more, not {k}")
    ordered = sorted(samples, key=lambda sample: sample.id)
    groups = group_indices(ordered, singly=method == "random")
    if len(groups) < max(k, least):
        raise AssayError(
            f"{too_few(len(ordered), len(groups))} {needs}; add photos, or lower the number of folds"
        )
    return ordered, _spread(ordered, groups, [1 / k] * k, seed, first_teaches=False)


def _as(split: Split, samples: Iterable[Sample]) -> tuple[Sample, ...]:
    return tuple(replace(sample, split=split) for sample in samples)


def _spread(
    samples: Sequence[Sample],
    groups: Sequence[Sequence[int]],
    shares: Sequence[float],
    seed: int,
    *,
    first_teaches: bool = True,
) -> list[int]:
    """Return the part of every sample when all groups are free."""
    made = [group_of([samples[index] for index in indices], None) for indices in groups]
    parts = [0] * len(samples)
    for indices, part in zip(groups, apportion(made, shares, seed, first_teaches=first_teaches), strict=True):
        for index in indices:
            parts[index] = part
    if len(set(parts)) < len(shares):
        raise AssayError(f"{too_few(len(samples), len(groups))} {len(shares)} parts; add photos")
    return parts
