import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from assay.training.sampling import BatchSampler, EpochSampler, SequentialSampler, sample_balanced

TARGETS = np.array([0] * 30 + [1] * 7 + [2] * 3)

targets_of = st.lists(st.integers(0, 4), min_size=1, max_size=60).map(np.array)


@given(targets=targets_of, seed=st.integers(0, 2**32 - 1), epoch=st.integers(0, 9))
def test_an_order_shows_every_photo_once(targets: npt.NDArray[np.int64], seed: int, epoch: int):
    order = EpochSampler(targets, seed, first_epoch=epoch)
    assert sorted(index for index, _ in order) == list(range(len(targets)))


def test_orders_differ_by_epoch_and_repeat_by_seed():
    order = EpochSampler(TARGETS, 1)
    first = list(order)
    order.set_epoch(1)
    assert list(order) != first
    assert list(EpochSampler(TARGETS, 1)) == first
    assert list(EpochSampler(TARGETS, 2)) != first


def test_a_resumed_order_goes_on_where_the_straight_one_is():
    straight, resumed = EpochSampler(TARGETS, 1), EpochSampler(TARGETS, 1, first_epoch=3)
    straight.set_epoch(4)
    resumed.set_epoch(1)
    assert list(resumed) == list(straight)


@given(targets=targets_of, seed=st.integers(0, 2**32 - 1))
def test_a_balanced_draw_has_equal_classes_and_equal_photos_in_each(targets: npt.NDArray[np.int64], seed: int):
    drawn = sample_balanced(targets, np.random.default_rng(seed))
    assert len(drawn) == len(targets)
    by_class = np.bincount(targets[drawn], minlength=5)[np.unique(targets)]
    assert by_class.max() - by_class.min() <= 1
    times = np.bincount(drawn, minlength=len(targets))
    for label in np.unique(targets):
        assert np.ptp(times[targets == label]) <= 1


def test_a_photo_drawn_twice_gets_two_seeds():
    keys = list(EpochSampler(TARGETS, 0, balanced=True))
    assert len({index for index, _ in keys}) < len(keys)
    assert len({seed for _, seed in keys}) == len(keys)


@given(count=st.integers(1, 50), size=st.integers(1, 12))
def test_batches_cut_the_order_and_leave_no_photo_alone(count: int, size: int):
    batches = BatchSampler(SequentialSampler(count), size, merge_single=True)
    found = list(batches)
    assert len(found) == len(batches)
    assert [index for batch in found for index, _ in batch] == list(range(count))
    assert all(len(batch) == size for batch in found[:-1])
    if size > 1 and count > 1:
        assert len(found[-1]) > 1


def test_validation_batches_may_hold_one_photo():
    assert [len(batch) for batch in BatchSampler(SequentialSampler(9), 4)] == [4, 4, 1]
