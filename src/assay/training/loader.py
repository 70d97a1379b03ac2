"""Photos in batches: in which order, changed by which seed, prepared by how many processes.

What a batch holds depends on the run's seed, the epoch and the position alone: every position of the order
carries its own augmentation seed, so the processes that prepare photos need no state. Knows no networks.
"""

import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from assay.errors import AssayError
from assay.training.seeds import Purpose, epoch_seed, generator, photo_seeds

if TYPE_CHECKING:
    from assay.training.profile import WorkerClock

Pixels = npt.NDArray[np.uint8]
Key = tuple[int, int]
"""Index of an image and the seed of its augmentation."""
Batch = tuple[Tensor, Tensor]
"""Inputs, uint8 [N, S, S, 3] or float32 [N, D], and int64 targets [N]."""

_SMALL = 64
_MANY = 1 << 16
_SPARE = 1 << 20
"""Bytes of shared memory left to other uses."""
_SOCKET_PATH = 103
"""Longest path of a socket in bytes: 107 on Linux, 103 on macOS (`sun_path`, unix(7))."""
_SOCKET_NAME = len("/pymp-12345678/listener-12345678")
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - only its free space is read


class Photos(Protocol):
    """A sequence of images as uint8 RGB arrays [H, W, 3]; reading one may raise AssayError."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Pixels: ...


@dataclass(frozen=True, slots=True)
class Split:
    """Images and their class indices."""

    pixels: Photos
    """Training images may be larger than the network's input; validation images have its size."""
    targets: npt.NDArray[np.int64]
    """Class indices of shape [N]."""


class PhotoData(Dataset[Batch | AssayError]):
    """Batches of images, augmented by the seeds of their keys.

    For an unreadable image the batch is an AssayError, which is returned and not raised: an exception would
    reach the main process wrapped in the worker's traceback.

    Args:
        split: images and targets.
        augment: random augmentation of an image by a seed; none: images are used as they are.
        clock: accumulates the time of reading and augmenting.
    """

    def __init__(
        self,
        split: Split,
        augment: Callable[[Pixels, int], Pixels] | None = None,
        clock: "WorkerClock | None" = None,
    ) -> None:
        self._split = split
        self._augment = augment
        self._clock = clock

    def __len__(self) -> int:
        return len(self._split.pixels)

    def __getitems__(self, keys: Sequence[Key]) -> Batch | AssayError:
        """Return the batch of these keys."""
        try:
            images = np.stack([self._photo(index, seed) for index, seed in keys])
        except AssayError as error:
            return error
        return torch.from_numpy(images), torch.from_numpy(self._split.targets[[index for index, _ in keys]])

    def _photo(self, index: int, seed: int) -> Pixels:
        begin = time.perf_counter()
        pixels = self._split.pixels[index]
        read = time.perf_counter()
        changed = pixels if self._augment is None else self._augment(pixels, seed)
        if self._clock is not None:
            self._clock.add("reading and decoding", read - begin)
            self._clock.add("augmentation", time.perf_counter() - read)
        return changed


class FeatureData(Dataset[Batch]):
    """Batches of cached embeddings, [V, N, D] for V augmented views of N images, and targets [N]."""

    def __init__(self, features: npt.NDArray[np.float32], targets: npt.NDArray[np.int64]) -> None:
        self._features = torch.from_numpy(features).flatten(0, 1)
        self._views = len(features)
        self._targets = torch.from_numpy(targets)

    def __len__(self) -> int:
        return len(self._targets)

    def __getitems__(self, keys: Sequence[Key]) -> Batch:
        """Return the batch of these keys; the seed of a key selects the view."""
        # Faster than torch.tensor of a list.
        return self.batch(torch.from_numpy(np.array(keys, dtype=np.int64)))

    def batch(self, keys: Tensor) -> Batch:
        """Return the batch of these keys, int64 [N, 2]."""
        rows, seeds = keys.unbind(1)
        features = self._features.index_select(0, seeds % self._views * len(self) + rows)
        return features, self._targets.index_select(0, rows)


class Order(Sampler[Key]):
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

    def __iter__(self) -> Iterator[Key]:
        return iter([(index, seed) for index, seed in self.keys().tolist()])

    def keys(self) -> npt.NDArray[np.int64]:
        """Return the epoch's keys, [N, 2]."""
        random = generator(self._seed, Purpose.ORDER, self._epoch)
        indices = balanced_draw(self._targets, random) if self._balanced else random.permutation(len(self))
        return np.stack([indices, photo_seeds(self._seed, self._epoch, len(self))], axis=1, dtype=np.int64)


class InOrder(Sampler[Key]):
    """Every image once, in order, with its augmentation seed (by default 0)."""

    def __init__(self, count: int, seeds: Sequence[int] | None = None) -> None:
        self._seeds = [0] * count if seeds is None else list(seeds)

    def __len__(self) -> int:
        return len(self._seeds)

    def __iter__(self) -> Iterator[Key]:
        return iter(list(enumerate(self._seeds)))


