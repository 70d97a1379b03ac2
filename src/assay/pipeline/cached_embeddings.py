"""Embeddings of a frozen backbone, cached on disk, and predictions computed from them.

The cache key covers the image's bytes, the preprocessing, the backbone's weights, the runtime and, for
augmented views, the augmentations and their seed; the head, learning rates, epochs and splits do not
matter.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader

from assay.bundle import Bundle
from assay.bundle.onnx_export import export_onnx, frozen_copy
from assay.core.errors import AssayError
from assay.core.progress import Progress, no_progress
from assay.data import Dataset, EmbeddingCache, PixelCache, PreprocessedImages, Sample, Split
from assay.image import Preprocess
from assay.inference import AUTO, ENGINES, Classifier, EngineError, create_engine
from assay.inference.engine import ModelOutputs
from assay.inference.openvino_engine import import_openvino
from assay.nets import ClassifierNetwork as Network
from assay.nets.heads import Head
from assay.pipeline.build_network import rebuild_network
from assay.recipe import PreprocessSpec, Recipe
from assay.training import EmbedFunction, LabeledImages, SplitEmbeddings
from assay.training.dataloaders import Batch, eval_dataloader, make_augmentation
from assay.training.feature_extraction import stream_embeddings, uses_cached_embeddings, view_count
from assay.training.random_streams import view_seed

_BATCH = 32
_PACKAGES = {"openvino": "openvino", "onnxruntime": "onnxruntime"}


def compiled_backbone(network: Network, size: int, engine: str = AUTO) -> EmbedFunction:
    """Compile a network's backbone and pooling.

    The batch size is always the same, so that the embedding of an image does not depend on the others of its batch.

    Args:
        network: with its final backbone weights; the head is not used.
        size: side of the images in pixels.
        engine: the runtime.

    Returns:
        A function from uint8 [N, S, S, 3] to float32 [N, D].
    """
    compiled = create_engine(engine, export_onnx(frozen_copy(network), size))

    def embed(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        rows = []
        for start in range(0, len(images), _BATCH):
            part = images[start : start + _BATCH]
            whole = np.resize(part, (_BATCH, *part.shape[1:]))
            rows.append(compiled.run(whole).embedding[: len(part)])
        return np.concatenate(rows)

    return embed


def labelled_pixels(
    dataset: Dataset, split: Split, spec: PreprocessSpec, recipe: Recipe | None = None
) -> LabeledImages:
    """Return the images and targets of a split for validation, or with a recipe for training by it."""
    samples = dataset.part(split)
    mapping = recipe.data.class_mapping if recipe is not None and recipe.train.source_labels else None
    targets = dataset.targets(samples) if mapping is None else dataset.source_targets(mapping, samples)
    return LabeledImages(preprocessed_images(dataset, samples, spec, recipe), targets)


class FrozenBackbone:
    """Embeddings of a dataset's images by one backbone, which is compiled when the first one is not cached.

    Attributes:
        computed: how many embeddings were not cached so far.

    Args:
        network: with its final backbone weights.
        spec: the preprocessing, with mean and standard deviation.
        recipe: its augmentation, input scale, views and seed define the augmented views of training images.
        dataset: all images of the dataset.
        progress: called after every batch.
    """

    def __init__(
        self,
        network: Network,
        spec: PreprocessSpec,
        recipe: Recipe,
        dataset: Dataset,
        progress: Progress = no_progress,
    ) -> None:
        self._network = network
        self._spec = spec
        self._recipe = recipe
        self._dataset = dataset
        self._progress = progress
        self.computed = 0
        self._cache = EmbeddingCache(sample.digest for sample in dataset.samples)

    def embedded(self) -> SplitEmbeddings:
        """Return the embeddings of all views of the training images, and of the validation images.

        Raises:
            AssayError: an image cannot be read.
        """
        val = self.plain(self._dataset.part("val"))
        train = self._dataset.part("train")
        if self._augment is None:
            return SplitEmbeddings(self.plain(train)[np.newaxis], val)
        return SplitEmbeddings(np.stack([self.view(train, view) for view in range(view_count(self._recipe))]), val)

    def compute_all(self) -> None:
        """Compute and cache all embeddings that runs of this recipe may need, whatever the split."""
        self.plain(self._dataset.samples)
        if self._augment is not None:
            for view in range(view_count(self._recipe)):
                self.view(self._dataset.samples, view)

    def images(self, samples: Sequence[Sample]) -> PreprocessedImages:
        """Return preprocessed images, read through the pixel cache of the dataset."""
        return preprocessed_images(self._dataset, samples, self._spec, None)

    def cached(self, samples: Sequence[Sample]) -> npt.NDArray[np.float32] | None:
        """Return the embeddings of images without augmentation, float32 [N, D], if all of them are cached."""
        slots = self._cache.open(self._settings(None), self._network.head.features)
        found = [None if sample.digest is None else slots.get(sample.digest) for sample in samples]
        slots.close()
        rows = [row for row in found if row is not None]
        return np.stack(rows) if rows and len(rows) == len(found) else None

    def plain(self, samples: Sequence[Sample]) -> npt.NDArray[np.float32]:
        """Return the embeddings of images without augmentation, float32 [N, D].

        Raises:
            AssayError: an image cannot be read.
        """
        return self._rows(samples, None)

    def view(self, samples: Sequence[Sample], view: int) -> npt.NDArray[np.float32]:
        """Return the embeddings of an augmented view of images, float32 [N, D]; views are counted from 0.

        Raises:
            AssayError: an image cannot be read.
        """
        return self._rows(samples, view)

    @cached_property
    def _augment(self) -> Callable[[npt.NDArray[np.uint8], int], npt.NDArray[np.uint8]] | None:
        return make_augmentation(self._recipe)

    @cached_property
    def _embed(self) -> EmbedFunction:
        return compiled_backbone(self._network, self._spec.size, self._engine)

    @cached_property
    def _engine(self) -> str:
        try:
            import_openvino()
        except EngineError:
            return "onnxruntime"
        return next(iter(ENGINES))

    @cached_property
    def _key(self) -> str:
        return backbone_key(self._network, self._spec)

    def _settings(self, view: int | None) -> dict[str, object]:
        settings: dict[str, object] = {
            "backbone": self._key,
            "engine": [self._engine, version(_PACKAGES[self._engine]), "fp32"],
        }
        if view is not None:
            changes = self._recipe.augment
            settings["changes"] = changes.model_dump(mode="json", include={"train", "input_scale"})
            # Without random changes all seeds see the same.
            settings["view"] = [self._recipe.train.seed, view] if changes.train else 0
            settings["made by"] = version("albumentations")
        return settings

    def _rows(self, samples: Sequence[Sample], view: int | None) -> npt.NDArray[np.float32]:
        width = self._network.head.features
        slots = self._cache.open(self._settings(view), width)
        rows = np.empty((len(samples), width), np.float32)
        missing: list[int] = []
        for place, sample in enumerate(samples):
            kept = None if sample.digest is None else slots.get(sample.digest)
            if kept is None:
                missing.append(place)
            else:
                rows[place] = kept
        self.computed += len(missing)
        if missing:
            recipe = None if view is None else self._recipe
            images = preprocessed_images(self._dataset, [samples[place] for place in missing], self._spec, recipe)
            done = 0
            for batch in stream_embeddings(self._loader(images, view), self._embed, self._progress):
                for index, row in enumerate(batch, start=done):
                    rows[missing[index]] = row
                    # An embedding of other content must not be stored under this digest.
                    if images.is_cached(index) or _digest_matches(images.samples[index]):
                        slots.put(str(images.samples[index].digest), row)
                done += len(batch)
        slots.close()
        return rows

    def _loader(self, images: PreprocessedImages, view: int | None) -> DataLoader[Batch | AssayError]:
        labelled = LabeledImages(images, np.zeros(len(images), dtype=np.int64))
        seeds = [view_seed(self._recipe.train.seed, view or 0, sample.digest or sample.id) for sample in images.samples]
        return eval_dataloader(labelled, None if view is None else self._augment, self._recipe, seeds=seeds)


def backbone_key(network: Network, spec: PreprocessSpec) -> str:
    """Return a digest of the backbone's weights and its preprocessing."""
    digest = hashlib.sha256(spec.model_dump_json().encode())
    if network.flip_average:
        digest.update(b"flip_average")
    if network.append_deviations is not None:
        digest.update(b"deviations 1")  # to be counted up when `AppendDeviations` changes
    for name, tensor in network.state_dict().items():
        if not name.startswith("head."):
            digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def preprocessed_images(
    dataset: Dataset, samples: Sequence[Sample], spec: PreprocessSpec, recipe: Recipe | None = None
) -> PreprocessedImages:
    """Return images through the pixel cache of the dataset, at the size of validation, or of a recipe's training."""
    preprocess = Preprocess(spec)
    if recipe is not None:
        preprocess = preprocess.scaled(recipe.augment.input_scale)
    return PreprocessedImages(samples, preprocess, PixelCache(sample.digest for sample in dataset.samples))


