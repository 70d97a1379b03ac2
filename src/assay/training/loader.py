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
"""Index of a photo and the seed of its augmentation."""
Batch = tuple[Tensor, Tensor]
"""Inputs, uint8 [N, S, S, 3] or float32 [N, D], and int64 targets [N]."""

_SMALL = 64
_MANY = 1 << 16
_SPARE = 1 << 20
"""Bytes of shared memory that are left to others."""
_SOCKET_PATH = 103
"""Bytes that a socket's path may have: 107 on Linux, 103 on macOS (`sun_path`, unix(7))."""
_SOCKET_NAME = len("/pymp-12345678/listener-12345678")
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - only its free space is asked for


class Photos(Protocol):
    """Photos by index, as uint8 RGB arrays; reading one may raise AssayError."""

    def __len__(self) -> int:
        """Return how many there are."""

    def __getitem__(self, index: int, /) -> Pixels:
        """Return one, uint8 [H, W, 3]."""


@dataclass(frozen=True, slots=True)
class Split:
    """Labelled photos."""

    pixels: Photos
    """Training photos may be larger than the network's input; validation photos have its size."""
    targets: npt.NDArray[np.int64]
    """Class indices of shape [N]."""


class PhotoData(Dataset[Batch | AssayError]):
    """Batches of photos, each changed by its seed.

    An unreadable photo makes the batch an AssayError instead of raising it: across processes, an exception
    would arrive wrapped in a traceback, a value arrives as it is.
    """

    def __init__(
        self,
        split: Split,
        augment: Callable[[Pixels, int], Pixels] | None = None,
        clock: "WorkerClock | None" = None,
    ) -> None:
        """Hold the photos, what changes them (none: nothing does), and who is told how long it took."""
        self._split = split
        self._augment = augment
        self._clock = clock

    def __len__(self) -> int:
        return len(self._split.pixels)

    def __getitems__(self, keys: Sequence[Key]) -> Batch | AssayError:
        """Return the batch of some keys."""
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
    """Batches of embeddings computed beforehand, of one view of every photo or more."""

    def __init__(self, features: npt.NDArray[np.float32], targets: npt.NDArray[np.int64]) -> None:
        """Hold embeddings of V views [V, N, D] and targets [N]."""
        self._features = torch.from_numpy(features).flatten(0, 1)
        self._views = len(features)
        self._targets = torch.from_numpy(targets)

    def __len__(self) -> int:
        return len(self._targets)

    def __getitems__(self, keys: Sequence[Key]) -> Batch:
        """Return the batch of some keys; the seed of a key draws the view."""
        # Faster than torch's own way of reading lists.
        return self.batch(torch.from_numpy(np.array(keys, dtype=np.int64)))

    def batch(self, keys: Tensor) -> Batch:
        """Return the batch of some keys, int64 [N, 2]."""
        rows, seeds = keys.unbind(1)
        features = self._features.index_select(0, seeds % self._views * len(self) + rows)
        return features, self._targets.index_select(0, rows)


class Order(Sampler[Key]):
    """A new order of the training photos every epoch.

    Lightning calls `set_epoch`, with epochs counted from where this session of the run began.
    """

    def __init__(
        self, targets: npt.NDArray[np.int64], seed: int, *, balanced: bool = False, first_epoch: int = 0
    ) -> None:
        """Start at an epoch.

        Args:
            targets: class indices of shape [N].
            seed: the run's seed.
            balanced: draw every class equally often; photos of rare classes then come several times an epoch.
            first_epoch: how many epochs of the run are over.
        """
        self._targets = targets
        self._seed = seed
        self._balanced = balanced
        self._first_epoch = first_epoch
        self._epoch = first_epoch

    def set_epoch(self, epoch: int) -> None:
        """Move to an epoch of this session, counted from 0."""
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
    """Every photo once, as they stand."""

    def __init__(self, count: int, seeds: Sequence[int] | None = None) -> None:
        """Hold how many there are, and the augmentation seed of each; none: 0 for all."""
        self._seeds = [0] * count if seeds is None else list(seeds)

    def __len__(self) -> int:
        return len(self._seeds)

    def __iter__(self) -> Iterator[Key]:
        return iter(list(enumerate(self._seeds)))


