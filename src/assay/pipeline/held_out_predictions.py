"""Predictions on held-out images, to which temperature, threshold and novelty limit are fitted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from assay.core.progress import Progress, no_progress
from assay.data import Dataset, Sample, Split
from assay.evaluation import Predictions
from assay.inference import Classifier, NoveltyDetector, fit_novelty
from assay.nets import ClassifierNetwork as Network
from assay.pipeline.cached_embeddings import CachedEmbeddings
from assay.pipeline.dataset_evaluation import labelled_predictions, predict_dataset
from assay.training.linear_heads import CrossFit, Embeddings, FoldIndices, LinearHead

_NOVELTY_IMAGES = 2000
_NOVELTY_IMAGES_PER_CLASS = 20
_MAX_NOVELTY_IMAGES = 5000
_NOVELTY_IMAGES_PER_FOLD = 1000

Distances = npt.NDArray[np.float64]


class OtherNetwork(NamedTuple):
    """A network like the final one, and images that it was not trained on."""

    network: Network
    samples: Sequence[Sample]


class HeldOut(Protocol):
    """How a classifier, at any precision, predicts images that it was not trained on."""

    @property
    def is_cross_validated(self) -> bool:
        """Whether the images are predicted by cross-validation, and the final network was trained on them."""

    @property
    def groups(self) -> Sequence[str | None]:
        """The groups of the images that `predictions` returns; None: in no group."""

    @property
    def other_network(self) -> OtherNetwork | None:
        """A network to quantize for the accuracy at int8; None: `predictions` takes the final one at any precision."""

    def predictions(self, classifier: Classifier) -> Predictions:
        """Return its predictions at temperature 1, with embeddings.

        Args:
            classifier: of the bundle, at temperature 1.
        """

    def training(self, classifier: Classifier) -> Predictions:
        """Return its predictions on at most 5,000 training images, to which the novelty detector is fitted."""

    def distances(self, novelty: NoveltyDetector, predictions: Predictions) -> Distances:
        """Return the novelty distances, float64 [N], of what `predictions` returned."""


@dataclass(frozen=True)
class HeldOutSplit:
    """The images of a split that was not used for training.

    Attributes:
        dataset: every image has its split.
        seed: of the sample of training images.
        cached: as for `predict_dataset`.
        progress: called during prediction.
        split: `val` or `test`.
    """

    dataset: Dataset
    seed: int
    cached: CachedEmbeddings | None = None
    progress: Progress = no_progress
    split: Split = "val"

    @property
    def is_cross_validated(self) -> bool:
        """False: the split was not used for training."""
        return False

    @property
    def groups(self) -> Sequence[str | None]:
        """The groups of the split."""
        return [sample.group for sample in self.dataset.part(self.split)]

    @property
    def other_network(self) -> OtherNetwork | None:
        """None."""
        return None

    def predictions(self, classifier: Classifier) -> Predictions:
        """Predict the split."""
        samples = self.dataset.part(self.split)
        return predict_dataset(classifier, self.dataset, samples, self.progress, cached=self.cached)

    def training(self, classifier: Classifier) -> Predictions:
        """Predict a sample of the `train` split."""
        chosen = novelty_sample(self.dataset, self.dataset.part("train"), self.seed)
        return predict_dataset(classifier, self.dataset, chosen, self.progress, cached=self.cached)

    def distances(self, novelty: NoveltyDetector, predictions: Predictions) -> Distances:
        """Return the distances of the split, which the detector was not fitted to."""
        return novelty.distance(_embedding(predictions))


@dataclass(frozen=True)
class FineTunedFolds:
    """Images predicted by networks that were fine-tuned without them; the final one is trained on all of them.

    Attributes:
        dataset: of the images.
        samples: of the rows.
        folds: one network each; no row is held out twice, all of the `val` split are held out.
        held_out: predictions of the networks of all folds at temperature 1, without embeddings.
        network: returns the network of a fold.
        embeddings: returns the embeddings of rows by the network of a fold, float32 [N, D].
        seed: of the sample of training images.
        progress: called during prediction.
    """

    dataset: Dataset
    samples: Sequence[Sample]
    folds: Sequence[FoldIndices]
    held_out: Predictions
    network: Callable[[int], Network]
    embeddings: Callable[[int, npt.NDArray[np.int64]], Embeddings]
    seed: int
    progress: Progress = no_progress

    @property
    def is_cross_validated(self) -> bool:
        """True: the images are predicted by networks that were not trained on them."""
        return True

    @property
    def groups(self) -> Sequence[str | None]:
        """The groups of the held-out images, fold after fold."""
        return [self.samples[row].group for fold in self.folds for row in fold.held_out]

    @property
    def other_network(self) -> OtherNetwork | None:
        """The network of the first fold."""
        return OtherNetwork(self.network(0), [self.samples[row] for row in self.folds[0].held_out])

    def predictions(self, classifier: Classifier) -> Predictions:
        """Return the predictions of the folds' networks, which have the precision of training."""
        del classifier
        return self.held_out

    def training(self, classifier: Classifier) -> Predictions:
        """Predict a sample of the images, which the final network was trained on."""
        return predict_dataset(
            classifier, self.dataset, novelty_sample(self.dataset, self.samples, self.seed), self.progress
        )

    def distances(self, novelty: NoveltyDetector, predictions: Predictions) -> Distances:
        """Return the distances by detectors that were fitted to embeddings of the fold's network."""
        del novelty, predictions
        targets = self.dataset.targets(self.samples)
        count = _novelty_count(_NOVELTY_IMAGES_PER_FOLD, len(self.dataset.classes))
        distances = []
        for number, fold in enumerate(self.folds):
            rows = fold.train[rows_by_class(targets[fold.train], self.seed, count)]
            found = self.embeddings(number, np.concatenate([rows, fold.held_out]))
            detector = fit_novelty(found[: len(rows)], targets[rows])
            distances.append(detector.distance(found[len(rows) :]))
            self.progress("fitting the novelty limit", number + 1, len(self.folds))
        return np.concatenate(distances)


