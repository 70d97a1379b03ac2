"""Assign groups of labelled items to parts of given shares, stratified by label; deterministic."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Stratum = tuple[str, str]
"""A label and a finer label within it."""


@dataclass(frozen=True)
class StratifiedGroup:
    """Items that stay together."""

    strata: tuple[Stratum, ...]
    """One per member."""
    key: str
    """Stable name of the group; with the seed it determines the order of assignment."""
    part: int | None = None
    """The part it already has and keeps."""


def stratified_group_split(
    groups: Sequence[StratifiedGroup], shares: Sequence[float], seed: int, *, complete_first: bool = True
) -> list[int]:
    """Choose a part for every group; returns the index of each group's part.

    Large groups come first, each to the part that lacks most of its strata, labels and items. Single items then fill
    the gaps, so that without larger groups every stratum is within one of its exact share and rounding errors do not
    accumulate over small strata. Finally, a part that lacks a label takes a group from one that has several.

    Args:
        groups: in any order; the result does not depend on it.
        shares: of each part, above 0, with sum 1.
        seed: breaks ties, together with the groups' keys; the same on every machine.
        complete_first: the first part must have every label, even if another part stays empty; otherwise all parts
            are equal, and none is empty if there is a group for each.
    """
    turns = sorted(range(len(groups)), key=lambda index: _shuffle_key(groups[index].key, seed))
    table = _Deficits.of(groups, np.asarray(shares, dtype=float))
    chosen = {index: part for index in turns if (part := groups[index].part) is not None}
    free = [index for index in turns if groups[index].part is None]
    larger = [index for index in free if len(groups[index].strata) > 1]
    for index in sorted(larger, key=lambda index: -len(groups[index].strata)):
        chosen[index] = int(np.argmax(table.lack(groups[index])))
        table.add(groups[index], chosen[index])
    chosen |= _assign_singles([index for index in free if len(groups[index].strata) == 1], groups, table)
    _cover_labels(chosen, free, groups, len(shares), complete_first=complete_first)
    return [chosen[index] for index in range(len(groups))]


@dataclass
class _Deficits:
    """What each part still lacks of every stratum, every label and in total."""

    total: np.ndarray
    labels: dict[str, np.ndarray]
    strata: dict[Stratum, np.ndarray]
    count: int
    label_counts: Counter[str]
    stratum_counts: Counter[Stratum]

    @classmethod
    def of(cls, groups: Sequence[StratifiedGroup], shares: np.ndarray) -> "_Deficits":
        strata = Counter(stratum for group in groups for stratum in group.strata)
        labels = Counter(label for group in groups for label, _ in group.strata)
        table = cls(
            total=shares * strata.total(),
            labels={label: shares * count for label, count in labels.items()},
            strata={stratum: shares * count for stratum, count in strata.items()},
            count=strata.total(),
            label_counts=labels,
            stratum_counts=strata,
        )
        for group in groups:
            if group.part is not None:
                table.add(group, group.part)
        return table

    def add(self, group: StratifiedGroup, part: int) -> None:
        for stratum in group.strata:
            self.total[part] -= 1
            self.labels[stratum[0]][part] -= 1
            self.strata[stratum][part] -= 1

    def lack(self, group: StratifiedGroup) -> np.ndarray:
        """Return what every part lacks of a group's items, as shares; float [parts]."""
        gain = len(group.strata) * self.total / self.count
        for stratum, count in Counter(group.strata).items():
            gain = gain + count * self.strata[stratum] / self.stratum_counts[stratum]
            gain = gain + count * self.labels[stratum[0]] / self.label_counts[stratum[0]]
        # Ties must be ties on every machine, independent of rounding.
        return np.asarray(np.round(gain, 9))


def _assign_singles(indices: Sequence[int], groups: Sequence[StratifiedGroup], table: _Deficits) -> dict[int, int]:
    """Assign single items: whole numbers per stratum, remainders such that they even out over strata."""
    by_stratum: dict[Stratum, list[int]] = defaultdict(list)
    for index in indices:
        by_stratum[groups[index].strata[0]].append(index)
    chosen: dict[int, int] = {}
    owed = np.zeros(len(table.total))
    owed_label: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(len(table.total)))
    for stratum in sorted(by_stratum):
        members = by_stratum[stratum]
        exact = _fill_levels(table.strata[stratum], len(members))
        counts = _round_preserving_sum(exact, owed + owed_label[stratum[0]])
        owed += exact - counts
        owed_label[stratum[0]] += exact - counts
        parts = np.repeat(np.arange(len(counts)), counts)
        chosen |= {index: int(part) for index, part in zip(members, parts, strict=True)}
    return chosen


