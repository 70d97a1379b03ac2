"""Groups of images that must stay in one split: patients, modules, bursts, near-duplicates."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from assay.data.dataset import Dataset, Sample


def group_indices(samples: Sequence[Sample], *, singly: bool = False) -> list[list[int]]:
    """Return the indices of every group in ascending order; samples without a group are their own.

    Group names do not affect the result. With `singly`, every sample is its own group.
    """
    together: dict[tuple[str, bool], list[int]] = defaultdict(list)
    for index, sample in enumerate(samples):
        grouped = sample.group is not None and not singly
        together[str(sample.group) if grouped else sample.id, grouped].append(index)
    return list(together.values())


def merge_groups(dataset: Dataset, alike: Iterable[Collection[str]]) -> Dataset:
    """Merge sets of similar images with the existing groups of a data set; groups are transitive.

    `alike` contains sets of ids; unknown ids are ignored. A merged group gets the alphabetically first group name of
    its members, or `like` and its first id.
    """
    samples = dataset.samples
    place = {sample.id: index for index, sample in enumerate(samples)}
    linked = [*group_indices(samples), *([place[name] for name in ids if name in place] for ids in alike)]
    names: dict[int, str] = {}
    for members in connected_groups((indices[0], other) for indices in linked for other in indices[1:]):
        given = {group for index in members if (group := samples[index].group) is not None}
        name = min(given) if given else f"like {min(samples[index].id for index in members)}"
        names |= dict.fromkeys(members, name)
    return dataset.with_samples(
        replace(sample, group=names.get(index, sample.group)) for index, sample in enumerate(samples)
    )


def connected_groups(pairs: Iterable[tuple[int, int]]) -> list[tuple[int, ...]]:
    """Return the connected components of an undirected graph (union-find), without isolated vertices.

    Each component is in ascending order, the largest comes first. scipy's `connected_components` is not used
    because the base installation, which runs `assay check`, has no scipy.
    """
    parent: dict[int, int] = {}

    def root(index: int) -> int:
        parent.setdefault(index, index)
        while parent[index] != index:
            parent[index] = index = parent[parent[index]]
        return index

    for first, second in pairs:
        low, high = sorted((root(first), root(second)))
        parent[high] = low
    members: dict[int, list[int]] = defaultdict(list)
    for index in sorted(parent):
        members[root(index)].append(index)
    return sorted((tuple(group) for group in members.values()), key=lambda group: (-len(group), group))


def count_groups(samples: Sequence[Sample]) -> int:
    """Return the number of groups of two or more images."""
    return sum(len(indices) > 1 for indices in group_indices(samples))


def leaking_groups(samples: Sequence[Sample]) -> dict[str, tuple[Sample, ...]]:
    """Return the groups with members in more than one split, by name."""
    found: dict[str, tuple[Sample, ...]] = {}
    for indices in group_indices(samples):
        members = tuple(samples[index] for index in indices)
        if len({sample.split for sample in members if sample.split}) > 1:
            found[str(members[0].group)] = members
    return found
