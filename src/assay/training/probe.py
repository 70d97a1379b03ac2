"""Embeddings of photos by a backbone that does not change: computed once, for any number of epochs.

Knows nothing of the head, the loss or the loop.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader

from assay.errors import AssayError
from assay.nets import Classifier
from assay.progress import Progress, silent
from assay.training.loader import Batch, Batches, InOrder, PhotoData, Photos, Pixels, Split, make_loader

Embed = Callable[[Pixels], npt.NDArray[np.float32]]
"""uint8 [N, S, S, 3] to float32 [N, D]: the frozen backbone and the pooling, compiled or not."""

_TELL = "computing embeddings"


def features(
    network: Classifier,
    pixels: Photos,
    batch_size: int = 32,
    *,
    embed: Embed | None = None,
    device: torch.device | None = None,
    progress: Progress = silent,
) -> npt.NDArray[np.float32]:
    """Compute the embedding of every photo, in this process.

    Args:
        network: put into evaluation mode.
        pixels: photos of the network's input size.
        batch_size: photos a forward pass.
        embed: does the work instead of `network`, for example in a compiled engine.
        device: where `network` runs; none: where it is.
        progress: told after every batch.

    Returns:
        float32 array [N, D], in the order of the photos.

    Raises:
        AssayError: a photo cannot be read.
    """
    data = PhotoData(Split(pixels, np.zeros(len(pixels), dtype=np.int64)))
    loader = make_loader(data, Batches(InOrder(len(pixels)), batch_size), workers=0)
    return features_of(loader, embed or eager(network, device), progress)


def features_of(
    loader: DataLoader[Batch | AssayError], embed: Embed, progress: Progress = silent
) -> npt.NDArray[np.float32]:
    """Compute the embeddings of the photos of a loader, in its order.

    Raises:
        AssayError: a photo cannot be read.
    """
    parts = []
    for done, batch in enumerate(loader, start=1):
        if isinstance(batch, AssayError):
            raise batch
        parts.append(np.asarray(embed(batch[0].numpy()), dtype=np.float32))
        progress(_TELL, done, len(loader))
    return np.concatenate(parts)


def eager(network: Classifier, device: torch.device | None = None) -> Embed:
    """Return the network's own embedding, on a device, in evaluation mode and 32 bits."""
    place = device or next(network.parameters()).device
    network.to(place).eval()

    @torch.inference_mode()
    def embed(images: Pixels) -> npt.NDArray[np.float32]:
        found: npt.NDArray[np.float32] = (
            network.embed(torch.from_numpy(images).to(place)).float().cpu().numpy()
        )
        return found

    return embed
