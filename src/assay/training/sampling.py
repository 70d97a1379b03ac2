"""Seeds of a run's random streams, and the samplers that decide the order of the training images."""

import hashlib
from collections.abc import Iterator, Sequence
from enum import IntEnum
from itertools import islice

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

SampleKey = tuple[int, int]
"""Index of an image and the seed of its augmentation."""


class RandomStream(IntEnum):
    """Independent streams of random numbers.

    Every epoch starts from generators seeded by (seed, stream, epoch), never from what was drawn before: a
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


class EpochSampler(Sampler[SampleKey]):
    """Shuffles the training images anew every epoch.

    Lightning calls `set_epoch`, with epochs counted from the resumed one.

    Args:
        targets: class indices of shape [N].
        seed: the run's seed.
        balanced: draw every class equally often; images of rare classes then occur several times per epoch.
        first_epoch: number of finished epochs of a resumed run.
    """

    def __init__(
        self, targets: npt.NDArray[np.int64], seed: int, *, balanced: bool = False, first_epoch: int = 0
    ) -> None:
        self._targets = targets
        self._seed = seed
        self._balanced = balanced
        self._first_epoch = first_epoch
        self._epoch = first_epoch

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, counted from 0 in this session."""
        self._epoch = self._first_epoch + epoch

    def __len__(self) -> int:
        return len(self._targets)

    def __iter__(self) -> Iterator[SampleKey]:
        return iter([(index, seed) for index, seed in self.keys().tolist()])

    def keys(self) -> npt.NDArray[np.int64]:
        """Return the epoch's keys, [N, 2]."""
        generator = stream_generator(self._seed, RandomStream.ORDER, self._epoch)
        indices = sample_balanced(self._targets, generator) if self._balanced else generator.permutation(len(self))
        return np.stack([indices, augmentation_seeds(self._seed, self._epoch, len(self))], axis=1, dtype=np.int64)


class SequentialSampler(Sampler[SampleKey]):
    """Every image once, in order, with its augmentation seed (by default 0)."""

    def __init__(self, count: int, seeds: Sequence[int] | None = None) -> None:
        self._seeds = [0] * count if seeds is None else list(seeds)

    def __len__(self) -> int:
        return len(self._seeds)

    def __iter__(self) -> Iterator[SampleKey]:
        return iter(list(enumerate(self._seeds)))


class BatchSampler(Sampler[list[SampleKey]]):
    """Groups the keys of a sampler into batches.

    Args:
        sampler: the order of the images.
        size: images per batch.
        merge_single: add a single remaining image to the batch before it, because batch norm cannot train
            on one sample.
    """

    def __init__(self, sampler: EpochSampler | SequentialSampler, size: int, *, merge_single: bool = False) -> None:
        self.sampler = sampler  # Lightning looks for this name
        self._size = size
        self._merge_single = merge_single

    def __len__(self) -> int:
        return len(self.sizes())

    def __iter__(self) -> Iterator[list[SampleKey]]:
        keys = iter(self.sampler)
        for size in self.sizes():
            yield list(islice(keys, size))

    def sizes(self) -> list[int]:
        """Return the size of every batch."""
        whole, rest = divmod(len(self.sampler), self._size)
        if self._merge_single and whole and rest == 1:
            return [*[self._size] * (whole - 1), self._size + 1]
        return [*[self._size] * whole, *[rest] * (rest > 0)]


def sample_balanced(targets: npt.NDArray[np.int64], generator: np.random.Generator) -> npt.NDArray[np.int64]:
    """Draw N of N images so that the counts of any two classes differ by at most one.

    Within a class the counts of any two images differ by at most one too. Independent draws would leave out
    a third of the images by chance.

    Args:
        targets: class indices of shape [N].
        generator: source of randomness.

    Returns:
        Indices of shape [N], shuffled.
    """
    classes = generator.permutation(np.unique(targets))
    shares = np.full(len(classes), len(targets) // len(classes))
    shares[: len(targets) % len(classes)] += 1
    drawn = []
    for label, share in zip(classes, shares, strict=True):
        members = np.flatnonzero(targets == label)
        rounds = [generator.permutation(members) for _ in range(-(-share // len(members)))]
        drawn += [np.concatenate(rounds)[:share]] if share else []
    return generator.permutation(np.concatenate(drawn))
