"""Train/val/test splits and cross-validation folds: stratified, reproducible, never splitting a group."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import NamedTuple

from assay.core.errors import AssayError, UsageError
from assay.core.text_layout import counted
from assay.data.dataset import SPLITS, Dataset, Sample, Split, quote_names
from assay.data.groups import group_indices, leaking_groups
from assay.data.stratified_group_split import StratifiedGroup, stratified_group_split
from assay.recipe import SplitSpec


class Fold(NamedTuple):
    """One fold of cross-validation: all samples, with their `split` set."""

    train: tuple[Sample, ...]
    val: tuple[Sample, ...]
    test: tuple[Sample, ...]


def make_folds(
    samples: Sequence[Sample], k: int, seed: int, *, val: float = 0.15, method: str = "grouped"
) -> list[Fold]:
    """Split samples into k folds; every sample is in exactly one test split.

    Args:
        samples: their own splits are ignored.
        k: number of folds, 2 or more.
        seed: breaks ties.
        val: share of the other images used for validation (early stopping, calibration), above 0 and below 1.
        method: `grouped` keeps groups whole, `random` ignores them.

    Raises:
        UsageError: k is below 2.
        AssayError: fewer groups than folds, or too few for a validation split.
    """
    ordered, parts = _assign_test_folds(samples, k, seed, method, least=3, needs=f"{k} folds and validation")
    rounds = []
    for fold in range(k):
        rest = [sample for sample, part in zip(ordered, parts, strict=True) if part != fold]
        groups = group_indices(rest, singly=method == "random")
        carved = _assign_all(rest, groups, [1 - val, val], seed * k + fold)
        rounds.append(
            Fold(
                _with_split("train", (sample for sample, part in zip(rest, carved, strict=True) if part == 0)),
                _with_split("val", (sample for sample, part in zip(rest, carved, strict=True) if part == 1)),
                _with_split("test", (sample for sample, part in zip(ordered, parts, strict=True) if part == fold)),
            )
        )
    return rounds


def validation_folds(samples: Sequence[Sample], k: int, seed: int, *, method: str = "grouped") -> list[Fold]:
    """Split all samples except the test split into k folds; each is in exactly one validation split.

    Existing splits other than test are ignored. `method` is as for `make_folds`.

    Raises:
        UsageError: k is below 2.
        AssayError: fewer groups than folds.
    """
    test = tuple(sample for sample in samples if sample.split == "test")
    known = [sample for sample in samples if sample.split != "test"]
    ordered, parts = _assign_test_folds(known, k, seed, method, least=2, needs=f"{k} folds")
    return [
        Fold(
            _with_split("train", (sample for sample, part in zip(ordered, parts, strict=True) if part != fold)),
            _with_split("val", (sample for sample, part in zip(ordered, parts, strict=True) if part == fold)),
            test,
        )
        for fold in range(k)
    ]


def has_test_split(dataset: Dataset) -> bool:
    """Whether the data has a test split and other images; it is then the test split of every fold."""
    return {"test"} < {sample.split for sample in dataset.samples}


def cross_validation_folds(dataset: Dataset, k: int, spec: SplitSpec, seed: int) -> list[Dataset]:
    """Return the data set k times, each with the splits of one fold.

    If the data has a test split, it is the test split of all folds, and every other image is a validation image once.
    Otherwise every image is a test image once, and validation images are taken from the rest in the proportion of
    `spec`.

    Raises:
        UsageError: k is below 2.
        AssayError: too few groups for the folds.
    """
    if has_test_split(dataset):
        rounds = validation_folds(dataset.samples, k, seed, method=spec.method)
    else:
        share = spec.val / (spec.train + spec.val)
        rounds = make_folds(dataset.samples, k, seed, val=share, method=spec.method)
    return [dataset.with_samples([*fold.train, *fold.val, *fold.test]) for fold in rounds]


def fold_warnings(dataset: Dataset) -> list[str]:
    """Describe what cross-validation does with existing splits; empty if there are none."""
    brought = {sample.split for sample in dataset.samples} - {None}
    if not brought:
        return []
    if not has_test_split(dataset):
        names = " and ".join(sorted(map(str, brought)))
        return [f"the existing splits ({names}) are ignored: cross-validation makes its own from all photos"]
    test = dataset.part("test")
    others = counted(len(dataset) - len(test), "photo is", "photos are")
    kept = f"the existing test split ({counted(len(test), 'photo')}) is the test split of every fold"
    rest = f"the other {others} divided into folds, by which each classifier is also selected"
    remarks = [f"{kept}; {rest}"]
    tested = {sample.id for sample in test}
    sides = [replace(sample, split="test" if sample.id in tested else "train") for sample in dataset.samples]
    if leaks := leaking_groups(sides):
        groups = counted(len(leaks), "group of photos that show the same is", "groups of photos that show the same are")
        remarks.append(f"{groups} both inside and outside that test split")
    return remarks


def too_few_message(photos: int, groups: int) -> str:
    """Return the start of an error message: too few images or groups for a split."""
    count = counted(photos, "photo")
    whole = counted(groups, "group that stays", "groups that stay")
    inside = f" in {whole} together" if groups < photos else ""
    return f"{count}{inside} {'is' if photos == 1 else 'are'} too few for"


def to_stratified_group(members: Sequence[Sample], part: int | None) -> StratifiedGroup:
    """Return samples that stay together as input of `stratified_group_split`."""
    strata = tuple((sample.label, sample.source_label or "") for sample in members)
    return StratifiedGroup(strata, min(sample.id for sample in members), part)


def _assign_test_folds(
    samples: Sequence[Sample], k: int, seed: int, method: str, *, least: int, needs: str
) -> tuple[list[Sample], list[int]]:
    """Return the samples sorted by id, and the fold that holds out each."""
    if k < 2:
        raise UsageError(f"cross-validation needs 2 folds or more, not {k}")
    ordered = sorted(samples, key=lambda sample: sample.id)
    groups = group_indices(ordered, singly=method == "random")
    if len(groups) < max(k, least):
        raise AssayError(
            f"{too_few_message(len(ordered), len(groups))} {needs}; add photos, or lower the number of folds"
        )
    return ordered, _assign_all(ordered, groups, [1 / k] * k, seed, complete_first=False)


def _with_split(split: Split, samples: Iterable[Sample]) -> tuple[Sample, ...]:
    return tuple(replace(sample, split=split) for sample in samples)


def _assign_all(
    samples: Sequence[Sample],
    groups: Sequence[Sequence[int]],
    shares: Sequence[float],
    seed: int,
    *,
    complete_first: bool = True,
) -> list[int]:
    """Return the split of every sample if no group has a split yet."""
    made = [to_stratified_group([samples[index] for index in indices], None) for indices in groups]
    parts = [0] * len(samples)
    for indices, part in zip(
        groups, stratified_group_split(made, shares, seed, complete_first=complete_first), strict=True
    ):
        for index in indices:
            parts[index] = part
    if len(set(parts)) < len(shares):
        raise AssayError(f"{too_few_message(len(samples), len(groups))} {len(shares)} splits; add photos")
    return parts


def assign_splits(dataset: Dataset, spec: SplitSpec, seed: int, like: Mapping[str, Split] | None = None) -> Dataset:
    """Assign every sample to a split.

    Existing splits are kept. With train and test only, val is taken from train in the proportion of `spec`; with
    train and val only, test stays empty; with train alone, everything is divided. Samples without a split among others
    with one go to train and val if the others have a test split, otherwise to all splits.

    Args:
        dataset: labelled samples, with or without splits and groups.
        spec: shares and method.
        seed: breaks ties. The result depends on it, on ids and groups, not on the order of files.
        like: splits of an earlier run by id; these images keep them, new members of their groups get the same, and
            only other new images are divided.

    Returns:
        The data set with a split for every sample, and `warnings` for anything unexpected.

    Raises:
        AssayError: fewer groups than splits, or the data has splits but no training images.
    """
    samples = dataset.samples
    brought = {sample.split for sample in samples}
    if brought and not brought & {"train", None}:
        parts = " and ".join(str(part) for part in SPLITS if part in brought)
        raise AssayError(
            f"{dataset.root} has no training split, only {parts}; add training photos (folder or split train)"
        )
    plan = _plan_split(samples, spec, like or {})
    singly = spec.method == "random"
    moved = _assign(samples, plan, seed, singly=singly, by_hash=spec.method == "hash")
    result = dataset.with_samples(replace(sample, split=split) for sample, split in zip(samples, moved, strict=True))
    return result.with_samples(result.samples, _warnings(result, plan, spec))


class _SplitPlan(NamedTuple):
    fixed: dict[str, Split]
    """Samples with a given split, by id."""
    follow: frozenset[Split]
    """Splits of fixed samples that the rest of their group is assigned to."""
    shares: dict[Split, float]
    """Shares of the splits that take samples, relative to all samples but those fixed in another split."""
    remarks: tuple[str, ...]


def _plan_split(samples: Sequence[Sample], spec: SplitSpec, like: Mapping[str, Split]) -> _SplitPlan:
    brought: dict[str, Split] = {sample.id: sample.split for sample in samples if sample.split}
    parts = set(brought.values())
    old = {sample.id: like[sample.id] for sample in samples if sample.id in like}
    if len(brought) < len(samples):
        takers = SPLITS if "test" not in parts else SPLITS[:2]
        count = counted(len(samples) - len(brought), "photo without a split was", "photos without a split were")
        remark = f"{count} divided among {', '.join(takers[:-1])} and {takers[-1]}"
        return _SplitPlan(old | brought, frozenset(SPLITS), _shares(spec, takers), (remark,) if brought else ())
    if parts == {"train"}:
        remark = "the data has a train split only, so all photos were split anew"
        return _SplitPlan(old, frozenset(SPLITS), _shares(spec, SPLITS), (remark,))
    if "val" not in parts:
        # Training images of the data may have become validation in the earlier run; a test split is unchanged.
        fixed: dict[str, Split] = {name: split for name, split in old.items() if split != "test"}
        fixed |= {name: split for name, split in brought.items() if split == "test"}
        remark = "the data has train and test but no val, so val was taken from train"
        return _SplitPlan(fixed, frozenset({"train", "val"}), _shares(spec, ("train", "val")), (remark,))
    remark = "the data has no test split, so the metrics are those of validation"
    return _SplitPlan(brought, frozenset(), _shares(spec, ("train", "val")), () if "test" in parts else (remark,))


def _shares(spec: SplitSpec, takers: Sequence[Split]) -> dict[Split, float]:
    every: dict[Split, float] = {"train": spec.train, "val": spec.val, "test": spec.test}
    total = sum(every[name] for name in takers)
    return {name: every[name] / total for name in takers if every[name]}


def hash_part(key: str, shares: Sequence[float], seed: int) -> int:
    """Return the part of a group by the hash of its name, without knowing other groups.

    Args:
        key: name of the group: the smallest id of its photos.
        shares: of each part, with sum 1.
        seed: another seed gives other parts.
    """
    digest = hashlib.sha256(f"{seed}\0{key}".encode()).digest()
    place = int.from_bytes(digest[:8]) / 2**64
    reached = accumulate(shares)
    return next((part for part, end in enumerate(reached) if place < end), len(shares) - 1)


def _assign(samples: Sequence[Sample], plan: _SplitPlan, seed: int, *, singly: bool, by_hash: bool) -> list[Split]:
    names = list(plan.shares)
    result: dict[str, Split] = dict(plan.fixed)
    groups: list[StratifiedGroup] = []
    members: list[list[Sample]] = []
    for indices in group_indices(samples, singly=singly):
        group = [samples[index] for index in indices]
        settled = [plan.fixed[sample.id] for sample in group if plan.fixed.get(sample.id) in plan.follow]
        if settled:
            # New members of an old group follow it; of a group that is in several splits already, the larger split.
            side = max(SPLITS, key=settled.count)
            result |= {sample.id: side for sample in group if sample.id not in plan.fixed}
        for taken in dict.fromkeys(result.get(sample.id) for sample in group):
            chosen = [sample for sample in group if result.get(sample.id) == taken]
            if taken is None or taken in plan.shares:
                groups.append(to_stratified_group(chosen, None if taken is None else names.index(taken)))
                members.append(chosen)
    if any(group.part is None for group in groups):
        shares = list(plan.shares.values())
        if by_hash:
            parts = [hash_part(group.key, shares, seed) if group.part is None else group.part for group in groups]
        else:
            parts = stratified_group_split(groups, shares, seed)
        if missing := [name for part, name in enumerate(names) if part not in parts]:
            few = too_few_message(sum(len(group.strata) for group in groups), len(groups))
            raise AssayError(f"{few} {quote_names(names)}: none is left for {quote_names(missing)}; add photos")
        for group_members, part in zip(members, parts, strict=True):
            result |= {sample.id: names[part] for sample in group_members}
    return [result[sample.id] for sample in samples]


def missing_classes_warning(split: Split, classes: Sequence[str]) -> str:
    """Return the warning that an existing split has no images of some classes."""
    return f"the existing split {split} has no photo of {quote_names(classes)}"


def _warnings(result: Dataset, plan: _SplitPlan, spec: SplitSpec) -> list[str]:
    remarks = list(plan.remarks)
    seen = Counter((sample.split, sample.label) for sample in result.samples)
    filled = {split for split, _ in seen}
    shared_out = {sample.split for sample in result.samples if sample.id not in plan.fixed}
    for split in SPLITS:
        missing = [name for name in result.classes if split in filled and not seen[split, name]]
        if missing and split in shared_out:
            remarks.append(f"{split} has no photo of {quote_names(missing)}: too few groups for every split")
        elif missing:
            remarks.append(missing_classes_warning(split, missing))
    if unseen := [name for name in result.classes if not seen["train", name] and not seen["val", name]]:
        remarks.append(
            f"no training or validation photo is of {quote_names(unseen)}: test photos of it will be misclassified"
        )
    if leaks := leaking_groups(result.samples):
        because = "groups are ignored (random)" if spec.method == "random" else "they were there already"
        groups = counted(len(leaks), "group of photos is", "groups of photos are")
        remarks.append(f"{groups} in more than one split, since {because}")
    return remarks
