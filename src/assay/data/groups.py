"""Photos that must stay together: which, and whether they did.

Knows nothing of why photos belong together: a patient, a module, a burst or copies of one photo.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from assay.data.samples import Dataset, Sample


def group_indices(samples: Sequence[Sample], *, singly: bool = False) -> list[list[int]]:
    """Return the indices of every group in ascending order, a sample without a group on its own.

    The result depends on which samples belong together, not on what the groups are called.

    Args:
        samples: in any order.
        singly: take every sample for a group of its own.
    """
    together: dict[tuple[str, bool], list[int]] = defaultdict(list)
    for index, sample in enumerate(samples):
        grouped = sample.group is not None and not singly
        together[str(sample.group) if grouped else sample.id, grouped].append(index)
    return list(together.values())


def join_groups(dataset: Dataset, alike: Iterable[Collection[str]]) -> Dataset:
    """Join photos found to be alike with the groups the data brings: what is linked in any way is one group.

    A joined group takes the first of its members' group names, or `like` and the first of its ids.

    Args:
        dataset: its groups are kept and may grow together.
        alike: sets of ids; ids that are not in the data set are ignored.
    """
    place = {sample.id: index for index, sample in enumerate(dataset.samples)}
    parent = list(range(len(dataset)))
    links = [indices for indices in group_indices(dataset.samples) if len(indices) > 1]
    links += [[place[one] for one in ids if one in place] for ids in alike]
    for indices in links:
        for index in indices[1:]:
            first, second = sorted((_root(parent, indices[0]), _root(parent, index)))
            parent[second] = first
    members: dict[int, list[Sample]] = defaultdict(list)
    for index, sample in enumerate(dataset.samples):
        members[_root(parent, index)].append(sample)
    return dataset.with_samples(
        replace(sample, group=_name(group)) for group in members.values() for sample in group
    )


def kept_together(samples: Sequence[Sample]) -> int:
    """Return the number of groups of two or more photos."""
    return sum(len(indices) > 1 for indices in group_indices(samples))


def straddling(samples: Sequence[Sample]) -> dict[str, tuple[Sample, ...]]:
    """Return the groups with members in more than one part, by name: what leaks between training and test."""
    found: dict[str, tuple[Sample, ...]] = {}
    for indices in group_indices(samples):
        members = tuple(samples[index] for index in indices)
        if len({sample.split for sample in members if sample.split}) > 1:
            found[str(members[0].group)] = members
    return found


def _name(group: Sequence[Sample]) -> str | None:
    names = sorted({sample.group for sample in group if sample.group is not None})
    if names:
        return names[0]
    return f"like {min(sample.id for sample in group)}" if len(group) > 1 else None


def _root(parent: list[int], index: int) -> int:
    while parent[index] != index:
        # Halving the path keeps later walks short.
        parent[index] = parent[parent[index]]
        index = parent[index]
    return index