class Batches(Sampler[list[Key]]):
    """Cuts an order into batches."""

    def __init__(self, sampler: Order | InOrder, size: int, *, join_last: bool = False) -> None:
        """Hold how to cut.

        Args:
            sampler: the order; Lightning finds it under this name.
            size: photos a batch.
            join_last: let a single photo left over join the batch before it, since batch norm cannot learn
                from one sample.
        """
        self.sampler = sampler
        self._size = size
        self._join_last = join_last

    def __len__(self) -> int:
        return len(self.sizes())

    def __iter__(self) -> Iterator[list[Key]]:
        keys = iter(self.sampler)
        for size in self.sizes():
            yield list(islice(keys, size))

    def sizes(self) -> list[int]:
        """Return how many photos each batch has."""
        whole, rest = divmod(len(self.sampler), self._size)
        if self._join_last and whole and rest == 1:
            return [*[self._size] * (whole - 1), self._size + 1]
        return [*[self._size] * whole, *[rest] * (rest > 0)]


def balanced_draw(targets: npt.NDArray[np.int64], random: np.random.Generator) -> npt.NDArray[np.int64]:
    """Draw as many photos as there are, every class equally often to within one.

    Within a class every photo is drawn equally often to within one, in contrast to independent draws, which
    leave out a third of the photos by chance.

    Args:
        targets: class indices of shape [N]; classes without photos are passed over.
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
    """Return float32 weights [C]: N / (classes present x photos of the class), 0 for a class without."""
    counts = np.bincount(targets, minlength=classes)
    present = np.count_nonzero(counts)
    weights = np.divide(len(targets) / present, counts, out=np.zeros(classes), where=counts > 0)
    return torch.from_numpy(weights.astype(np.float32))


def make_loader(
    data: PhotoData | FeatureData, batches: Batches, *, workers: int, seed: int = 0, pin_memory: bool = False
) -> DataLoader[Batch | AssayError]:
    """Join photos and their order.

    Args:
        data: gives a batch for a list of keys.
        batches: lists of keys.
        workers: processes that prepare batches; 0 prepares them in this one.
        seed: of the generator that torch draws the processes' seeds from instead of the global one.
        pin_memory: hold batches where a CUDA device copies them from fastest.
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
    """Return how many processes prepare photos.

    Args:
        wanted: the recipe's number; none: one for every processor this process may use.
        photos: with fewer than 64, starting a process costs more than it saves, and none is started unasked.
        batch_bytes: size of one batch in bytes. Batches cross in shared memory, which containers often limit
            to 64 MB: there are no more processes than fit, with two batches each under way. There are none
            where the path of the folder for temporary files is too long for their sockets.
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
    """Say whether the paths of sockets in a folder for temporary files are short enough for the system.

    Processes hand batches over through such sockets. Where the path is too long, a batch is lost and training
    waits for it without end.
    """
    return len(os.fsencode(folder)) + _SOCKET_NAME <= _SOCKET_PATH


def _workers_in_shared_memory(batch_bytes: int, folder: Path) -> int:
    """Return how many processes the shared memory is large enough for; with too little of it, torch hangs."""
    if not folder.is_dir():
        return _MANY
    if not os.access(folder, os.W_OK):
        return 0
    # Training and validation have processes of their own.
    return max(0, shutil.disk_usage(folder).free - _SPARE) // (4 * max(1, batch_bytes))


def worker_death(error: RuntimeError) -> str | None:
    """Return a sentence if an error says that a process which prepared photos has died, else None."""
    if not str(error).startswith("DataLoader worker"):
        return None
    reason = str(error).splitlines()[0].split(". ")[0].rstrip(".")
    return (
        f"a process that prepared photos has died ({reason}): memory, or the shared memory in /dev/shm, is"
        " short; make room and go on with --resume, or begin anew with train.workers=0"
    )


def _as_it_is(batch: Any) -> Any:
    return batch


def _begin_worker(worker: int) -> None:
    """Leave Ctrl-C to the main process, and the processor's other cores to the other workers."""
    del worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(0)
