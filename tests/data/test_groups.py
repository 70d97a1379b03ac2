"""Groups of samples that stay together."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from assay.data.dataset import Dataset, Sample, Split
from assay.data.groups import count_groups, group_indices, leaking_groups, merge_groups


def dataset(*groups: str | None) -> Dataset:
    samples = tuple(Sample(f"{place}", Path(), "a", group=group) for place, group in enumerate(groups))
    return Dataset(Path(), ("a",), samples)


def test_groups_by_name_and_single_samples() -> None:
    samples = dataset("g", None, "g", None, "1").samples
    assert group_indices(samples) == [[0, 2], [1], [3], [4]]
    assert group_indices(samples, singly=True) == [[0], [1], [2], [3], [4]]
    assert count_groups(samples) == 1


def test_links_merge_groups() -> None:
    joined = merge_groups(dataset("g", "g", "h", None, None, None), [{"1", "2"}, {"3", "4"}, {"5"}, {"9", "0"}])
    assert [item.group for item in joined.samples] == ["g", "g", "g", "like 3", "like 3", None]
    assert merge_groups(joined, []).samples == joined.samples


@given(st.lists(st.sets(st.integers(0, 15).map(str), max_size=4), max_size=10))
def test_connected_components_are_groups(alike: list[set[str]]) -> None:
    joined = {item.id: item.group or item.id for item in merge_groups(dataset(*[None] * 16), alike).samples}
    assert all(len({joined[item] for item in ids}) <= 1 for ids in alike)
    # Nothing else is: a set of links can join no more photos than it has members.
    assert len(set(joined.values())) >= 16 - sum(max(0, len(ids) - 1) for ids in alike)


def test_leaking_groups_are_named() -> None:
    splits: list[Split | None] = ["train", "test", "train", "train", None]
    samples = [
        Sample(f"{place}", Path(), "a", split, group)
        for place, (split, group) in enumerate(zip(splits, ["g", "g", "h", "h", "h"], strict=True))
    ]
    assert leaking_groups(samples) == {"g": (samples[0], samples[1])}
