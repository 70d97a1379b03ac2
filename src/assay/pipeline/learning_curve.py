"""What more photos would bring: the learning curve of a linear probe on a recipe's backbone."""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from assay.bundle import Bundle
from assay.core.errors import AssayError, UsageError
from assay.core.files import read_text
from assay.core.progress import Progress, no_progress
from assay.data import Dataset, Sample, as_path, validation_folds
from assay.data.groups import group_indices
from assay.data.loading import load_split_dataset
from assay.data.splits import too_few_message
from assay.evaluation.learning_curve import FACTORS, LearningCurve, curve_point, extrapolate
from assay.pipeline.build_network import build_model
from assay.pipeline.cached_embeddings import CachedEmbeddings, FrozenBackbone
from assay.recipe import Recipe
from assay.training.linear_heads import Embeddings, FoldIndices, Targets
from assay.training.logistic_regression import cross_fit, fit_logistic

MAX_CLASSES = 200
"""With more classes, fits would take minutes."""

_FOLDS = 5
_PARTS = 4
"""Training images are added in this many equal parts."""
_REPEATS = 2
_FEW_IMAGES = 2_000
"""With more images, folds differ little: they are made once, not twice."""
_MIN_ROUNDS = 2
_MAX_CHARS = 1 << 20
_SELECTION_FOLDS = 3

# Limits on images x embedding values x classes, to which the time of a fit is proportional: about 4 s of CPU per 1e9.
_MAX_FIT = 1e9
_MAX_SELECTION_FIT = 2e8
_MAX_TOTAL = 1e9
"""Of all folds together, unless fewer than two would be measured."""


def require_pretrained(recipe: Recipe) -> None:
    """Check that a learning curve can be measured with a recipe.

    Raises:
        UsageError: the recipe's network has no pretrained weights.
    """
    if recipe.net.weights == "none":
        raise UsageError(
            f"a learning curve needs pretrained weights, and recipe {recipe.name} trains {recipe.net.name} from random "
            "ones: choose another recipe, such as default"
        )


def probe_learning_curve(
    data: Path,
    recipe: Recipe,
    progress: Progress = no_progress,
    *,
    digests: Mapping[str, str] | None = None,
) -> LearningCurve:
    """Embed every image once by the recipe's pretrained backbone, and measure the learning curve of a linear probe.

    Images of the test split are not used.

    Args:
        data: as for `train_classifier`.
        recipe: its data, preprocessing, network and seed are used.
        progress: called during reading, embedding and fitting.
        digests: SHA-256 by sample id of files that this process has already read; see `scan_images`.

    Raises:
        UsageError: the recipe's network has no pretrained weights.
        AssayError: the images or weights cannot be used, there are too few groups of images, or too many classes.
    """
    require_pretrained(recipe)
    dataset = load_split_dataset(
        as_path(data, data.parent, progress),
        recipe.data,
        recipe.train.seed,
        value_range=recipe.preprocess.value_range,
        digests=digests,
        progress=progress,
    )
    network, spec = build_model(recipe, dataset, progress)
    samples = (*dataset.part("train"), *dataset.part("val"))
    embeddings = FrozenBackbone(network, spec, recipe, dataset, progress).plain(samples)
    return measure_learning_curve(
        samples,
        embeddings,
        dataset.targets(samples),
        len(dataset.classes),
        seed=recipe.train.seed,
        progress=progress,
    )


