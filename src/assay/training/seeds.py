"""Random numbers that depend on the run's seed and the place in the run, never on what was drawn before.

Every epoch starts from generators seeded by (seed, epoch). A run that was killed and taken up again at an
epoch's start therefore draws what the straight run drew. Knows nothing of networks or photos.
"""

import hashlib
from enum import IntEnum

import numpy as np
import numpy.typing as npt


class Purpose(IntEnum):
    """What a stream of random numbers is for; streams of different purposes are independent."""

    ORDER = 1
    AUGMENT = 2
    TORCH = 3


def generator(seed: int, purpose: Purpose, epoch: int) -> np.random.Generator:
    """Return NumPy's default generator for one purpose in one epoch.

    Args:
        seed: the run's seed, 0 or more.
        purpose: what the numbers are for.
        epoch: epoch counted from 0.
    """
    return np.random.default_rng(_sequence(seed, purpose, epoch))


def epoch_seed(seed: int, purpose: Purpose, epoch: int) -> int:
    """Return one seed for one purpose in one epoch, within 0 to 2^32 - 1."""
    return int(_sequence(seed, purpose, epoch).generate_state(1)[0])


def photo_seeds(seed: int, epoch: int, count: int) -> npt.NDArray[np.uint32]:
    """Return one augmentation seed for every position of an epoch's order.

    A photo that is drawn twice in an epoch stands at two positions and so is changed in two ways.

    Args:
        seed: the run's seed.
        epoch: epoch counted from 0.
        count: positions in the epoch.

    Returns:
        uint32 array of shape [count].
    """
    return _sequence(seed, Purpose.AUGMENT, epoch).generate_state(count).astype(np.uint32)


def view_seed(seed: int, view: int, photo: str) -> int:
    """Return the augmentation seed of one kept view of a photo, within 0 to 2^32 - 1.

    Args:
        seed: the run's seed.
        view: which of the photo's views, counted from 0.
        photo: names the photo; its digest, so that the view is the same wherever the photo stands.
    """
    return int.from_bytes(hashlib.sha256(f"{seed} {view} {photo}".encode()).digest()[:4], "little")


def _sequence(seed: int, purpose: Purpose, epoch: int) -> np.random.SeedSequence:
    return np.random.SeedSequence([seed, int(purpose), epoch])
