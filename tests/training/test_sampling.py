"""Sampling order and batches."""

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from assay.training.sampling import BatchSampler, EpochSampler, SequentialSampler, sample_balanced

TARGETS = np.array([0] * 30 + [1] * 7 + [2] * 3)

targets_of = st.lists(st.integers(0, 4), min_size=1, max_size=60).map(np.array)


@given(targets=targets_of, seed=st.integers(0, 2**32 - 1), epoch=st.integers(0, 9))
def test_order_contains_every_image_once(targets: npt.NDArray[np.int64], seed: int, epoch: int):
    order = EpochSampler(targets, seed, first_epoch=epoch)
    assert sorted(index for index, _ in order) == list(range(len(targets)))


def test_order_depends_on_epoch_and_seed():
    order = EpochSampler(TARGETS, 1)
    first = list(order)
    order.set_epoch(1)
    assert list(order) != first
    assert list(EpochSampler(TARGETS, 1)) == first
    assert list(EpochSampler(TARGETS, 2)) != first


def test_resumed_order_equals_the_uninterrupted_one():
    straight, resumed = EpochSampler(TARGETS, 1), EpochSampler(TARGETS, 1, first_epoch=3)
    straight.set_epoch(4)
    resumed.set_epoch(1)
    assert list(resumed) == list(straight)


@given(targets=targets_of, seed=st.integers(0, 2**32 - 1))
def test_balanced_sampling_is_uniform_over_classes_and_images(targets: npt.NDArray[np.int64], seed: int):
    drawn = sample_balanced(targets, np.random.default_rng(seed))
    assert len(drawn) == len(targets)
    by_class = np.bincount(targets[drawn], minlength=5)[np.unique(targets)]
    assert by_class.max() - by_class.min() <= 1
    times = np.bincount(drawn, minlength=len(targets))
    for label in np.unique(targets):
        assert np.ptp(times[targets == label]) <= 1


def test_image_drawn_twice_gets_two_seeds():
    keys = list(EpochSampler(TARGETS, 0, balanced=True))
    assert len({index for index, _ in keys}) < len(keys)
    assert len({seed for _, seed in keys}) == len(keys)


@given(count=st.integers(1, 50), size=st.integers(1, 12))
def test_batches_partition_the_order_without_batches_of_one(count: int, size: int):
    batches = BatchSampler(SequentialSampler(count), size, merge_single=True)
    found = list(batches)
    assert len(found) == len(batches)
    assert [index for batch in found for index, _ in batch] == list(range(count))
    assert all(len(batch) == size for batch in found[:-1])
    if size > 1 and count > 1:
        assert len(found[-1]) > 1


def test_validation_batches_can_have_one_image():
    assert [len(batch) for batch in BatchSampler(SequentialSampler(9), 4)] == [4, 4, 1]
