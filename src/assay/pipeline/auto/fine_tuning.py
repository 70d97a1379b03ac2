"""Candidates with all layers trained: fine-tuning from a linear probe, and averages of both networks' weights.

Sources: A. Kumar et al., "Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution" (2022): the
linear probe before fine-tuning; M. Wortsman et al., "Robust fine-tuning of zero-shot models" (2022): the average of the
weights.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
from assay.pipeline.auto.fine_tuning_plan import FineTuningPlan
from assay.pipeline.auto.probe import LinearProbe, Protocol, load_head
from assay.pipeline.auto.scores import HeldOutScores
from assay.pipeline.cached_embeddings import preprocessed_images
from assay.pipeline.dataset_evaluation import labelled_predictions
from assay.pipeline.held_out_predictions import FineTunedFolds, HeldOut, ValidationSplit
from assay.recipe import Recipe
from assay.training import EpochListener, History, LabeledImages, fit
from assay.training.feature_extraction import compute_embeddings
from assay.training.linear_heads import LinearHead
from assay.training.logistic_regression import fit_logistic

SHARES = (0.5, 0.75, 1.0)
"""Shares of the fine-tuned weights in an average with those of the probe; 1 is the fine-tuned network itself."""

_VARIANCE_FLOOR, _INITIAL_STRENGTH = 1.0, 0.03
"""Of the head that fine-tuning starts from; see `fit_logistic`. Chosen on magnetic tiles, with a probe as accurate as
without the floor."""


@dataclass(frozen=True, eq=False)
class FineTuned:
    """A fine-tuned network, also averaged with the probe.

    Attributes:
        networks: by share of the fine-tuned weights; trained on the `train` split.
        scores: by share, on held-out images.
        baseline: scores of the probe on the same images, with heads trained on the same images.
        history: of the network trained on the `train` split.
        samples: the held-out images.
        held_out: predictions of the networks of the folds on them by share, at temperature 1, without embeddings; empty
            if only the network of the `train` split was trained.
    """

    networks: Mapping[float, Network]
    scores: Mapping[float, HeldOutScores]
    baseline: HeldOutScores
    history: History
    samples: Sequence[Sample]
    held_out: Mapping[float, Predictions]

    def held_out_images(self, share: float, split: ValidationSplit) -> HeldOut:
        """Return the images that the confidence of a network is fitted to: those of the folds, or the `val` split."""
        if share not in self.held_out:
            return split
        return FineTunedFolds(self.held_out[share], [sample.group for sample in self.samples], split)


def fine_tune(
    protocol: Protocol,
    probe: LinearProbe,
    plan: FineTuningPlan,
    folder: Path,
    *,
    progress: Progress,
    on_network: Callable[[str], None] | None,
    on_epoch: EpochListener | None,
) -> FineTuned:
    """Fine-tune a probe in every fold of the plan; an interrupted call is resumed.

    Args:
        protocol: images and folds.
        probe: to start from.
        plan: settings and folds.
        folder: of the run.
        progress: called after every batch.
        on_network: called before each of several networks is trained, with its name.
        on_epoch: called after every epoch.

    Raises:
        AssayError: an image cannot be read, or the loss is not finite.
        TrainingInterruptedError: Ctrl-C; the run can be resumed.
    """
    logits: dict[float, list[npt.NDArray[np.float64]]] = {share: [] for share in SHARES}
    baseline, networks = [], {}
    folds, compared = plan.comparison
    for number, fold in enumerate(folds):
        is_split = number == len(folds) - 1
        place = plan.comparison.folder(number, folder)
        place.mkdir(parents=True, exist_ok=True)
        if on_network is not None and len(folds) > 1:
            on_network("training split" if is_split else f"fold {number + 1} of {len(folds) - 1}")
        head = probe.head_on(protocol, fold.train)
        initial = fit_logistic(
            probe.embeddings[fold.train],
            protocol.targets[fold.train],
            len(protocol.dataset.classes),
            _INITIAL_STRENGTH,
            variance_floor=_VARIANCE_FLOOR,
        )
        network = _initial_network(probe, initial)
        before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        training = _labelled(protocol, probe, fold.train, plan.recipe)
        held_out = _labelled(protocol, probe, fold.held_out)
        history = fit(
            network, plan.recipe, training, held_out, run=place, resume=True, progress=progress, on_epoch=on_epoch
        )
        after = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        for share in SHARES:
            averaged = network if share == 1 else copy.deepcopy(network)
            averaged.load_state_dict(average_weights(before, after, share))
            if is_split:
                networks[share] = averaged
            if number < compared:
                logits[share].append(_logits(averaged, held_out) + protocol.offsets)
        if number < compared:
            values = head.log_probabilities(probe.embeddings[fold.held_out])
            baseline.append(values + protocol.offsets)
    rows = np.concatenate([fold.held_out for fold in folds[:compared]])
    samples, targets = [protocol.samples[row] for row in rows], protocol.targets[rows]

    def scores(parts: Sequence[npt.NDArray[np.float64]]) -> HeldOutScores:
        return HeldOutScores.of(samples, targets, [np.concatenate(parts)], protocol.objective)

    for network in networks.values():
        with torch.no_grad():
            network.head.fc.bias.add_(torch.from_numpy(protocol.offsets).to(network.head.fc.bias))
    held_out_predictions = {
        share: labelled_predictions(protocol.dataset.classes, samples, softmax(np.concatenate(parts), axis=1), None)
        for share, parts in (logits.items() if len(folds) > 1 else ())
    }
    return FineTuned(
        networks,
        {share: scores(parts) for share, parts in logits.items()},
        scores(baseline),
        history,
        samples,
        held_out_predictions,
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


def _initial_network(probe: LinearProbe, head: LinearHead) -> Network:
    network = copy.deepcopy(probe.network)
    load_head(network, head)
    return network


def _labelled(
    protocol: Protocol, probe: LinearProbe, rows: npt.NDArray[np.int64], recipe: Recipe | None = None
) -> LabeledImages:
    samples: list[Sample] = [protocol.samples[row] for row in rows]
    return LabeledImages(preprocessed_images(protocol.dataset, samples, probe.spec, recipe), protocol.targets[rows])


def _logits(network: Network, images: LabeledImages) -> npt.NDArray[np.float64]:
    embeddings = compute_embeddings(network, images.images)
    with torch.inference_mode():
        logits: npt.NDArray[np.float64] = network.head(torch.from_numpy(embeddings)).double().numpy()
    return logits
