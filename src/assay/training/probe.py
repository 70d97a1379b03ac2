"""Embeddings of photos by a backbone that does not change: computed once, for any number of epochs.

Where the recipe changes photos, each has a number of views. Knows nothing of the head, the loss or the loop.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader

from assay.errors import AssayError
from assay.nets import Classifier
from assay.progress import Progress, silent
from assay.recipe import Recipe
from assay.training.loader import Batch, Batches, InOrder, PhotoData, Photos, Pixels, Split, make_loader
from assay.training.preparation import augmentation, ordered_loader
from assay.training.seeds import view_seed

Embed = Callable[[Pixels], npt.NDArray[np.float32]]
"""uint8 [N, S, S, 3] to float32 [N, D]: the frozen backbone and the pooling, compiled or not."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """Embeddings of both splits, on which a head is trained and validated."""

    train: npt.NDArray[np.float32]
    """[V, N, D]: V augmented views of the training images."""
    val: npt.NDArray[np.float32]
    """[N, D]: the validation images."""


_TELL = "computing embeddings"


def on_features(recipe: Recipe) -> bool:
    """Return whether the head of a recipe is trained on cached embeddings."""
    return recipe.train.strategy == "probe" and (not recipe.augment.train or recipe.train.views > 0)


def view_count(recipe: Recipe) -> int:
    """Return the number of cached views of a training image: one without augmentation."""
    return recipe.train.views if recipe.augment.train else 1


def embed_splits(
    recipe: Recipe, train: Split, val: Split, embed: Embed, progress: Progress = silent
) -> Embedded:
    """Compute the embeddings of both splits; the augmentation seed of an image depends on its index.

    Raises:
        AssayError: an image cannot be read.
    """
    augment = augmentation(recipe)
    views = []
    for view in range(view_count(recipe)):
        seeds = [view_seed(recipe.train.seed, view, str(index)) for index in range(len(train.targets))]
        views.append(features_of(ordered_loader(train, augment, recipe, seeds=seeds), embed, progress))
    return Embedded(np.stack(views), features_of(ordered_loader(val, None, recipe), embed, progress))


def features(
    network: Classifier,
    pixels: Photos,
    batch_size: int = 32,
    *,
    embed: Embed | None = None,
    device: torch.device | None = None,
    progress: Progress = silent,
) -> npt.NDArray[np.float32]:
    """Compute the embeddings of images in this process.

    Args:
        network: set to evaluation mode.
        pixels: images of the network's input size.
        batch_size: images per forward pass.
        embed: used instead of `network`, for example a compiled engine.
        device: to run `network` on; none: its current device.
        progress: called after every batch.

    Returns:
        float32 array [N, D], in the order of the images.

    Raises:
        AssayError: an image cannot be read.
    """
    data = PhotoData(Split(pixels, np.zeros(len(pixels), dtype=np.int64)))
    loader = make_loader(data, Batches(InOrder(len(pixels)), batch_size), workers=0)
    return features_of(loader, embed or eager(network, device), progress)


def features_of(
    loader: DataLoader[Batch | AssayError], embed: Embed, progress: Progress = silent
) -> npt.NDArray[np.float32]:
    """Compute the embeddings of a loader's images, in its order.

    Raises:
        AssayError: an image cannot be read.
    """
    return np.concatenate(list(stream_features(loader, embed, progress)))


def stream_features(
    loader: DataLoader[Batch | AssayError], embed: Embed, progress: Progress = silent
) -> Iterator[npt.NDArray[np.float32]]:
    """Yield the embeddings of a loader's images batch by batch.

    Raises:
        AssayError: an image cannot be read.
    """
    for done, batch in enumerate(loader, start=1):
        if isinstance(batch, AssayError):
            raise batch
        yield np.asarray(embed(batch[0].numpy()), dtype=np.float32)
        progress(_TELL, done, len(loader))


def eager(network: Classifier, device: torch.device | None = None) -> Embed:
    """Return a function that embeds images with the network in evaluation mode and 32 bits on a device."""
    place = device or next(network.parameters()).device
    network.to(place).eval()

    @torch.inference_mode()
    def embed(images: Pixels) -> npt.NDArray[np.float32]:
        found: npt.NDArray[np.float32] = (
            network.embed(torch.from_numpy(images).to(place)).float().cpu().numpy()
        )
        return found

    return embed