def _round_preserving_sum(exact: np.ndarray, owed: np.ndarray) -> np.ndarray:
    """Round every number up or down, preserving the integer sum; up where most is owed."""
    counts = np.floor(exact + 1e-9).astype(np.int64)
    rest = exact - counts
    missing = round(float(rest.sum()))
    claim = np.where(rest > 1e-9, np.round(rest + owed, 9), -np.inf)
    counts[np.argsort(-claim, kind="stable")[:missing]] += 1
    return counts


def _fill_levels(lack: np.ndarray, amount: int) -> np.ndarray:
    """Distribute `amount` over parts that lack `lack` so that the remaining lack is as even as possible."""
    poured = np.zeros_like(lack)
    open_parts = np.ones(len(lack), dtype=bool)
    while True:
        level = (lack[open_parts].sum() - amount) / open_parts.sum()
        below = open_parts & (lack < level - 1e-12)
        if not below.any():
            poured[open_parts] = lack[open_parts] - level
            return poured
        open_parts &= ~below


def _cover_labels(
    chosen: dict[int, int], free: Sequence[int], groups: Sequence[StratifiedGroup], parts: int, *, complete_first: bool
) -> None:
    """Move groups until every part (or the first, if `complete_first`) has every label with enough groups."""
    holders: dict[str | None, list[set[int]]] = defaultdict(lambda: [set() for _ in range(parts)])
    for index, part in chosen.items():
        for label in _label_kinds(groups[index]):
            holders[label][part].add(index)
    movable = set(free)
    for label in sorted(holders, key=lambda label: (label is None, label or "")):
        enough = sum(len(held) for held in holders[label]) >= parts
        for part in range(parts if enough else int(complete_first)):
            if holders[label][part]:
                continue
            candidates = [index for held in holders[label] for index in held if index in movable]
            giver = _best_donor(candidates, chosen, groups, holders)
            if giver is None and (part == 0 if complete_first else label is None):
                # A class without training data is worse than one without test data, or than an empty part.
                giver = _fallback_donor(label, candidates, chosen, groups, holders)
            if giver is not None:
                _move(giver, part, chosen, groups, holders)


def _label_kinds(group: StratifiedGroup) -> set[str | None]:
    # None stands for any label: no part may be empty either.
    return {None, *(label for label, _ in group.strata)}


def _best_donor(
    candidates: Sequence[int],
    chosen: Mapping[int, int],
    groups: Sequence[StratifiedGroup],
    holders: Mapping[str | None, list[set[int]]],
) -> int | None:
    """Return the best candidate that its part can spare: single-label, small, from a part with many."""

    def spare(index: int) -> bool:
        return all(len(holders[kind][chosen[index]]) > 1 for kind in _label_kinds(groups[index]))

    def rank(index: int) -> tuple[int, int, int, str]:
        group = groups[index]
        plenty = min(len(holders[kind][chosen[index]]) for kind in _label_kinds(group))
        return len(_label_kinds(group)), len(group.strata), -plenty, group.key

    return min(filter(spare, candidates), key=rank, default=None)


def _fallback_donor(
    label: str | None,
    candidates: Sequence[int],
    chosen: Mapping[int, int],
    groups: Sequence[StratifiedGroup],
    holders: Mapping[str | None, list[set[int]]],
) -> int | None:
    """Return a group with only this label (any label if a part is empty) from the part with most."""
    fit = [
        index
        for index in candidates
        if (label is None and len(holders[None][chosen[index]]) > 1) or _label_kinds(groups[index]) == {None, label}
    ]

    def rank(index: int) -> tuple[int, str]:
        return -len(holders[label][chosen[index]]), groups[index].key

    return min(fit, key=rank, default=None)


def _move(
    index: int,
    part: int,
    chosen: dict[int, int],
    groups: Sequence[StratifiedGroup],
    holders: Mapping[str | None, list[set[int]]],
) -> None:
    for kind in _label_kinds(groups[index]):
        holders[kind][chosen[index]].discard(index)
        holders[kind][part].add(index)
    chosen[index] = part


def _shuffle_key(key: str, seed: int) -> tuple[bytes, str]:
    # A hash instead of a random generator is stable: one more photo does not change the order of the others.
    return hashlib.sha256(f"{seed}:{key}".encode()).digest(), key
