"""Stratified assignment of groups to parts of given shares."""

import itertools
from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.data.stratified_group_split import StratifiedGroup, stratified_group_split

SHARES = [(0.7, 0.15, 0.15), (0.8, 0.2), (0.75, 0.25), (0.7, 0.2, 0.1), (0.2,) * 5]


def singles(labels: list[str], finer: list[str] | None = None) -> list[StratifiedGroup]:
    finer = finer or [""] * len(labels)
    return [
        StratifiedGroup(((label, fine),), f"{place}.jpg")
        for place, (label, fine) in enumerate(zip(labels, finer, strict=True))
    ]


@st.composite
def group_lists(draw: st.DrawFn) -> list[StratifiedGroup]:
    labels = draw(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=6, unique=True))
    stratum = st.tuples(st.sampled_from(labels), st.sampled_from("xyz"))
    pure = st.tuples(stratum, st.integers(1, 20)).map(lambda pair: (pair[0],) * pair[1])
    mixed = st.lists(stratum, min_size=1, max_size=8).map(tuple)
    strata = draw(st.lists(st.one_of(pure, pure, pure, mixed), min_size=3, max_size=60))
    return [StratifiedGroup(members, f"{place}.jpg") for place, members in enumerate(strata)]


@pytest.mark.parametrize(
    ("shares", "counts"),
    [
        ((0.7, 0.15, 0.15), [70, 15, 15]),
        ((0.8, 0.2), [80, 20]),
        ((0.75, 0.25), [75, 25]),
        ((0.2,) * 5, [20] * 5),
    ],
)
def test_integer_shares_are_exact_in_every_class(shares: tuple[float, ...], counts: list[int]) -> None:
    groups = singles(["a"] * 100 + ["b"] * 100)
    parts = stratified_group_split(groups, shares, seed=3)
    for label in "ab":
        seen = Counter(part for group, part in zip(groups, parts, strict=True) if group.strata[0][0] == label)
        assert [seen[part] for part in range(len(shares))] == counts


def test_rounding_errors_cancel_over_small_strata() -> None:
    groups = singles(["a"] * 300, [str(place // 3) for place in range(300)])
    seen = Counter(stratified_group_split(groups, (0.7, 0.2, 0.1), seed=0))
    assert (seen[0], seen[1], seen[2]) == (210, 60, 30)


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz")), min_size=30, max_size=200),
    st.sampled_from(SHARES),
    st.integers(0, 99),
)
@settings(max_examples=100, deadline=None)
def test_single_items_are_within_one_of_their_share(
    strata: list[tuple[str, str]], shares: tuple[float, ...], seed: int
) -> None:
    groups = [StratifiedGroup((stratum,), f"{place}.jpg") for place, stratum in enumerate(strata)]
    seen = Counter(zip(strata, stratified_group_split(groups, shares, seed), strict=True))
    for stratum, size in Counter(strata).items():
        # One more or less when a part would otherwise lack the class.
        assert all(abs(seen[stratum, part] - share * size) <= 2 for part, share in enumerate(shares))


@given(group_lists(), st.sampled_from(SHARES[:4]), st.integers(0, 99))
@settings(max_examples=150, deadline=None)
def test_label_counts_are_close_to_their_share(
    groups: list[StratifiedGroup], shares: tuple[float, ...], seed: int
) -> None:
    parts = stratified_group_split(groups, shares, seed)
    size, most, pure = Counter[str](), Counter[str](), Counter[str]()
    held: dict[str, Counter[int]] = defaultdict(Counter)
    for group, part in zip(groups, parts, strict=True):
        labels = Counter(label for label, _ in group.strata)
        for label, count in labels.items():
            size[label] += count
            most[label] = max(most[label], count)
            held[label][part] += count
        if len(labels) == 1:
            pure[next(iter(labels))] += 1
    assert set(parts) <= set(range(len(shares)))
    for label, count in pure.items():
        if count >= len(shares):
            assert set(held[label]) == set(range(len(shares)))
        if count:
            assert held[label][0] > 0
    total = sum(size.values())
    largest = max(len(group.strata) for group in groups)
    for part, share in enumerate(shares):
        whole = sum(held[label][part] for label in held)
        assert abs(whole - share * total) <= 3 * largest + 3 * len(size)


@given(group_lists(), st.integers(0, 9), st.data())
@settings(max_examples=50, deadline=None)
def test_order_of_the_groups_does_not_matter(groups: list[StratifiedGroup], seed: int, data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(groups))
    item = dict(zip((group.key for group in groups), stratified_group_split(groups, SHARES[0], seed), strict=True))
    other = dict(zip((group.key for group in shuffled), stratified_group_split(shuffled, SHARES[0], seed), strict=True))
    assert item == other


def test_seed_decides_the_result() -> None:
    groups = singles(["a"] * 50)
    first, again, second = (stratified_group_split(groups, (0.5, 0.5), seed) for seed in (1, 1, 2))
    assert first == again != second


def test_fixed_groups_stay_and_count_towards_shares() -> None:
    fixed = [StratifiedGroup((("a", ""),), f"old{place}.jpg", part=0) for place in range(60)]
    groups = fixed + singles(["a"] * 40)
    parts = stratified_group_split(groups, (0.7, 0.3), seed=0)
    assert parts[:60] == [0] * 60
    assert Counter(parts) == {0: 70, 1: 30}


def test_equal_groups_of_ten_fill_parts_in_proportion() -> None:
    groups = [StratifiedGroup((("a", ""),) * 10, f"{place}.jpg") for place in range(20)]
    assert Counter(stratified_group_split(groups, (0.7, 0.15, 0.15), seed=0)) == {0: 14, 1: 3, 2: 3}


@pytest.mark.parametrize("sizes", list(itertools.product([1, 7], [1, 2, 30], [1, 5])))
def test_three_groups_of_a_class_reach_three_parts(sizes: tuple[int, ...]) -> None:
    groups = [StratifiedGroup((("a", ""),) * size, f"{place}.jpg") for place, size in enumerate(sizes)]
    assert sorted(stratified_group_split(groups, (0.7, 0.15, 0.15), seed=0)) == [0, 1, 2]


def test_class_with_one_group_goes_to_the_first_part() -> None:
    groups = [*singles(["a"] * 30), *(StratifiedGroup(((name, ""),), f"{name}.jpg") for name in "bcdefghij")]
    assert stratified_group_split(groups, (0.4, 0.3, 0.3), seed=0)[30:] == [0] * 9
