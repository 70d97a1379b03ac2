"""Candidates with all layers trained: fine-tuning from a linear probe, and averages of both networks' weights.

Sources: A. Kumar et al., "Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution" (2022): the
linear probe before fine-tuning; M. Wortsman et al., "Robust fine-tuning of zero-shot models" (2022): the average of the
weights.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import softmax
from torch import Tensor

from assay.core.progress import Progress
from assay.data import Sample
from assay.evaluation import Predictions
from assay.nets import ClassifierNetwork as Network
from assay.pipeline.auto.fine_tuning_plan import Comparison, FineTuningPlan
from assay.pipeline.auto.probe import EmbeddedImages, LinearProbe, Protocol, load_head
from assay.pipeline.auto.scores import HeldOutScores
from assay.pipeline.cached_embeddings import compiled_backbone, preprocessed_images
from assay.pipeline.dataset_evaluation import labelled_predictions
from assay.pipeline.held_out_predictions import FineTunedFolds, HeldOut, HeldOutSplit
from assay.recipe import Recipe
from assay.training import EpochListener, History, LabeledImages, fit
from assay.training.feature_extraction import compute_embeddings
from assay.training.linear_heads import FoldIndices
from assay.training.logistic_regression import fit_logistic

SHARES = (0.5, 0.75, 1.0)
"""Shares of the fine-tuned weights in an average with those of the probe; 1 is the fine-tuned network itself."""

_VARIANCE_FLOOR, _INITIAL_STRENGTH = 1.0, 0.03
"""Of the head that fine-tuning starts from; see `fit_logistic`. Chosen on magnetic tiles, with a probe as accurate as
without the floor."""


@dataclass(frozen=True, eq=False)
class TunedWeights:
    """State dicts of a network, as fine-tuning began and ended."""

    before: Mapping[str, Tensor]
    after: Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class FineTuned:
    """Fine-tuned networks, also averaged with the probe.

    Attributes:
        protocol: images and folds.
        start: from which fine-tuning began.
        comparison: the trainings.
        weights: of every training.
        scores: by share of the fine-tuned weights, on held-out images.
        baseline: scores of the best probe on the same images, with heads trained on the same images.
        history: of the final network; with cross-validation, of that of the first fold.
        held_out: predictions on the held-out images by share, at temperature 1, without embeddings.
    """

    protocol: Protocol
    start: EmbeddedImages
    comparison: Comparison
    weights: Sequence[TunedWeights]
    scores: Mapping[float, HeldOutScores]
    baseline: HeldOutScores
    history: History
    held_out: Mapping[float, Predictions]

    def network(self, share: float, number: int = -1) -> Network:
        """Return a network, adjusted for the objective.

        Args:
            share: of the fine-tuned weights.
            number: place of the training; -1: the final one.
        """
        weights = self.weights[number]
        network = copy.deepcopy(self.start.network)
        network.load_state_dict(average_weights(weights.before, weights.after, share))
        with torch.no_grad():
            network.head.fc.bias.add_(torch.from_numpy(self.protocol.offsets).to(network.head.fc.bias))
        return network

    def held_out_images(self, share: float, progress: Progress) -> HeldOut:
        """Return the images that the confidence of the final network is fitted to."""
        protocol = self.protocol
        if not self.comparison.is_cross_validated:
            return HeldOutSplit(protocol.dataset, protocol.seed, progress=progress)
        return FineTunedFolds(
            protocol.dataset,
            protocol.samples,
            self.comparison.compared_folds,
            self.held_out[share],
            partial(self.network, share),
            partial(self._embeddings, share),
            protocol.seed,
            progress,
        )

    def _embeddings(self, share: float, number: int, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        images, network = _labelled(self.protocol, self.start, rows).images, self.network(share, number)
        return compute_embeddings(network, images, embed=compiled_backbone(network, self.start.spec.size))


def fine_tune(
    protocol: Protocol,
    start: EmbeddedImages,
    plan: FineTuningPlan,
    folder: Path,
    *,
    best: LinearProbe,
    progress: Progress,
    on_network: Callable[[str], None] | None,
    on_epoch: EpochListener | None,
) -> FineTuned:
    """Fine-tune a network in every fold of the plan; an interrupted call is resumed.

    Args:
        protocol: images and folds.
        start: the network, and embeddings to which the head is fitted that it starts with.
        plan: settings and folds.
        folder: of the run.
        best: the probe that the networks are compared with; it may have other features and another input.
        progress: called after every batch.
        on_network: called before each of several networks is trained, with its name.
        on_epoch: called after every epoch of a network that has held-out images.

    Raises:
        AssayError: an image cannot be read, or the loss is not finite.
        TrainingInterruptedError: Ctrl-C; the run can be resumed.
    """
    comparison = plan.comparison
    logits: dict[float, list[npt.NDArray[np.float64]]] = {share: [] for share in SHARES}
    baseline, weights, histories = [], [], []
    for number, fold in enumerate(comparison.folds):
        is_compared = number < comparison.compared
        place = comparison.folder(number, folder)
        place.mkdir(parents=True, exist_ok=True)
        if on_network is not None and comparison.is_cross_validated:
            on_network(f"fold {number + 1} of {comparison.compared}" if is_compared else "all photos")
        network = _initial_network(protocol, start, fold)
        # The backbone is that of the start, which stays as it is.
        before = {**start.network.state_dict(), **_copied(network.head.state_dict(prefix="head."))}
        training = _labelled(protocol, start, fold.train, plan.recipe)
        held_out = _labelled(protocol, start, fold.held_out)
        histories.append(
            fit(
                network,
                plan.recipe,
                training,
                held_out,
                run=place,
                resume=True,
                progress=progress,
                on_epoch=on_epoch if is_compared else None,
            )
        )
        weights.append(TunedWeights(before, _copied(network.state_dict())))
        if not is_compared:
            continue
        for share in SHARES:
            network.load_state_dict(average_weights(before, weights[-1].after, share))
            logits[share].append(_logits(network, held_out) + protocol.offsets)
        head = best.head_on(protocol, fold.train)
        baseline.append(head.log_probabilities(best.embeddings[fold.held_out]) + protocol.offsets)
    rows = np.concatenate([fold.held_out for fold in comparison.compared_folds])
    samples, targets = [protocol.samples[row] for row in rows], protocol.targets[rows]

    def scores(parts: Sequence[npt.NDArray[np.float64]]) -> HeldOutScores:
        return HeldOutScores.of(samples, targets, [np.concatenate(parts)], protocol.objective)

    return FineTuned(
        protocol,
        start,
        comparison,
        weights,
        {share: scores(parts) for share, parts in logits.items()},
        scores(baseline),
        histories[0],
        {
            share: labelled_predictions(protocol.dataset.classes, samples, softmax(np.concatenate(parts), axis=1), None)
            for share, parts in logits.items()
        },
    )


def average_weights(before: Mapping[str, Tensor], after: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Return the weighted average of two networks' tensors; counters are those of `after`.

    Args:
        before: state dict at share 0.
        after: state dict at share 1, with the same names and shapes.
        share: 0-1.
    """
    return {
        name: torch.lerp(before[name], tensor, share) if tensor.is_floating_point() else tensor
        for name, tensor in after.items()
    }


def _initial_network(protocol: Protocol, start: EmbeddedImages, fold: FoldIndices) -> Network:
    network = copy.deepcopy(start.network)
    head = fit_logistic(
        start.embeddings[fold.train],
        protocol.targets[fold.train],
        len(protocol.dataset.classes),
        _INITIAL_STRENGTH,
        variance_floor=_VARIANCE_FLOOR,
    )
    load_head(network, head)
    return network


def _copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in tensors.items()}


def _labelled(
    protocol: Protocol, start: EmbeddedImages, rows: npt.NDArray[np.int64], recipe: Recipe | None = None
) -> LabeledImages:
    samples: list[Sample] = [protocol.samples[row] for row in rows]
    return LabeledImages(preprocessed_images(protocol.dataset, samples, start.spec, recipe), protocol.targets[rows])


def _logits(network: Network, images: LabeledImages) -> npt.NDArray[np.float64]:
    embeddings = compute_embeddings(network, images.images)
    with torch.inference_mode():
        logits: npt.NDArray[np.float64] = network.head(torch.from_numpy(embeddings)).double().numpy()
    return logits