def measure_learning_curve(
    samples: Sequence[Sample],
    embeddings: Embeddings,
    targets: Targets,
    classes: int,
    *,
    seed: int = 0,
    progress: Progress = no_progress,
) -> LearningCurve:
    """Measure how the accuracy of a linear probe rises with the number of training images, and extrapolate it.

    Heads are trained on 25, 50, 75 and 100 % of the training images of each fold, and evaluated on its held-out
    images. Images of one group stay together. Five folds are made twice; with many images or classes fewer
    folds are evaluated, and of very many images only a stratified part is used, so that it takes a few seconds for a
    thousand images and at most about a minute.

    Args:
        samples: of N images, without those of the test split.
        embeddings: float32 [N, D].
        targets: int64 [N], 0 to `classes` - 1.
        classes: number of classes.
        seed: of folds, parts and the interval.
        progress: called after each fold.

    Raises:
        AssayError: there are too few groups of images, or more than `MAX_CLASSES` classes.
    """
    if classes > MAX_CLASSES:
        raise AssayError(f"a learning curve can be measured for at most {MAX_CLASSES} classes; there are {classes:,}")
    groups = len(group_indices(samples))
    if groups < _FOLDS:
        raise AssayError(f"{too_few_message(len(samples), groups)} a learning curve; add photos")
    rows = _row_finder(samples)
    width = embeddings.shape[1] * classes
    used = _stratified_part(samples, int(_MAX_FIT / width), seed)
    rounds = _FOLDS * (_REPEATS if len(used) <= _FEW_IMAGES else 1)
    rounds = min(rounds, max(_MIN_ROUNDS, int(_MAX_TOTAL / (len(used) * width))))
    tried = _stratified_part(used, int(_MAX_SELECTION_FIT / width), seed)
    strength = _select_strength(tried, embeddings[rows(tried)], targets[rows(tried)], classes, seed)
    images: list[list[int]] = [[] for _ in range(_PARTS)]
    scores: list[list[float]] = [[] for _ in range(_PARTS)]
    evaluated: set[int] = set()
    for number in range(rounds):
        repeat, place = divmod(number, _FOLDS)
        if place == 0:
            folds = validation_folds(used, _FOLDS, seed + repeat)
        fold = folds[place]
        held_out = rows(fold.val)
        evaluated.update(held_out.tolist())
        parts = [rows(part.val) for part in validation_folds(fold.train, _PARTS, seed + repeat)]
        for count in range(_PARTS):
            train = np.concatenate(parts[: count + 1])
            if len(np.unique(targets[train])) < 2:
                raise AssayError("a quarter of the training photos holds one class only: add photos")
            head = fit_logistic(embeddings[train], targets[train], classes, strength)
            predicted = head.log_probabilities(embeddings[held_out]).argmax(axis=1)
            images[count].append(len(train))
            scores[count].append(float((predicted == targets[held_out]).mean()))
        progress("measuring the learning curve", number + 1, rounds)
    share = 1 / (_FOLDS - 1)
    points = tuple(
        curve_point(count, found, share * _PARTS / part, len(evaluated))
        for part, (count, found) in enumerate(zip(images, scores, strict=True), start=1)
    )
    available = points[-1].images * len(samples) / len(used)
    factors = FACTORS if len(used) == len(samples) else (1.0, *FACTORS)
    return LearningCurve("accuracy", points, extrapolate(points, [available * factor for factor in factors], seed))


def run_learning_curve(bundle: Bundle, dataset: Dataset, progress: Progress = no_progress) -> LearningCurve | None:
    """Measure the learning curve of a run whose backbone is frozen from its cached embeddings.

    Args:
        bundle: written by this version.
        dataset: all images of the run with their splits.
        progress: called after each fold.

    Returns:
        None if the backbone was trained, an embedding is not cached, or the images do not allow a measurement.
    """
    cached = CachedEmbeddings.of(bundle, dataset)
    samples = (*dataset.part("train"), *dataset.part("val"))
    embeddings = None if cached is None else cached.backbone.cached(samples)
    if embeddings is None:
        return None
    targets, seed = dataset.targets(samples), bundle.info.provenance.seed
    return curve_if_possible(samples, embeddings, targets, len(dataset.classes), seed=seed, progress=progress)


def curve_if_possible(
    samples: Sequence[Sample],
    embeddings: Embeddings,
    targets: Targets,
    classes: int,
    *,
    seed: int = 0,
    progress: Progress = no_progress,
) -> LearningCurve | None:
    """Measure the learning curve as `measure_learning_curve`; None if the images do not allow it."""
    with suppress(AssayError):
        return measure_learning_curve(samples, embeddings, targets, classes, seed=seed, progress=progress)
    return None


def load_learning_curve(path: Path) -> LearningCurve | None:
    """Read a curve that was written as JSON; None if the file is missing or damaged."""
    if not path.is_file():
        return None
    try:
        return LearningCurve.from_dict(json.loads(read_text(path, _MAX_CHARS)))
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        return None


def _stratified_part(samples: Sequence[Sample], most: int, seed: int) -> Sequence[Sample]:
    """Return all samples, or about `most` of them in the same proportions and with whole groups."""
    parts = min(-(-len(samples) // most), len(group_indices(samples)) // _FOLDS)
    return samples if parts < 2 else validation_folds(samples, parts, seed)[0].val


def _select_strength(
    samples: Sequence[Sample], embeddings: Embeddings, targets: Targets, classes: int, seed: int
) -> float:
    """Choose the regularization by cross-validation."""
    rows = _row_finder(samples)
    folds = validation_folds(samples, _SELECTION_FOLDS, seed)
    indices = [FoldIndices(rows(fold.train), rows(fold.val)) for fold in folds]
    if any(len(np.unique(targets[fold.train])) < 2 for fold in indices):
        raise AssayError("a class has too few photos, or groups of them, for a learning curve: add photos")
    return cross_fit(embeddings, targets, classes, indices).strength


def _row_finder(samples: Sequence[Sample]) -> Callable[[Sequence[Sample]], npt.NDArray[np.int64]]:
    """Return a function from some of the samples to their positions."""
    row_by_id = {sample.id: row for row, sample in enumerate(samples)}
    return lambda part: np.array([row_by_id[sample.id] for sample in part], dtype=np.int64)
