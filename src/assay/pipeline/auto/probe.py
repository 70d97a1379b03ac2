"""Candidates with a frozen backbone: a linear head on cached embeddings, scored by grouped cross-validation."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from assay.core.errors import AssayError
from assay.core.progress import Progress
from assay.data import Dataset, Sample, validation_folds
from assay.nets import ClassifierNetwork as Network
from assay.nets import uses_intermediate_features
from assay.pipeline.auto.scores import HeldOutScores
from assay.pipeline.cached_embeddings import FrozenBackbone
from assay.pipeline.held_out_predictions import CrossFittedHeads
from assay.recipe import PreprocessSpec, Recipe
from assay.training.discriminant_analysis import add_discriminant, fit_discriminant
from assay.training.linear_heads import CrossFit, Embeddings, FoldIndices, LinearHead, mean_head
from assay.training.logistic_regression import cross_fit, fit_logistic
from assay.training.logit_adjustment import Objective, logit_offsets

FOLDS = (5, 4, 3, 2)
"""Numbers of folds in order of preference; few groups of images do not allow five."""
_REPEATS = 3
FEW_IMAGES_PER_CLASS = 40
"""With fewer training and validation images of a class, cross-validation is repeated."""
_MAX_CROSS_VALIDATED = 4_000
_MAX_CROSS_VALIDATED_SCORES = 250_000
"""Images, and images x classes, above which the validation split is used: it is large enough, and fits take long."""
_MAX_ABSENT_SHARE = 0.1
"""Share of images whose class may be absent from the training part of their fold, as with one group in a class."""
TWO_HEADS = "mean of two heads"
"""Suffix of the name of a probe with logistic regression and discriminant analysis."""
_ABSENT_LOGIT = -1e4
"""Bias of a class without training images: its probability is 0 at every precision, and all values stay finite."""


@dataclass(frozen=True, eq=False)
class Protocol:
    """The images and folds on which all candidates of a search are compared.

    Attributes:
        dataset: every image has its split.
        samples: the N training and validation images; those of the test split are not used.
        targets: class indices, int64 [N].
        repeats: the folds of every repetition.
        objective: what the candidates are compared by.
        seed: of the folds.
    """

    dataset: Dataset
    samples: tuple[Sample, ...]
    targets: npt.NDArray[np.int64]
    repeats: tuple[tuple[FoldIndices, ...], ...]
    objective: Objective
    seed: int

    @classmethod
    def of(cls, dataset: Dataset, recipe: Recipe) -> "Protocol":
        """Choose the folds: repeated if a class has few images, the validation split alone if there are very many."""
        samples = (*dataset.part("train"), *dataset.part("val"))
        targets, seed = dataset.targets(samples), recipe.train.seed
        counts = np.bincount(targets, minlength=len(dataset.classes))
        few = int(counts[counts > 0].min()) < FEW_IMAGES_PER_CLASS
        folds: tuple[tuple[FoldIndices, ...], ...] = ()
        fits = len(samples) * len(dataset.classes) <= _MAX_CROSS_VALIDATED_SCORES
        for count in FOLDS if fits and len(samples) <= _MAX_CROSS_VALIDATED else ():
            folds = folds or _repeated_folds(samples, targets, count, seed, _REPEATS if few else 1)
        return cls(
            dataset,
            samples,
            targets,
            folds or (split_fold(dataset),),
            recipe.train.objective or "accuracy",
            seed,
        )

    @property
    def is_cross_validated(self) -> bool:
        """Whether all training and validation images are held out once per repetition."""
        return sum(len(fold.held_out) for fold in self.repeats[0]) == len(self.samples)

    @property
    def offsets(self) -> npt.NDArray[np.float64]:
        """What the objective adds to the logits of a head that was trained without balancing, float64 [C]."""
        counts = np.bincount(self.targets, minlength=len(self.dataset.classes))
        return logit_offsets(counts, self.objective, balanced=False)


def split_fold(dataset: Dataset) -> tuple[FoldIndices]:
    """Return the training and validation split as one fold; rows count training images first."""
    training, validation = len(dataset.part("train")), len(dataset.part("val"))
    return (FoldIndices(np.arange(training), np.arange(training, training + validation)),)


def grouped_folds(
    samples: Sequence[Sample], targets: npt.NDArray[np.int64], count: int, seed: int
) -> tuple[FoldIndices, ...]:
    """Return grouped folds; empty if there are too few groups for training parts with all classes.

    A few images of classes with a single group may be held out while their class is absent; they count as mistakes.
    """
    row_of = {sample.id: row for row, sample in enumerate(samples)}
    try:
        folds = validation_folds(samples, count, seed)
    except AssayError:
        return ()
    indices = tuple(
        FoldIndices(
            np.array([row_of[sample.id] for sample in fold.train]),
            np.array([row_of[sample.id] for sample in fold.val]),
        )
        for fold in folds
    )
    absent = sum(int((~np.isin(targets[fold.held_out], targets[fold.train])).sum()) for fold in indices)
    one_class = any(len(np.unique(targets[fold.train])) < 2 for fold in indices)
    return () if one_class or absent > _MAX_ABSENT_SHARE * len(targets) else indices


def _repeated_folds(
    samples: Sequence[Sample], targets: npt.NDArray[np.int64], count: int, seed: int, repeats: int
) -> tuple[tuple[FoldIndices, ...], ...]:
    """Return the folds of every repetition; empty if one of them is not possible."""
    found = tuple(grouped_folds(samples, targets, count, seed + repeat) for repeat in range(repeats))
    return found if all(found) else ()


@dataclass(frozen=True, eq=False)
class EmbeddedImages:
    """A network with pretrained weights, and the embeddings of all images of a protocol by it.

    Attributes:
        network: with pretrained weights.
        recipe: with the network and its preprocessing.
        spec: the preprocessing, with mean and standard deviation.
        embeddings: of all images of the protocol, float32 [N, D].
        computed: how many of the embeddings were not cached.
    """

    network: Network
    recipe: Recipe
    spec: PreprocessSpec
    embeddings: Embeddings
    computed: int


@dataclass(frozen=True, eq=False)
class LinearProbe(EmbeddedImages):
    """A frozen backbone with a linear head, which is fitted to all training and validation images.

    Attributes:
        name: of the candidate.
        fits: one per repetition.
        head: the final one, adjusted for the objective.
        temperatures: of logistic regression and discriminant analysis, if the head is their mean; None: the head is a
            logistic regression.
        scores: on the held-out images.
    """

    name: str
    fits: tuple[CrossFit, ...]
    head: LinearHead
    scores: HeldOutScores
    temperatures: tuple[float, float] | None = None

    def held_out(self, protocol: Protocol, progress: Progress) -> CrossFittedHeads:
        """Return how the bundle of this candidate predicts held-out images."""
        return CrossFittedHeads(
            protocol.dataset,
            protocol.samples,
            self.embeddings,
            protocol.repeats[0],
            self.fits[0],
            protocol.offsets,
            self.head,
            protocol.seed,
            progress,
        )

    def head_on(self, protocol: Protocol, rows: npt.NDArray[np.int64]) -> LinearHead:
        """Fit a head like that of this candidate to some of the images, not adjusted for the objective."""
        return _fit_head(protocol, self.embeddings, rows, self.fits[0].strength, self.temperatures)


def probe_name(recipe: Recipe) -> str:
    """Return the name of a linear probe in tables and messages."""
    spec = recipe.preprocess
    features = ", intermediate features" if uses_intermediate_features(recipe.net) else ""
    flips = ", with mirror images" if recipe.net.flip_average else ""
    return f"linear probe, {recipe.net.name}, {spec.resize_mode}, {spec.size} pixels{features}{flips}"


def embed_images(
    protocol: Protocol,
    recipe: Recipe,
    model: tuple[Network, PreprocessSpec],
    progress: Progress,
    superset: Embeddings | None = None,
) -> EmbeddedImages:
    """Embed all images of a protocol, as far as their embeddings are not known.

    Args:
        protocol: images and folds.
        recipe: of the network.
        model: the network with pretrained weights, and its preprocessing.
        progress: called during embedding.
        superset: known embeddings of which those of the network are the first columns.

    Raises:
        AssayError: an image cannot be read.
    """
    network, spec = model
    backbone = FrozenBackbone(network, spec, recipe, protocol.dataset, progress)
    if superset is None:
        embeddings = backbone.plain(protocol.samples)
    else:
        embeddings = np.ascontiguousarray(superset[:, : network.head.features])
    return EmbeddedImages(network, recipe, spec, embeddings, backbone.computed)


def fit_probe(
    protocol: Protocol,
    recipe: Recipe,
    model: tuple[Network, PreprocessSpec],
    progress: Progress,
    superset: Embeddings | None = None,
) -> LinearProbe:
    """Embed all images, choose the regularization by cross-validation, and fit the final head.

    Args:
        protocol: images and folds.
        recipe: of the candidate.
        model: its network with the pretrained weights, whose head is replaced, and its preprocessing.
        progress: called during embedding and fitting.
        superset: see `embed_images`.

    Raises:
        AssayError: an image cannot be read.
    """
    embedded = embed_images(protocol, recipe, model, progress, superset)
    embeddings = embedded.embeddings
    classes = len(protocol.dataset.classes)
    fits = []
    for folds in protocol.repeats:
        fits.append(cross_fit(embeddings, protocol.targets, classes, folds))
        progress("fitting heads", len(fits), len(protocol.repeats))
    return LinearProbe(
        **vars(embedded),
        name=probe_name(recipe),
        fits=tuple(fits),
        head=_final_head(protocol, embedded.network, embeddings, fits[0].strength),
        scores=_scores(protocol, fits),
    )


def with_discriminant(protocol: Protocol, probe: LinearProbe) -> LinearProbe:
    """Return a probe whose head is the mean of logistic regression and discriminant analysis.

    Args:
        protocol: images and folds.
        probe: with logistic regression; its network is copied.
    """
    fits, temperatures = add_discriminant(
        probe.fits, protocol.repeats, probe.embeddings, protocol.targets, len(protocol.dataset.classes)
    )
    network = copy.deepcopy(probe.network)
    return replace(
        probe,
        name=f"{probe.name}, {TWO_HEADS}",
        network=network,
        fits=fits,
        head=_final_head(protocol, network, probe.embeddings, fits[0].strength, temperatures),
        scores=_scores(protocol, fits),
        temperatures=temperatures,
    )


def _scores(protocol: Protocol, fits: Sequence[CrossFit]) -> HeldOutScores:
    # Every repetition holds out the same images in another order.
    rows = np.sort(fits[0].rows)
    logits = [fit.log_probabilities[np.argsort(fit.rows)] + protocol.offsets for fit in fits]
    samples = [protocol.samples[row] for row in rows]
    return HeldOutScores.of(samples, protocol.targets[rows], logits, protocol.objective)


def _fit_head(
    protocol: Protocol,
    embeddings: Embeddings,
    rows: npt.NDArray[np.int64],
    strength: float,
    temperatures: tuple[float, float] | None,
) -> LinearHead:
    """Fit a logistic regression, or with `temperatures` its mean with a discriminant analysis, to some images."""
    chosen, targets, classes = embeddings[rows], protocol.targets[rows], len(protocol.dataset.classes)
    head = fit_logistic(chosen, targets, classes, strength)
    if temperatures is None:
        return head
    return mean_head(head, fit_discriminant(chosen, targets, classes), temperatures)


def _final_head(
    protocol: Protocol,
    network: Network,
    embeddings: Embeddings,
    strength: float,
    temperatures: tuple[float, float] | None = None,
) -> LinearHead:
    """Fit a head to all images, adjust it for the objective, and copy it into the network."""
    plain = _fit_head(protocol, embeddings, np.arange(len(protocol.samples)), strength, temperatures)
    head = LinearHead(plain.weight, (plain.bias + protocol.offsets).astype(np.float32))
    load_head(network, head)
    return head


def load_head(network: Network, head: LinearHead) -> None:
    """Copy a fitted head into a network, in place; classes without training images get a bias of -10,000."""
    with torch.no_grad():
        network.head.fc.weight.copy_(torch.from_numpy(head.weight))
        network.head.fc.bias.copy_(torch.from_numpy(np.maximum(head.bias, np.float32(_ABSENT_LOGIT))))
