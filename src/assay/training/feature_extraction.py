"""Embeddings of images by a frozen backbone, computed once for all epochs."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader

from assay.core.errors import AssayError
from assay.core.progress import Progress, no_progress
from assay.nets import ClassifierNetwork
from assay.recipe import Recipe
from assay.training.dataloaders import (
    Batch,
    ImageDataset,
    ImageSequence,
    LabeledImages,
    Pixels,
    eval_dataloader,
    make_augmentation,
    make_dataloader,
)
from assay.training.random_streams import view_seed
from assay.training.sampling import BatchSampler, SequentialSampler

EmbedFunction = Callable[[Pixels], npt.NDArray[np.float32]]
"""uint8 [N, S, S, 3] to float32 [N, D]: the frozen backbone and the pooling, compiled or not."""


@dataclass(frozen=True, slots=True)
class SplitEmbeddings:
    """Embeddings of both splits, on which a head is trained and validated."""

    train: npt.NDArray[np.float32]
    """[V, N, D]: V augmented views of the training images."""
    val: npt.NDArray[np.float32]
    """[N, D]: the validation images."""


_TASK = "computing embeddings"


def uses_cached_embeddings(recipe: Recipe) -> bool:
    """Return whether the head of a recipe is trained on cached embeddings."""
    return recipe.train.strategy == "probe" and (not recipe.augment.train or recipe.train.augmentation_views > 0)


def view_count(recipe: Recipe) -> int:
    """Return the number of cached views of a training image: one without augmentation."""
    return recipe.train.augmentation_views if recipe.augment.train else 1


def embed_splits(
    recipe: Recipe, train: LabeledImages, val: LabeledImages, embed: EmbedFunction, progress: Progress = no_progress
) -> SplitEmbeddings:
    """Compute the embeddings of both splits; the augmentation seed of an image depends on its index.

    Raises:
        AssayError: an image cannot be read.
    """
    augment = make_augmentation(recipe)
    views = []
    for view in range(view_count(recipe)):
        seeds = [view_seed(recipe.train.seed, view, str(index)) for index in range(len(train.targets))]
        views.append(embeddings_of_loader(eval_dataloader(train, augment, recipe, seeds=seeds), embed, progress))
    return SplitEmbeddings(np.stack(views), embeddings_of_loader(eval_dataloader(val, None, recipe), embed, progress))


def compute_embeddings(
    network: ClassifierNetwork,
    images: ImageSequence,
    batch_size: int = 32,
    *,
    embed: EmbedFunction | None = None,
    device: torch.device | None = None,
    progress: Progress = no_progress,
) -> npt.NDArray[np.float32]:
    """Compute the embeddings of images in this process.

    Args:
        network: set to evaluation mode.
        images: of the network's input size.
        batch_size: images per forward pass.
        embed: used instead of `network`, for example a compiled engine.
        device: to run `network` on; none: its current device.
        progress: called after every batch.

    Returns:
        float32 array [N, D], in the order of the images.

    Raises:
        AssayError: an image cannot be read.
    """
    data = ImageDataset(LabeledImages(images, np.zeros(len(images), dtype=np.int64)))
    loader = make_dataloader(data, BatchSampler(SequentialSampler(len(images)), batch_size), workers=0)
    return embeddings_of_loader(loader, embed or eager_embedder(network, device), progress)


def embeddings_of_loader(
    loader: DataLoader[Batch | AssayError], embed: EmbedFunction, progress: Progress = no_progress
) -> npt.NDArray[np.float32]:
    """Compute the embeddings of a loader's images, in its order.

    Raises:
        AssayError: an image cannot be read.
    """
    return np.concatenate(list(stream_embeddings(loader, embed, progress)))


def stream_embeddings(
    loader: DataLoader[Batch | AssayError], embed: EmbedFunction, progress: Progress = no_progress
) -> Iterator[npt.NDArray[np.float32]]:
    """Yield the embeddings of a loader's images batch by batch.

    Raises:
        AssayError: an image cannot be read.
    """
    for count, batch in enumerate(loader, start=1):
        if isinstance(batch, AssayError):
            raise batch
        yield np.asarray(embed(batch[0].numpy()), dtype=np.float32)
        progress(_TASK, count, len(loader))


def eager_embedder(network: ClassifierNetwork, device: torch.device | None = None) -> EmbedFunction:
    """Return a function that embeds images with the network in evaluation mode and 32 bits on a device."""
    device = device or next(network.parameters()).device
    network.to(device).eval()

    @torch.inference_mode()
    def embed(images: Pixels) -> npt.NDArray[np.float32]:
        embeddings: npt.NDArray[np.float32] = network.embed(torch.from_numpy(images).to(device)).float().cpu().numpy()
        return embeddings

    return embed
