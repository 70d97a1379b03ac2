"""What more photos would bring: the learning curve of a linear probe on a recipe's backbone."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from assay.core.errors import AssayError, UsageError
from assay.core.progress import Progress, no_progress
from assay.data import Sample, as_path, validation_folds
from assay.data.loading import load_split_dataset
from assay.evaluation.learning_curve import CurvePoint, LearningCurve, curve_point, extrapolate
from assay.pipeline.build_network import build_model
from assay.pipeline.cached_embeddings import FrozenBackbone
from assay.recipe import Recipe
from assay.training.logistic_regression import Embeddings, FoldIndices, Targets, cross_fit, fit_logistic

_FOLDS = 5
_PARTS = 4
"""Training images are added in this many equal parts."""
_REPEATS = 3
_FEW_IMAGES = 2_000
"""With more images, folds differ little: they are made once, not three times."""
_FACTORS = (2.0, 4.0)


@dataclass(frozen=True)
class _EmbeddedSamples:
    samples: tuple[Sample, ...]
    embeddings: Embeddings
    targets: Targets
    classes: int

    @cached_property
    def _row_by_id(self) -> dict[str, int]:
        return {sample.id: row for row, sample in enumerate(self.samples)}

    def rows(self, samples: Sequence[Sample]) -> npt.NDArray[np.int64]:
        return np.array([self._row_by_id[sample.id] for sample in samples], dtype=np.int64)


def probe_learning_curve(data: Path, recipe: Recipe, progress: Progress = no_progress) -> LearningCurve:
    """Measure how the accuracy of a linear probe rises with the number of training images, and extrapolate it.

    Every image is embedded once by the recipe's pretrained backbone. Heads are then trained on 25, 50, 75 and 100 % of
    the training images of each fold, and evaluated on its held-out images. Images of one group stay together, and
    those of the test split are not used.

    Args:
        data: as for `train_classifier`.
        recipe: its data, preprocessing, network and seed are used.
        progress: called during reading, embedding and fitting.

    Raises:
        UsageError: the recipe's network has no pretrained weights.
        AssayError: the images or weights cannot be used, or there are too few groups of images.
    """
    if recipe.net.weights == "none":
        raise UsageError(
            f"a learning curve needs pretrained weights, and recipe {recipe.name} trains {recipe.net.name} from random "
            "ones: choose another recipe, such as default"
        )
    dataset = load_split_dataset(
        as_path(data, data.parent, progress),
        recipe.data,
        recipe.train.seed,
        value_range=recipe.preprocess.value_range,
        progress=progress,
    )
    network, spec = build_model(recipe, dataset, progress)
    samples = (*dataset.part("train"), *dataset.part("val"))
    embeddings = FrozenBackbone(network, spec, recipe, dataset, progress).plain(samples)
    known = _EmbeddedSamples(samples, embeddings, dataset.targets(samples), len(dataset.classes))
    return _measure(known, recipe.train.seed, progress)


def _measure(known: _EmbeddedSamples, seed: int, progress: Progress) -> LearningCurve:
    repeats = _REPEATS if len(known.samples) <= _FEW_IMAGES else 1
    images: list[list[int]] = [[] for _ in range(_PARTS)]
    scores: list[list[float]] = [[] for _ in range(_PARTS)]
    strength, done = None, 0
    for repeat in range(repeats):
        folds = validation_folds(known.samples, _FOLDS, seed + repeat)
        if strength is None:
            rows = [FoldIndices(known.rows(fold.train), known.rows(fold.val)) for fold in folds]
            strength = cross_fit(known.embeddings, known.targets, known.classes, rows).strength
        for fold in folds:
            held_out = known.rows(fold.val)
            parts = [known.rows(part.val) for part in validation_folds(fold.train, _PARTS, seed + repeat)]
            for count in range(_PARTS):
                train = np.concatenate(parts[: count + 1])
                if len(np.unique(known.targets[train])) < 2:
                    raise AssayError("a quarter of the training photos holds one class only: add photos")
                head = fit_logistic(known.embeddings[train], known.targets[train], known.classes, strength)
                predicted = head.log_probabilities(known.embeddings[held_out]).argmax(axis=1)
                images[count].append(len(train))
                scores[count].append(float((predicted == known.targets[held_out]).mean()))
            done += 1
            progress("measuring the learning curve", done, repeats * _FOLDS)
    share = 1 / (_FOLDS - 1)
    points: tuple[CurvePoint, ...] = tuple(
        curve_point(count, found, share * _PARTS / part)
        for part, (count, found) in enumerate(zip(images, scores, strict=True), start=1)
    )
    return LearningCurve("accuracy", points, extrapolate(points, _FACTORS, seed))
