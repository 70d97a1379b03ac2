"""From a recipe and two splits to what the loop is fed: augmentation, loaders, class weights.

Knows nothing of the loop or of files.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader

from assay.errors import AssayError, UsageError
from assay.nets import Head
from assay.recipe import Recipe, TrainSpec
from assay.training.loader import (
    Batch,
    Batches,
    FeatureData,
    InOrder,
    Order,
    PhotoData,
    Pixels,
    Split,
    class_weights,
    make_loader,
    worker_count,
)

if TYPE_CHECKING:
    from assay.training.profile import WorkerClock


def check(part: str, split: Split, classes: int) -> None:
    """Check that a split is usable; `part` is its name for messages.

    Raises:
        AssayError: the split is empty.
        ValueError: the numbers of images and targets differ, or a target is not a class index.
    """
    if len(split.pixels) == 0:
        raise AssayError(f"there are no {part} photos; change data.split or add photos")
    if len(split.pixels) != len(split.targets):
        raise ValueError(f"{len(split.pixels)} {part} photos have {len(split.targets)} targets")
    if split.targets.min() < 0 or split.targets.max() >= classes:
        raise ValueError(f"the {part} targets must lie within 0-{classes - 1}")


def check_batches(recipe: Recipe, photos: int) -> None:
    """Check that batches are large enough for batch norm in the head.

    Raises:
        UsageError: a batch has a single image.
    """
    head = recipe.net.head
    if head.batch_norm and head.hidden and min(recipe.train.batch_size, photos) < 2:
        raise UsageError(
            "net.head.batch_norm needs two photos a batch or more: raise train.batch_size,"
            " add photos, or set net.head.batch_norm=false"
        )


def augmentation(recipe: Recipe) -> Callable[[Pixels, int], Pixels] | None:
    """Return the augmentation of a recipe, which ends at the network's size; None if there is none."""
    if not recipe.augment.train and recipe.augment.canvas == 1:
        return None
    from assay.image.augment import Augment  # noqa: PLC0415 - albumentations takes a second to import

    augment: Callable[[Pixels, int], Pixels] = Augment(recipe.augment.train, recipe.preprocess.size)
    return augment


def training_loader(
    train: Split,
    augment: Callable[[Pixels, int], Pixels] | None,
    recipe: Recipe,
    *,
    features: np.ndarray | None = None,
    first_epoch: int = 0,
    pin_memory: bool = False,
    clock: "WorkerClock | None" = None,
) -> DataLoader[Batch | AssayError]:
    """Return the DataLoader of training batches, reshuffled every epoch.

    Args:
        train: images and targets.
        augment: random augmentation of an image by a seed.
        recipe: batch size, balance, workers and seed.
        features: embeddings, float32 [V, N, D] for V views, used instead of the images.
        first_epoch: number of finished epochs of a resumed run.
        pin_memory: use page-locked memory, for CUDA.
        clock: accumulates the time that workers spend.
    """
    spec = recipe.train
    order = Order(train.targets, spec.seed, balanced=spec.balance == "sampler", first_epoch=first_epoch)
    batches = Batches(order, spec.batch_size, join_last=True)
    if features is not None:
        return make_loader(FeatureData(features, train.targets), batches, workers=0, seed=spec.seed)
    return make_loader(
        PhotoData(train, augment, clock),
        batches,
        workers=_workers(recipe, len(train.targets)),
        seed=spec.seed,
        pin_memory=pin_memory,
    )


def ordered_loader(
    split: Split,
    augment: Callable[[Pixels, int], Pixels] | None,
    recipe: Recipe,
    *,
    seeds: Sequence[int] | None = None,
    features: np.ndarray | None = None,
    pin_memory: bool = False,
) -> DataLoader[Batch | AssayError]:
    """Return the DataLoader of a split in its own order, for validation and embeddings.

    Args are those of `training_loader`; `seeds` are augmentation seeds, one per image.
    """
    spec = recipe.train
    batches = Batches(InOrder(len(split.targets), seeds), spec.batch_size)
    if features is not None:
        return make_loader(FeatureData(features, split.targets), batches, workers=0, seed=spec.seed)
    return make_loader(
        PhotoData(split, augment),
        batches,
        workers=_workers(recipe, len(split.targets)),
        seed=spec.seed,
        pin_memory=pin_memory,
    )


def loss_weights(head: Head, spec: TrainSpec, train: Split) -> Tensor | None:
    """Return the class weights [C] of a run with weighted loss, else None."""
    if spec.balance != "weights":
        return None
    return class_weights(train.targets, head.fc.out_features)


def _workers(recipe: Recipe, photos: int) -> int:
    size = recipe.preprocess.size
    batch = min(recipe.train.batch_size, max(1, photos))
    return worker_count(recipe.train.workers, photos, batch * size * size * 3)