class Batches(Sampler[list[Key]]):
    """Divides the keys of a sampler into batches.

    Args:
        sampler: the order of the images.
        size: images per batch.
        join_last: add a single remaining image to the batch before it, because batch norm cannot train on
            one sample.
    """

    def __init__(self, sampler: Order | InOrder, size: int, *, join_last: bool = False) -> None:
        self.sampler = sampler  # Lightning looks for this name
        self._size = size
        self._join_last = join_last

    def __len__(self) -> int:
        return len(self.sizes())

    def __iter__(self) -> Iterator[list[Key]]:
        keys = iter(self.sampler)
        for size in self.sizes():
            yield list(islice(keys, size))

    def sizes(self) -> list[int]:
        """Return the size of every batch."""
        whole, rest = divmod(len(self.sampler), self._size)
        if self._join_last and whole and rest == 1:
            return [*[self._size] * (whole - 1), self._size + 1]
        return [*[self._size] * whole, *[rest] * (rest > 0)]


def balanced_draw(targets: npt.NDArray[np.int64], random: np.random.Generator) -> npt.NDArray[np.int64]:
    """Draw N of N images so that the counts of any two classes differ by at most one.

    Within a class the counts of any two images differ by at most one too. Independent draws would leave out
    a third of the images by chance.

    Args:
        targets: class indices of shape [N].
        random: source of randomness.

    Returns:
        Indices of shape [N], shuffled.
    """
    classes = random.permutation(np.unique(targets))
    shares = np.full(len(classes), len(targets) // len(classes))
    shares[: len(targets) % len(classes)] += 1
    drawn = []
    for label, share in zip(classes, shares, strict=True):
        members = np.flatnonzero(targets == label)
        rounds = [random.permutation(members) for _ in range(-(-share // len(members)))]
        drawn += [np.concatenate(rounds)[:share]] if share else []
    return random.permutation(np.concatenate(drawn))


def class_weights(targets: npt.NDArray[np.int64], classes: int) -> Tensor:
    """Return float32 weights [C]: N / (classes present × images of the class), 0 for absent classes."""
    counts = np.bincount(targets, minlength=classes)
    present = np.count_nonzero(counts)
    weights = np.divide(len(targets) / present, counts, out=np.zeros(classes), where=counts > 0)
    return torch.from_numpy(weights.astype(np.float32))


def make_loader(
    data: PhotoData | FeatureData, batches: Batches, *, workers: int, seed: int = 0, pin_memory: bool = False
) -> DataLoader[Batch | AssayError]:
    """Return a DataLoader of these batches.

    Args:
        data: returns the batch of a list of keys.
        batches: lists of keys.
        workers: number of worker processes; 0 loads batches in this process.
        seed: of the generator from which torch seeds the workers, instead of the global generator.
        pin_memory: use page-locked memory, for CUDA.
    """
    return DataLoader(
        data,
        batch_sampler=batches,
        collate_fn=_as_it_is,
        num_workers=workers,
        worker_init_fn=_begin_worker,
        persistent_workers=workers > 0,
        pin_memory=pin_memory,
        generator=torch.Generator().manual_seed(epoch_seed(seed, Purpose.ORDER, 0)),
    )


def worker_count(wanted: int | None, photos: int, batch_bytes: int) -> int:
    """Return the number of worker processes that load images.

    Args:
        wanted: the recipe's number; none: one per available CPU.
        photos: number of images; for fewer than 64, starting workers costs more than it saves, and the
            default is none.
        batch_bytes: size of one batch in bytes. Workers pass batches through shared memory, which containers
            often limit to 64 MB: the number is limited to what fits, with two batches per worker in flight.
            It is 0 where the path of the temporary folder is too long for the workers' sockets.
    """
    if wanted is None and photos < _SMALL:
        return 0
    count = wanted
    if count is None:
        count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not count or not _sockets_fit(tempfile.gettempdir()):
        return 0
    return min(count, _workers_in_shared_memory(batch_bytes, _SHARED_MEMORY))


def _sockets_fit(folder: str) -> bool:
    """Return whether socket paths in the temporary folder are within the system's limit.

    Workers pass batches through such sockets. With a longer path a batch is lost and training hangs.
    """
    return len(os.fsencode(folder)) + _SOCKET_NAME <= _SOCKET_PATH


def _workers_in_shared_memory(batch_bytes: int, folder: Path) -> int:
    """Return how many workers the shared memory is large enough for; with too little of it torch hangs."""
    if not folder.is_dir():
        return _MANY
    if not os.access(folder, os.W_OK):
        return 0
    # Two batches per worker, for the workers of training and of validation.
    return max(0, shutil.disk_usage(folder).free - _SPARE) // (4 * max(1, batch_bytes))


def worker_death(error: RuntimeError) -> str | None:
    """Return the message for an error that a worker process has died; None for any other error."""
    if not str(error).startswith("DataLoader worker"):
        return None
    reason = str(error).splitlines()[0].split(". ")[0].rstrip(".")
    return (
        f"a data loading worker died ({reason}): memory, or shared memory in /dev/shm, is exhausted; free"
        " some and continue with --resume, or start again with train.workers=0"
    )


def _as_it_is(batch: Any) -> Any:
    return batch


def _begin_worker(worker: int) -> None:
    """Ignore Ctrl-C, which the main process handles, and leave the other cores to the other workers."""
    del worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(0)