@dataclass(frozen=True)
class CrossFittedHeads:
    """Images predicted by heads that were not trained on them; the final head is trained on all of them.

    Attributes:
        dataset: of the images.
        samples: of the rows.
        embeddings: of the frozen backbone, float32 [N, D].
        folds: of the cross-fit.
        fit: heads and predictions on held-out rows.
        offsets: added to the logits of every head, float64 [C].
        head: the final one.
        seed: of the sample of training images.
        progress: called during prediction.
    """

    dataset: Dataset
    samples: Sequence[Sample]
    embeddings: Embeddings
    folds: Sequence[FoldIndices]
    fit: CrossFit
    offsets: npt.NDArray[np.float64]
    head: LinearHead
    seed: int
    progress: Progress = no_progress

    @property
    def is_cross_validated(self) -> bool:
        """True: every image is predicted by a head that was not trained on it."""
        return True

    @property
    def groups(self) -> Sequence[str | None]:
        """The groups of the held-out images, fold after fold."""
        return [self.samples[row].group for row in self.fit.rows]

    @property
    def other_network(self) -> OtherNetwork | None:
        """None."""
        return None

    def predictions(self, classifier: Classifier) -> Predictions:
        """Apply the head of every fold to the embeddings of its held-out images by a classifier."""
        held_out = [self.samples[row] for row in self.fit.rows]
        if classifier.precision == "fp32":
            # The same network: its embeddings are known.
            embeddings, logits = self.embeddings[self.fit.rows], self.fit.log_probabilities
        else:
            found = _embedding(predict_dataset(classifier, self.dataset, held_out, self.progress))
            embeddings = found
            logits = np.concatenate(
                [head.log_probabilities(rows) for head, rows in zip(self.fit.heads, self._by_fold(found), strict=True)]
            )
        return labelled_predictions(self.dataset.classes, held_out, softmax(logits + self.offsets, axis=1), embeddings)

    def training(self, classifier: Classifier) -> Predictions:
        """Return the predictions of the final head on a sample of the images it was trained on."""
        del classifier
        row_of = {sample.id: row for row, sample in enumerate(self.samples)}
        chosen = novelty_sample(self.dataset, self.samples, self.seed)
        embeddings = self.embeddings[[row_of[sample.id] for sample in chosen]]
        logits = self.head.log_probabilities(embeddings)
        return labelled_predictions(self.dataset.classes, chosen, softmax(logits, axis=1), embeddings)

    def distances(self, novelty: NoveltyDetector, predictions: Predictions) -> Distances:
        """Return the distances by detectors that were fitted without the images of the fold."""
        del novelty
        targets, embeddings = self.dataset.targets(self.samples), _embedding(predictions)
        count = _novelty_count(_NOVELTY_IMAGES_PER_FOLD, len(self.dataset.classes))
        distances = []
        for fold, held_out in zip(self.folds, self._by_fold(embeddings), strict=True):
            rows = fold.train[rows_by_class(targets[fold.train], self.seed, count)]
            distances.append(fit_novelty(self.embeddings[rows], targets[rows]).distance(held_out))
        return np.concatenate(distances)

    def _by_fold(self, embeddings: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
        """Split the embeddings of the held-out images into those of every fold."""
        return np.split(embeddings, np.cumsum([len(fold.held_out) for fold in self.folds])[:-1])


def novelty_sample(dataset: Dataset, samples: Sequence[Sample], seed: int) -> list[Sample]:
    """Choose training images for the novelty detector: 2,000, or 20 per class, at most 5,000."""
    return sample_per_class(dataset, samples, seed, _novelty_count(_NOVELTY_IMAGES, len(dataset.classes)))


def _novelty_count(least: int, classes: int) -> int:
    """Return how many images a novelty detector is fitted to: `least`, or 20 per class, at most 5,000."""
    return min(_MAX_NOVELTY_IMAGES, max(least, _NOVELTY_IMAGES_PER_CLASS * classes))


def sample_per_class(dataset: Dataset, samples: Sequence[Sample], seed: int, count: int) -> list[Sample]:
    """Choose at most `count` images at random, 20 of every class first."""
    return [samples[row] for row in rows_by_class(dataset.targets(samples), seed, count)]


def rows_by_class(targets: npt.NDArray[np.int64], seed: int, count: int) -> list[int]:
    """Return at most `count` rows chosen at random, 20 of every class first, in ascending order."""
    seen: dict[int, int] = {}
    first: list[int] = []
    others: list[int] = []
    for row in np.random.default_rng(seed).permutation(len(targets)).tolist():
        label = int(targets[row])
        seen[label] = seen.get(label, 0) + 1
        (first if seen[label] <= _NOVELTY_IMAGES_PER_CLASS else others).append(row)
    return sorted((first + others)[:count])


def _embedding(predictions: Predictions) -> npt.NDArray[np.float32]:
    if predictions.embedding is None:
        raise ValueError("the predictions have no embeddings")
    return predictions.embedding
