"""Datasets and DataLoaders of training: images or cached embeddings, augmentation, worker processes."""

import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from assay.core.cpu import cpu_count
from assay.core.errors import AssayError, UsageError
from assay.recipe import Recipe
from assay.training.distributed import ProcessGroup
from assay.training.random_streams import RandomStream, epoch_seed
from assay.training.sampling import BatchSampler, EpochSampler, SampleKey, SequentialSampler

if TYPE_CHECKING:
    from assay.training.callbacks import WorkerTimer

Pixels = npt.NDArray[np.uint8]
Batch = tuple[Tensor, Tensor]
"""Inputs, uint8 [N, S, S, 3] or float32 [N, D], and int64 targets [N]."""

_MIN_IMAGES_FOR_WORKERS = 64
_UNLIMITED_WORKERS = 1 << 16
_RESERVED_BYTES = 1 << 20
"""Bytes of shared memory left to other uses."""
_MAX_SOCKET_PATH = 103
"""Longest path of a socket in bytes: 107 on Linux, 103 on macOS (`sun_path`, unix(7))."""
_SOCKET_NAME_LENGTH = len("/pymp-12345678/listener-12345678")
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - only its free space is read


class ImageSequence(Protocol):
    """A sequence of images as uint8 RGB arrays [H, W, 3]; reading one may raise AssayError."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Pixels: ...


@dataclass(frozen=True, slots=True)
class LabeledImages:
    """Images and their class indices."""

    images: ImageSequence
    """Training images may be larger than the network's input; validation images have its size."""
    targets: npt.NDArray[np.int64]
    """Class indices of shape [N]."""


class ImageDataset(Dataset[Batch | AssayError]):
    """Batches of images, augmented by the seeds of their keys.

    For an unreadable image the batch is an AssayError, which is returned and not raised: an exception would
    reach the main process wrapped in the worker's traceback.

    Args:
        split: images and targets.
        augment: random augmentation of an image by a seed; none: images are used as they are.
        timer: accumulates the time of reading and augmenting.
    """

    def __init__(
        self,
        split: LabeledImages,
        augment: Callable[[Pixels, int], Pixels] | None = None,
        timer: "WorkerTimer | None" = None,
    ) -> None:
        self._split = split
        self._augment = augment
        self._timer = timer

    def __len__(self) -> int:
        return len(self._split.images)

    def __getitems__(self, keys: Sequence[SampleKey]) -> Batch | AssayError:
        """Return the batch of these keys."""
        try:
            images = np.stack([self._load(index, seed) for index, seed in keys])
        except AssayError as error:
            return error
        return torch.from_numpy(images), torch.from_numpy(self._split.targets[[index for index, _ in keys]])

    def _load(self, index: int, seed: int) -> Pixels:
        begin = time.perf_counter()
        pixels = self._split.images[index]
        read = time.perf_counter()
        changed = pixels if self._augment is None else self._augment(pixels, seed)
        if self._timer is not None:
            self._timer.add("reading and decoding", read - begin)
            self._timer.add("augmentation", time.perf_counter() - read)
        return changed


class EmbeddingDataset(Dataset[Batch]):
    """Batches of cached embeddings, [V, N, D] for V augmented views of N images, and targets [N]."""

    def __init__(self, embeddings: npt.NDArray[np.float32], targets: npt.NDArray[np.int64]) -> None:
        self._embeddings = torch.from_numpy(embeddings).flatten(0, 1)
        self._views = len(embeddings)
        self._targets = torch.from_numpy(targets)

    def __len__(self) -> int:
        return len(self._targets)

    def __getitems__(self, keys: Sequence[SampleKey]) -> Batch:
        """Return the batch of these keys; the seed of a key selects the view."""
        # Faster than torch.tensor of a list.
        return self.batch(torch.from_numpy(np.array(keys, dtype=np.int64)))

    def batch(self, keys: Tensor) -> Batch:
        """Return the batch of these keys, int64 [N, 2]."""
        rows, seeds = keys.unbind(1)
        embeddings = self._embeddings.index_select(0, seeds % self._views * len(self) + rows)
        return embeddings, self._targets.index_select(0, rows)


def make_dataloader(
    data: ImageDataset | EmbeddingDataset,
    batches: BatchSampler,
    *,
    workers: int,
    seed: int = 0,
    pin_memory: bool = False,
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
        collate_fn=_pass_through,
        num_workers=workers,
        worker_init_fn=_init_worker,
        persistent_workers=workers > 0,
        pin_memory=pin_memory,
        generator=torch.Generator().manual_seed(epoch_seed(seed, RandomStream.ORDER, 0)),
    )


def worker_count(requested: int | None, images: int, batch_bytes: int) -> int:
    """Return the number of worker processes that load images.

    Args:
        requested: the recipe's number; none: one per available CPU.
        images: their number; for fewer than 64, starting workers costs more than it saves, and the
            default is none.
        batch_bytes: size of one batch in bytes. Workers pass batches through shared memory, which containers
            often limit to 64 MB: the number is limited to what fits, with two batches per worker in flight.
            It is 0 where the path of the temporary folder is too long for the workers' sockets.
    """
    if requested is None and images < _MIN_IMAGES_FOR_WORKERS:
        return 0
    count = cpu_count() if requested is None else requested
    if not count or not _socket_paths_fit(tempfile.gettempdir()):
        return 0
    return min(count, _max_workers_for_shared_memory(batch_bytes, _SHARED_MEMORY))


def _socket_paths_fit(folder: str) -> bool:
    """Return whether socket paths in the temporary folder are within the system's limit.

    Workers pass batches through such sockets. With a longer path a batch is lost and training hangs.
    """
    return len(os.fsencode(folder)) + _SOCKET_NAME_LENGTH <= _MAX_SOCKET_PATH


