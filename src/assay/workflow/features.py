"""A frozen backbone, compiled, and the embeddings it gives of a data set's photos, kept on the disk.

An embedding is known by the photo's bytes, the preprocessing, the backbone's weights and the runtime; for a
changed view also by the changes and their seed. Whatever else a run sets (head, rates, epochs, parts) finds
it again, and no photo is decoded. Knows nothing of folds or heads.
"""

import hashlib
from collections.abc import Callable, Sequence
from functools import cached_property
from importlib.metadata import version

import numpy as np
import numpy.typing as npt
from torch.utils.data import DataLoader

from assay.bundle.export import export_onnx, frozen_copy
from assay.data import Dataset, EmbeddingCache, PixelCache, Pixels, Sample
from assay.data.samples import Split
from assay.errors import AssayError
from assay.image import Preprocess
from assay.inference import AUTO, ENGINES, EngineError, create_engine
from assay.inference.openvino_engine import import_openvino
from assay.nets import Classifier as Network
from assay.progress import Progress, silent
from assay.recipe import PreprocessSpec, Recipe
from assay.training import Embed, Embedded
from assay.training import Split as Labelled
from assay.training.loader import Batch
from assay.training.preparation import augmentation, ordered_loader
from assay.training.probe import stream_features, view_count
from assay.training.seeds import view_seed

_BATCH = 32
_PACKAGES = {"openvino": "openvino", "onnxruntime": "onnxruntime"}


