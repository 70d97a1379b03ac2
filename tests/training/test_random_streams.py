"""Reproducible random streams by seed, purpose and epoch."""

import itertools

import numpy as np
import pytest

from assay.training.random_streams import RandomStream, augmentation_seeds, epoch_seed, stream_generator


def test_streams_do_not_depend_on_earlier_draws():
    first = stream_generator(3, RandomStream.ORDER, 5).permutation(50)
    stream_generator(3, RandomStream.ORDER, 4).permutation(50)
    assert stream_generator(3, RandomStream.ORDER, 5).permutation(50).tolist() == first.tolist()


def test_each_seed_purpose_and_epoch_has_its_own_stream():
    places = list(itertools.product((0, 1, 2**32 - 1), RandomStream, (0, 1, 2)))
    assert len({epoch_seed(*place) for place in places}) == len(places)


@pytest.mark.parametrize("count", [0, 1, 1000])
def test_image_seeds_are_distinct_32_bit_numbers(count: int):
    seeds = augmentation_seeds(0, 7, count)
    assert seeds.shape == (count,)
    assert seeds.dtype == np.uint32
    assert len(set(seeds.tolist())) == count


def test_image_seeds_do_not_depend_on_the_number_of_images():
    assert augmentation_seeds(1, 2, 10).tolist() == augmentation_seeds(1, 2, 99)[:10].tolist()
