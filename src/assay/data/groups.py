"""Groups of images that must stay in one split: patients, modules, bursts, near-duplicates."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from assay.data.dataset import Dataset, Sample


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


def merge_groups(dataset: Dataset, alike: Iterable[Collection[str]]) -> Dataset:
    """Merge sets of similar images with the groups that the data define; groups are transitive.

    A merged group takes the alphabetically first of its members' group names, or `like` and the first of its
    ids.

    Args:
        dataset: its groups are kept and may grow together.
        alike: sets of ids; ids that are not in the data set are ignored.
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
    """Return the connected components of an undirected graph (union-find).

    Not scipy's `connected_components`: the plain installation, which `assay check` runs on, has no scipy.

    Args:
        pairs: edges between indices.

    Returns:
        Components of two or more indices in ascending order, largest component first.
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
    """Return the number of groups of two or more photos."""
    return sum(len(indices) > 1 for indices in group_indices(samples))


def leaking_groups(samples: Sequence[Sample]) -> dict[str, tuple[Sample, ...]]:
    """Return the groups with members in more than one part, by name: what leaks between training and test."""
    found: dict[str, tuple[Sample, ...]] = {}
    for indices in group_indices(samples):
        members = tuple(samples[index] for index in indices)
        if len({sample.split for sample in members if sample.split}) > 1:
            found[str(members[0].group)] = members
    return found
