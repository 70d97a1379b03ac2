"""Samplers that decide the order of the training images, and their batches."""

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

from assay.training.distributed import ProcessGroup
from assay.training.random_streams import RandomStream, augmentation_seeds, stream_generator

SampleKey = tuple[int, int]
"""Index of an image and the seed of its augmentation."""


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
        group: the processes that share every batch; None: this process takes all of it.
    """

    def __init__(
        self,
        sampler: EpochSampler | SequentialSampler,
        size: int,
        *,
        merge_single: bool = False,
        group: ProcessGroup | None = None,
    ) -> None:
        self.sampler = sampler  # Lightning looks for this name
        self._size = size
        self._merge_single = merge_single
        self._group = group or ProcessGroup()

    def __len__(self) -> int:
        return len(self.sizes())

    def __iter__(self) -> Iterator[list[SampleKey]]:
        keys = iter(self.sampler)
        for size in self.sizes():
            batch = list(islice(keys, size))
            # A batch with fewer images than processes: the loss of the image that is repeated has the weight 0.
            yield batch[self._group.rank :: self._group.size] or batch[:1]

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
