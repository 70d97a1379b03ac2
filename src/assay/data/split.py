"""Shares photos out to train, val and test: groups whole, classes in proportion, the same for the same seed.

Splits that the data brings, and those of an earlier run, stay as they are. Knows nothing of why photos belong
to a group. `random` ignores groups; everything else is the same.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from assay.data.apportion import Group, apportion
from assay.data.folds import group_of, too_few
from assay.data.groups import group_indices, straddling
from assay.data.labels import named
from assay.data.samples import SPLITS, Dataset, Sample, Split
from assay.errors import AssayError
from assay.recipe import SplitSpec


def assign_splits(
    dataset: Dataset, spec: SplitSpec, seed: int, like: Mapping[str, Split] | None = None
) -> Dataset:
    """Give every sample a part.

    Parts that the data brings are kept. If it brings train and test only, val is carved out of train in the
    proportion of `spec`; if it brings train and val only, test stays empty; if it brings train alone, all
    is shared out. Samples without a part among others that have one go to train and val when the others
    have a test, else to all parts.

    Args:
        dataset: labelled samples, with or without splits and groups.
        spec: shares and method.
        seed: decides between equals. The result depends on it, on the ids and on the groups, never on the
            order of files.
        like: parts of an earlier run by id; these photos keep them, new members of their groups follow
            them, and only other new photos are shared out.

    Returns:
        The data set with a part for every sample, and a sentence in `warnings` for everything that is not
        as one would expect.

    Raises:
        AssayError: fewer groups than parts, or the data brings parts and no training photos.
    """
    samples = dataset.samples
    brought = {sample.split for sample in samples}
    if brought and not brought & {"train", None}:
        parts = " and ".join(str(part) for part in SPLITS if part in brought)
        raise AssayError(
            f"{dataset.root} brings only a {parts} part; add training photos (folder or split train)"
        )
    plan = _plan(samples, spec, like or {})
    singly = spec.method == "random"
    moved = _share_out(samples, plan, seed, singly=singly)
    result = dataset.with_samples(
        replace(sample, split=split) for sample, split in zip(samples, moved, strict=True)
    )
    return result.with_samples(result.samples, _remarks(result, plan, spec))


class _Plan(NamedTuple):
    fixed: dict[str, Split]
    """Samples that stay where they are, by id."""
    follow: frozenset[Split]
    """Parts of fixed samples into which the rest of their group follows them."""
    shares: dict[Split, float]
    """Of the parts that take samples; the whole is all samples but those fixed in another part."""
    remarks: tuple[str, ...]


def _plan(samples: Sequence[Sample], spec: SplitSpec, like: Mapping[str, Split]) -> _Plan:
    brought: dict[str, Split] = {sample.id: sample.split for sample in samples if sample.split}
    parts = set(brought.values())
    old = {sample.id: like[sample.id] for sample in samples if sample.id in like}
    if len(brought) < len(samples):
        takers = SPLITS if "test" not in parts else SPLITS[:2]
        return _Plan(old | brought, frozenset(SPLITS), _shares(spec, takers), ())
    if parts == {"train"}:
        remark = "the data brings train alone, so it was shared out like data without parts"
        return _Plan(old, frozenset(SPLITS), _shares(spec, SPLITS), (remark,))
    if "val" not in parts:
        # What the data calls train may have become val in the earlier run; a test stays a test.
        fixed: dict[str, Split] = {one: split for one, split in old.items() if split != "test"}
        fixed |= {one: split for one, split in brought.items() if split == "test"}
        remark = "the data brings train and test but no val, so val was carved out of train"
        return _Plan(fixed, frozenset({"train", "val"}), _shares(spec, ("train", "val")), (remark,))
    remark = "the data brings no test, so validation is all that judges"
    return _Plan(brought, frozenset(), _shares(spec, ("train", "val")), () if "test" in parts else (remark,))


def _shares(spec: SplitSpec, takers: Sequence[Split]) -> dict[Split, float]:
    every: dict[Split, float] = {"train": spec.train, "val": spec.val, "test": spec.test}
    total = sum(every[name] for name in takers)
    return {name: every[name] / total for name in takers if every[name]}


def _share_out(samples: Sequence[Sample], plan: _Plan, seed: int, *, singly: bool) -> list[Split]:
    names = list(plan.shares)
    result: dict[str, Split] = dict(plan.fixed)
    groups: list[Group] = []
    members: list[list[Sample]] = []
    for indices in group_indices(samples, singly=singly):
        group = [samples[index] for index in indices]
        settled = [plan.fixed[sample.id] for sample in group if plan.fixed.get(sample.id) in plan.follow]
        if settled:
            # New members of an old group follow it; of a group that straddles already, the larger side.
            side = max(SPLITS, key=settled.count)
            result |= {sample.id: side for sample in group if sample.id not in plan.fixed}
        for taken in dict.fromkeys(result.get(sample.id) for sample in group):
            chosen = [sample for sample in group if result.get(sample.id) == taken]
            if taken is None or taken in plan.shares:
                groups.append(group_of(chosen, None if taken is None else names.index(taken)))
                members.append(chosen)
    if any(group.part is None for group in groups):
        parts = apportion(groups, list(plan.shares.values()), seed)
        if missing := [name for part, name in enumerate(names) if part not in parts]:
            few = too_few(sum(len(group.strata) for group in groups), len(groups))
            raise AssayError(f"{few} {named(names)}: none is left for {named(missing)}; add photos")
        for group_members, part in zip(members, parts, strict=True):
            result |= {sample.id: names[part] for sample in group_members}
    return [result[sample.id] for sample in samples]


def _remarks(result: Dataset, plan: _Plan, spec: SplitSpec) -> list[str]:
    remarks = list(plan.remarks)
    seen = Counter((sample.split, sample.label) for sample in result.samples)
    filled = {split for split, _ in seen}
    shared_out = {sample.split for sample in result.samples if sample.id not in plan.fixed}
    for split in SPLITS:
        missing = [name for name in result.classes if split in filled and not seen[split, name]]
        if missing and split in shared_out:
            remarks.append(f"{split} has no photo of {named(missing)}: too few groups for every part")
        elif missing:
            # The words of `scan`, so that it is said once.
            remarks.append(f"the ready-made part {split} has no photo of {named(missing)}")
    if leaks := straddling(result.samples):
        because = "groups are ignored (random)" if spec.method == "random" else "they were there already"
        remarks.append(f"{len(leaks)} groups of photos stand in more than one part, since {because}")
    return remarks
