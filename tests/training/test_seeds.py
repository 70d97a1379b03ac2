import itertools

import numpy as np
import pytest

from assay.training.seeds import Purpose, epoch_seed, generator, photo_seeds


def test_streams_repeat_whatever_was_drawn_before():
    first = generator(3, Purpose.ORDER, 5).permutation(50)
    generator(3, Purpose.ORDER, 4).permutation(50)
    assert generator(3, Purpose.ORDER, 5).permutation(50).tolist() == first.tolist()


def test_every_seed_purpose_and_epoch_has_a_stream_of_its_own():
    places = list(itertools.product((0, 1, 2**32 - 1), Purpose, (0, 1, 2)))
    assert len({epoch_seed(*place) for place in places}) == len(places)


@pytest.mark.parametrize("count", [0, 1, 1000])
def test_photo_seeds_are_many_different_32_bit_numbers(count: int):
    seeds = photo_seeds(0, 7, count)
    assert seeds.shape == (count,)
    assert seeds.dtype == np.uint32
    assert len(set(seeds.tolist())) == count


def test_photo_seeds_of_a_place_do_not_depend_on_how_many_there_are():
    assert photo_seeds(1, 2, 10).tolist() == photo_seeds(1, 2, 99)[:10].tolist()