def compiled_backbone(network: Network, size: int, engine: str = AUTO) -> Embed:
    """Compile a network's backbone and pooling.

    Photos always go through it in batches of one size, so that the embedding of a photo does not depend on
    which others are asked for with it.

    Args:
        network: with its final backbone weights; the head does not matter.
        size: side of the images in pixels.
        engine: the runtime.

    Returns:
        A function from uint8 [N, S, S, 3] to float32 [N, D].
    """
    ready = create_engine(engine, export_onnx(frozen_copy(network), size))

    def embed(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        rows = []
        for start in range(0, len(images), _BATCH):
            part = images[start : start + _BATCH]
            whole = np.resize(part, (_BATCH, *part.shape[1:]))
            rows.append(ready.run(whole).embedding[: len(part)])
        return np.concatenate(rows)

    return embed


def labelled(dataset: Dataset, part: Split, spec: PreprocessSpec, recipe: Recipe | None = None) -> Labelled:
    """Return the photos of one part: with a recipe on the canvas of training, else as they are judged."""
    samples = dataset.part(part)
    return Labelled(_pixels(dataset, samples, spec, recipe), dataset.targets(samples))


class FrozenBackbone:
    """The embeddings of a data set's photos under one backbone; compiled when the first is missing.

    Args:
        network: with its final backbone weights.
        spec: the preprocessing, with mean and standard deviation.
        recipe: its augmentation, canvas, views and seed make the views of training photos.
        dataset: all photos of the data set.
        progress: told how many batches are done.
    """

    def __init__(
        self,
        network: Network,
        spec: PreprocessSpec,
        recipe: Recipe,
        dataset: Dataset,
        progress: Progress = silent,
    ) -> None:
        self._network = network
        self._spec = spec
        self._recipe = recipe
        self._dataset = dataset
        self._progress = progress
        self._cache = EmbeddingCache(sample.digest for sample in dataset.samples)

    def embedded(self) -> Embedded:
        """Return what a head learns from: all views of the training photos, and the validation photos.

        Raises:
            AssayError: a photo cannot be read.
        """
        val = self.plain(self._dataset.part("val"))
        train = self._dataset.part("train")
        if self._augment is None:
            return Embedded(self.plain(train)[np.newaxis], val)
        return Embedded(np.stack([self.view(train, view) for view in range(view_count(self._recipe))]), val)

    def keep_all(self) -> None:
        """Compute whatever any run of this recipe may ask for, in whichever part each photo will be."""
        self.plain(self._dataset.samples)
        if self._augment is not None:
            for view in range(view_count(self._recipe)):
                self.view(self._dataset.samples, view)

    def kept(self, samples: Sequence[Sample]) -> npt.NDArray[np.float32] | None:
        """Return the embeddings of unchanged photos, float32 [N, D], if every one of them is on the disk."""
        slots = self._cache.open(self._settings(None), self._network.backbone.channels)
        found = [None if sample.digest is None else slots.get(sample.digest) for sample in samples]
        slots.close()
        rows = [row for row in found if row is not None]
        return np.stack(rows) if rows and len(rows) == len(found) else None

    def plain(self, samples: Sequence[Sample]) -> npt.NDArray[np.float32]:
        """Return the embeddings of unchanged photos, float32 [N, D].

        Raises:
            AssayError: a photo cannot be read.
        """
        return self._rows(samples, None)

    def view(self, samples: Sequence[Sample], view: int) -> npt.NDArray[np.float32]:
        """Return the embeddings of one changed view of photos, counted from 0, float32 [N, D].

        Raises:
            AssayError: a photo cannot be read.
        """
        return self._rows(samples, view)

    @cached_property
    def _augment(self) -> Callable[[npt.NDArray[np.uint8], int], npt.NDArray[np.uint8]] | None:
        return augmentation(self._recipe)

    @cached_property
    def _embed(self) -> Embed:
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
            settings["changes"] = changes.model_dump(mode="json", include={"train", "canvas"})
            # Without random changes all seeds see the same.
            settings["view"] = [self._recipe.train.seed, view] if changes.train else 0
            settings["made by"] = version("albumentations")
        return settings

    def _rows(self, samples: Sequence[Sample], view: int | None) -> npt.NDArray[np.float32]:
        width = self._network.backbone.channels
        slots = self._cache.open(self._settings(view), width)
        rows = np.empty((len(samples), width), np.float32)
        missing: list[int] = []
        for place, sample in enumerate(samples):
            kept = None if sample.digest is None else slots.get(sample.digest)
            if kept is None:
                missing.append(place)
            else:
                rows[place] = kept
        if missing:
            done = 0
            for batch in stream_features(
                self._loader([samples[place] for place in missing], view), self._embed, self._progress
            ):
                for place, row in zip(missing[done : done + len(batch)], batch, strict=True):
                    rows[place] = row
                    if _unchanged(samples[place]):
                        slots.put(str(samples[place].digest), row)
                done += len(batch)
        slots.close()
        return rows

    def _loader(self, samples: Sequence[Sample], view: int | None) -> DataLoader[Batch | AssayError]:
        recipe = None if view is None else self._recipe
        split = Labelled(
            _pixels(self._dataset, samples, self._spec, recipe), np.zeros(len(samples), dtype=np.int64)
        )
        seeds = [
            view_seed(self._recipe.train.seed, view or 0, sample.digest or sample.id) for sample in samples
        ]
        return ordered_loader(split, None if view is None else self._augment, self._recipe, seeds=seeds)


def backbone_key(network: Network, spec: PreprocessSpec) -> str:
    """Return a name for the backbone's weights and what it sees, the same for the same embeddings."""
    digest = hashlib.sha256(spec.model_dump_json().encode())
    for name, tensor in network.state_dict().items():
        if not name.startswith("head."):
            digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _pixels(
    dataset: Dataset, samples: Sequence[Sample], spec: PreprocessSpec, recipe: Recipe | None
) -> Pixels:
    preprocess = Preprocess(spec)
    if recipe is not None:
        preprocess = preprocess.scaled(recipe.augment.canvas)
    return Pixels(samples, preprocess, PixelCache(sample.digest for sample in dataset.samples))


def _unchanged(sample: Sample) -> bool:
    """Whether a file still is what it was when it was scanned: another's embedding must not get its name."""
    try:
        return sample.digest is not None and hashlib.sha256(sample.read()).hexdigest() == sample.digest
    except OSError:
        return False
