"""Images of groups are not independent."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.evaluation.clusters import cluster_numbers, group_design_effect, standard_error


@pytest.mark.parametrize(
    ("groups", "effect"),
    [([], 1), ([None] * 5, 1), (["a", "b", "c"], 1), (["a"] * 6, 6), (["a"] * 3 + [None] * 3, 2), ([1, 1, 2, 2], 2)],
)
def test_design_effect_is_the_mean_size_of_an_images_group(groups: list[object], effect: float):
    assert group_design_effect(groups) == pytest.approx(effect)


@given(st.lists(st.sampled_from([None, "a", "b", 3])))
def test_images_without_a_group_are_clusters_of_their_own(groups: list[str | int | None]):
    numbers = cluster_numbers(groups)
    named = {group for group in groups if group is not None}
    assert len(set(numbers.tolist())) == len(named) + groups.count(None)
    assert all(len(set(numbers[[other == group for other in groups]].tolist())) == 1 for group in named)


def test_copies_of_images_do_not_lower_the_standard_error():
    values = np.random.default_rng(0).normal(size=50)
    alone = standard_error(values, np.ones(50), np.arange(50))
    assert alone == pytest.approx(values.std(ddof=1) / np.sqrt(50))
    copied = standard_error(np.repeat(values, 8), np.ones(400), np.repeat(np.arange(50), 8))
    assert copied == pytest.approx(alone)
