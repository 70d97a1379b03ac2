"""The random streams of a run, and their seeds per epoch, image and augmented view."""

import hashlib
from enum import IntEnum

import numpy as np
import numpy.typing as npt


class RandomStream(IntEnum):
    """Independent streams of random numbers.

    Every epoch starts from generators seeded by (seed, stream, epoch), independent of earlier draws: a
    run that is resumed at an epoch draws the numbers of an uninterrupted run.
    """

    ORDER = 1
    AUGMENT = 2
    TORCH = 3


def stream_generator(seed: int, stream: RandomStream, epoch: int) -> np.random.Generator:
    """Return NumPy's default generator of a stream in an epoch (counted from 0)."""
    return np.random.default_rng(_seed_sequence(seed, stream, epoch))


def epoch_seed(seed: int, stream: RandomStream, epoch: int) -> int:
    """Return the seed of a stream in an epoch, 0 to 2^32 - 1."""
    return int(_seed_sequence(seed, stream, epoch).generate_state(1)[0])


def augmentation_seeds(seed: int, epoch: int, count: int) -> npt.NDArray[np.uint32]:
    """Return the augmentation seeds of an epoch, uint32 [count], one per position in its order.

    An image that is drawn twice in an epoch has two positions and is augmented in two ways.
    """
    return _seed_sequence(seed, RandomStream.AUGMENT, epoch).generate_state(count).astype(np.uint32)


def view_seed(seed: int, view: int, image: str) -> int:
    """Return the augmentation seed of a cached view of an image, 0 to 2^32 - 1.

    Args:
        seed: the run's seed.
        view: index of the view, counted from 0.
        image: identifies the image; with its digest, the view does not depend on the image's position.
    """
    return int.from_bytes(hashlib.sha256(f"{seed} {view} {image}".encode()).digest()[:4], "little")


def _seed_sequence(seed: int, stream: RandomStream, epoch: int) -> np.random.SeedSequence:
    return np.random.SeedSequence([seed, int(stream), epoch])
