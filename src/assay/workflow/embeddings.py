"""Embeddings of a whole data set under one frozen backbone, computed once for all runs of a series.

A run that only trains a head on a frozen backbone needs nothing else of its photos; with these, many such
runs share the costliest step. They are known by the pixels they were computed from. Knows nothing of folds.
"""

import hashlib
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from assay.data import Dataset, PixelCache, Pixels
from assay.errors import AssayError
from assay.files import replacing
from assay.image import Preprocess
from assay.nets import Classifier as Network
from assay.progress import Progress, silent
from assay.recipe import PreprocessSpec, Recipe
from assay.training import features
from assay.workflow.features import compiled_backbone


class KnownEmbeddings:
    """Gives the embedding of images that it has seen: an `Embed` for `fit`.

    Args:
        digests: of the images' pixels, uint8 [N, 32].
        rows: their embeddings, float32 [N, D].
    """

    def __init__(self, digests: npt.NDArray[np.uint8], rows: npt.NDArray[np.float32]) -> None:
        self._digests = digests
        self._rows = rows
        self._places = {digest.tobytes(): place for place, digest in enumerate(digests)}

    def __call__(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return the embeddings of uint8 images [N, S, S, 3], float32 [N, D].

        Raises:
            AssayError: an image is none of those it has seen.
        """
        try:
            return self._rows[[self._places[_digest(image)] for image in images]]
        except KeyError:
            raise AssayError(
                "a photo has changed since the series of runs began: start a new one in another folder"
            ) from None

    def save(self, path: Path) -> None:
        """Write an `.npz` file, whole or not at all."""
        with replacing(path) as temporary, temporary.open("wb") as stream:
            np.savez(stream, allow_pickle=False, digests=self._digests, rows=self._rows)

    @classmethod
    def load(cls, path: Path) -> "KnownEmbeddings":
        """Read what `save` wrote.

        Raises:
            AssayError: the file is damaged.
        """
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
                return cls(file["digests"], file["rows"])
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            raise AssayError(f"{path} is damaged: remove it and go on with --resume") from None


def reusable(recipe: Recipe) -> bool:
    """Whether all that a run asks of its photos are embeddings that no seed and no epoch changes."""
    return recipe.train.strategy == "probe" and not recipe.augment.train and recipe.augment.canvas == 1


def backbone_key(network: Network, spec: PreprocessSpec) -> str:
    """Return a name for the backbone's weights and what it sees, the same for the same embeddings."""
    digest = hashlib.sha256(spec.model_dump_json().encode())
    for name, tensor in network.state_dict().items():
        if not name.startswith("head."):
            digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()[:16]


def embed_all(
    network: Network, spec: PreprocessSpec, dataset: Dataset, progress: Progress = silent
) -> KnownEmbeddings:
    """Compute the embedding of every photo of a data set, always in the same batches.

    Raises:
        AssayError: a photo can no longer be read.
    """
    digests: list[bytes] = []
    embed = compiled_backbone(network, spec.size)

    def noting(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        digests.extend(_digest(image) for image in images)
        return embed(images)

    kept = PixelCache(sample.digest for sample in dataset.samples)
    pixels = Pixels(dataset.samples, Preprocess(spec), kept)
    rows = features(network, pixels, embed=noting, progress=progress)
    return KnownEmbeddings(np.frombuffer(b"".join(digests), np.uint8).reshape(len(digests), -1), rows)


def _digest(image: npt.NDArray[np.uint8]) -> bytes:
    return hashlib.sha256(image.tobytes()).digest()