def _max_workers_for_shared_memory(batch_bytes: int, folder: Path) -> int:
    """Return how many workers the shared memory is large enough for; with too little of it torch hangs."""
    if not folder.is_dir():
        return _UNLIMITED_WORKERS
    if not os.access(folder, os.W_OK):
        return 0
    # Two batches per worker, for the workers of training and of validation.
    return max(0, shutil.disk_usage(folder).free - _RESERVED_BYTES) // (4 * max(1, batch_bytes))


def worker_death_message(error: RuntimeError) -> str | None:
    """Return the message for an error that a worker process has died; None for any other error."""
    if not str(error).startswith("DataLoader worker"):
        return None
    reason = str(error).splitlines()[0].split(". ")[0].rstrip(".")
    return (
        f"a data loading worker died ({reason}): memory, or shared memory in /dev/shm, is exhausted; free"
        " some and continue with --resume, or start again with train.workers=0"
    )


def _pass_through(batch: Any) -> Any:
    return batch


def _init_worker(worker: int) -> None:
    """Ignore Ctrl-C, which the main process handles, and leave the other cores to the other workers."""
    del worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(0)


if TYPE_CHECKING:
    from assay.training.callbacks import WorkerTimer


def check_split(name: str, split: LabeledImages, classes: int) -> None:
    """Check that a split is usable; `name` is used in messages.

    Raises:
        AssayError: the split is empty.
        ValueError: the numbers of images and targets differ, or a target is not a class index.
    """
    if len(split.images) == 0:
        raise AssayError(f"there are no {name} photos; change data.split or add photos")
    if len(split.images) != len(split.targets):
        raise ValueError(f"{len(split.images)} {name} photos have {len(split.targets)} targets")
    if split.targets.min() < 0 or split.targets.max() >= classes:
        raise ValueError(f"the {name} targets must lie within 0-{classes - 1}")


def check_batch_norm(recipe: Recipe, images: int) -> None:
    """Check that batches are large enough for batch norm in the head.

    Raises:
        UsageError: a batch has a single image.
    """
    head = recipe.net.head
    if head.batch_norm and head.hidden and min(recipe.train.batch_size, images) < 2:
        raise UsageError(
            "net.head.batch_norm needs at least two photos per batch: raise train.batch_size,"
            " add photos, or set net.head.batch_norm=false"
        )


def make_augmentation(recipe: Recipe) -> Callable[[Pixels, int], Pixels] | None:
    """Return the augmentation of a recipe, which ends at the network's size; None if there is none."""
    if not recipe.augment.train and recipe.augment.input_scale == 1:
        return None
    from assay.image.augmentation import Augment  # noqa: PLC0415 - albumentations takes a second to import

    augment: Callable[[Pixels, int], Pixels] = Augment(recipe.augment.train, recipe.preprocess.size)
    return augment


def train_dataloader(
    train: LabeledImages,
    augment: Callable[[Pixels, int], Pixels] | None,
    recipe: Recipe,
    *,
    embeddings: np.ndarray | None = None,
    first_epoch: int = 0,
    pin_memory: bool = False,
    timer: "WorkerTimer | None" = None,
    group: ProcessGroup | None = None,
) -> DataLoader[Batch | AssayError]:
    """Return the DataLoader of training batches, reshuffled every epoch.

    Args:
        train: images and targets.
        augment: random augmentation of an image by a seed.
        recipe: batch size, balance, workers and seed.
        embeddings: float32 [V, N, D] for V views, used instead of the images.
        first_epoch: number of finished epochs of a resumed run.
        pin_memory: use page-locked memory, for CUDA.
        timer: accumulates the time that workers spend.
        group: the processes that share every batch; None: this process alone.
    """
    spec = recipe.train
    order = EpochSampler(train.targets, spec.seed, balanced=spec.balance == "sampler", first_epoch=first_epoch)
    batches = BatchSampler(order, spec.batch_size, merge_single=True, group=group)
    if embeddings is not None:
        return make_dataloader(EmbeddingDataset(embeddings, train.targets), batches, workers=0, seed=spec.seed)
    return make_dataloader(
        ImageDataset(train, augment, timer),
        batches,
        workers=_worker_count_for(recipe, len(train.targets)),
        seed=spec.seed,
        pin_memory=pin_memory,
    )


def eval_dataloader(
    split: LabeledImages,
    augment: Callable[[Pixels, int], Pixels] | None,
    recipe: Recipe,
    *,
    seeds: Sequence[int] | None = None,
    embeddings: np.ndarray | None = None,
    pin_memory: bool = False,
    group: ProcessGroup | None = None,
) -> DataLoader[Batch | AssayError]:
    """Return the DataLoader of a split in its own order, for validation and embeddings.

    Args are those of `train_dataloader`; `seeds` are augmentation seeds, one per image.
    """
    spec = recipe.train
    batches = BatchSampler(SequentialSampler(len(split.targets), seeds), spec.batch_size, group=group)
    if embeddings is not None:
        return make_dataloader(EmbeddingDataset(embeddings, split.targets), batches, workers=0, seed=spec.seed)
    return make_dataloader(
        ImageDataset(split, augment),
        batches,
        workers=_worker_count_for(recipe, len(split.targets)),
        seed=spec.seed,
        pin_memory=pin_memory,
    )


def _worker_count_for(recipe: Recipe, images: int) -> int:
    size = recipe.preprocess.size
    batch = min(recipe.train.batch_size, max(1, images))
    requested = recipe.train.workers
    if requested is None and recipe.train.devices > 1 and images >= _MIN_IMAGES_FOR_WORKERS:
        requested = max(1, cpu_count() // recipe.train.devices)
    return worker_count(requested, images, batch * size * size * 3)