def _digest_matches(sample: Sample) -> bool:
    """Whether the file is unchanged since it was scanned; else its embedding would be cached under a wrong key."""
    try:
        return sample.digest is not None and hashlib.sha256(sample.read()).hexdigest() == sample.digest
    except OSError:
        return False


EMBEDDING_TOLERANCE = 1e-4
"""Largest accepted difference of a logit or an embedding value between bundle and cache, and that as a share of it."""

_CHECKED_IMAGES = 16


@dataclass(frozen=True)
class CachedEmbeddings:
    """Cached embeddings of a dataset's images by a bundle's backbone, and its head."""

    backbone: FrozenBackbone
    head: Head

    @classmethod
    def of(cls, bundle: Bundle, dataset: Dataset) -> Self | None:
        """Open the cache; None if the bundle's backbone was trained, since nothing is cached then.

        Args:
            bundle: written by this version, so that its recipe is valid.
            dataset: all images of the dataset.
        """
        recipe = Recipe.model_validate(bundle.info.provenance.recipe)
        if not uses_cached_embeddings(recipe):
            return None
        network = rebuild_network(bundle)
        return cls(FrozenBackbone(network, bundle.info.preprocess, recipe, dataset), network.head)

    def outputs(self, classifier: Classifier, samples: Sequence[Sample]) -> ModelOutputs | None:
        """Return the outputs of a classifier from cached embeddings, without feature maps.

        Args:
            classifier: of the bundle.
            samples: of the dataset.

        Returns:
            None if an embedding is not cached, or if the classifier disagrees on one of 16 evenly spaced images.

        Raises:
            AssayError: an image can no longer be read.
        """
        embedding = self.backbone.cached(samples)
        if embedding is None or not len(embedding):
            return None
        with torch.inference_mode():
            logits = self.head(torch.from_numpy(embedding)).numpy()
        rows = np.unique(np.linspace(0, len(samples) - 1, _CHECKED_IMAGES).round().astype(int))
        pixels = self.backbone.images([samples[row] for row in rows])
        expected = classifier.outputs(np.stack([pixels[row] for row in range(len(rows))]))
        same = _nearly_equal(expected.logits, logits[rows]) and _nearly_equal(expected.embedding, embedding[rows])
        return ModelOutputs(logits, embedding, np.empty((len(samples), 0, 0, 0), np.float32)) if same else None


def _nearly_equal(first: np.ndarray, second: np.ndarray) -> bool:
    tolerance = EMBEDDING_TOLERANCE
    return first.shape == second.shape and np.allclose(first, second, rtol=tolerance, atol=tolerance)
