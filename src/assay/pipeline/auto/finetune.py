"""Candidates with all layers trained: fine-tuning from a linear probe, and averages of both networks' weights.

Sources: A. Kumar et al., "Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution" (2022): the
linear probe before fine-tuning; M. Wortsman et al., "Robust fine-tuning of zero-shot models" (2022): the average of the
weights.
"""

import copy
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from assay.core.files import write_text
from assay.core.progress import Progress
from assay.data import Sample
from assay.data.dataset import quote_names
from assay.nets import ClassifierNetwork as Network
from assay.pipeline.auto.probe import LinearProbe, Protocol, load_head, split_fold
from assay.pipeline.auto.scores import HeldOutScores
from assay.pipeline.cached_embeddings import preprocessed_images
from assay.recipe import Recipe, dump_recipe, load_recipe
from assay.training import EpochListener, History, LabeledImages, fit
from assay.training.device import select_device
from assay.training.feature_extraction import compute_embeddings
from assay.training.heap import reuse_freed_memory
from assay.training.logistic_regression import FoldIndices, LogisticHead
from assay.training.loss import cross_entropy
from assay.training.optimizers import make_optimizer, parameter_groups

FOLDER = "fine-tuning"
"""In the run folder: one folder per training, with checkpoints, metrics and curves."""

SHARES = (0.5, 0.75, 1.0)
"""Shares of the fine-tuned weights in an average with those of the probe; 1 is the fine-tuned network itself."""

MIN_EPOCHS = 3
"""Unless `train.epochs` is less."""
_MAX_TRAINED_IMAGES = 60_000
"""Images in all epochs together, unless `MIN_EPOCHS` have more."""
_ENOUGH_HELD_OUT = 100
"""With fewer validation images, fine-tuning is compared with the probe by cross-validation."""
_FOLDS = 3
_VARIANCE_FLOOR, _INITIAL_STRENGTH = 1.0, 0.03
"""Of the head that fine-tuning starts from; see `fit_logistic`. Chosen on magnetic tiles, with a probe as accurate as
without the floor."""
_WARMUP_STEPS, _TIMED_STEPS = 2, 3
_TIMED_IMAGES = 64
"""Images of a timed step; fewer with a smaller batch size."""
_OVERHEAD = 1.25
"""Time of an epoch with validation and data loading as a multiple of the steps' time."""


@dataclass(frozen=True, eq=False)
class FineTuned:
    """A fine-tuned network, also averaged with the probe.

    Attributes:
        networks: by share of the fine-tuned weights; trained on the `train` split.
        scores: by share, on held-out images.
        baseline: scores of the probe on the same images, with heads trained on the same images.
        history: of the network trained on the `train` split.
    """

    networks: Mapping[float, Network]
    scores: Mapping[float, HeldOutScores]
    baseline: HeldOutScores
    history: History


@dataclass(frozen=True)
class FineTuningCost:
    """How long fine-tuning takes.

    Attributes:
        seconds: of an epoch on all folds.
        least: fewest epochs that are worth it.
        largest: most epochs.
    """

    seconds: float
    least: int
    largest: int

    @classmethod
    def of(cls, protocol: Protocol, probe: LinearProbe) -> "FineTuningCost":
        """Measure a few training steps of a probe's network."""
        epochs = probe.recipe.train.epochs
        images = sum(len(fold.train) for fold in _comparison_folds(protocol)[0])
        least = min(MIN_EPOCHS, epochs)
        largest = max(least, min(epochs, _MAX_TRAINED_IMAGES // max(1, images)))
        per_image = seconds_per_image(probe.network, _fine_tuning_recipe(probe.recipe, epochs))
        return cls(_OVERHEAD * per_image * images, least, largest)

    def epochs_in(self, seconds: float) -> int:
        """Return how many epochs fit into a time; 0 if these are too few."""
        epochs = int(min(self.largest, seconds / self.seconds))
        return epochs if epochs >= self.least else 0


@dataclass(frozen=True)
class FineTuningPlan:
    """What fine-tuning will do: its settings, and the folds on which it is compared with the probe.

    Attributes:
        recipe: its strategy is `staged` without an epoch for the head, and the last epoch is kept.
        folds: rows of the protocol; the last one is the training and validation split.
        compared: how many of the first folds give the scores.
        seconds: estimated duration of all folds; 0 if the plan was read from a file.
    """

    recipe: Recipe
    folds: tuple[FoldIndices, ...]
    compared: int
    seconds: float

    @classmethod
    def of(
        cls,
        protocol: Protocol,
        probe: LinearProbe,
        folder: Path,
        seconds_left: float,
        measure: Callable[[LinearProbe], FineTuningCost],
    ) -> "FineTuningPlan | str":
        """Plan the number of epochs, or read the plan of an interrupted run.

        Args:
            protocol: images and folds.
            probe: to start from.
            folder: of the run.
            seconds_left: until training must end.
            measure: returns how long fine-tuning of a probe takes.

        Returns:
            The plan, or why fine-tuning is not possible: too little time, or a class without training images.
        """
        folds, compared = _comparison_folds(protocol)
        if missing := _classes_without_training_images(protocol, folds):
            return f"the training split has no photo of {quote_names(missing)}"
        stored = folder / FOLDER / "recipe.yaml"
        if stored.is_file():
            recipe = load_recipe(stored)
            if recipe == _fine_tuning_recipe(probe.recipe, recipe.train.epochs):
                return cls(recipe, folds, compared, 0.0)
            # Before the interruption another probe was the best one, for example because there was less time.
            shutil.rmtree(stored.parent)
        cost = measure(probe)
        epochs, least = cost.epochs_in(seconds_left), cost.least
        if not epochs:
            needed, left = least * cost.seconds / 60, max(0.0, seconds_left) / 60
            return f"{least} epoch{'s' if least > 1 else ''}: about {needed:.1f} min, {left:.1f} min are left"
        recipe = _fine_tuning_recipe(probe.recipe, epochs)
        stored.parent.mkdir(parents=True, exist_ok=True)
        write_text(stored, dump_recipe(recipe))
        return cls(recipe, folds, compared, cost.seconds * epochs)


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
    for number, fold in enumerate(plan.folds):
        is_split = number == len(plan.folds) - 1
        place = folder / FOLDER / ("split" if is_split else f"fold-{number}")
        place.mkdir(parents=True, exist_ok=True)
        if on_network is not None and len(plan.folds) > 1:
            on_network("training split" if is_split else f"fold {number + 1} of {len(plan.folds) - 1}")
        head = probe.head_on(protocol, fold.train)
        initial = probe.head_on(protocol, fold.train, strength=_INITIAL_STRENGTH, variance_floor=_VARIANCE_FLOOR)
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
            if number < plan.compared:
                logits[share].append(_logits(averaged, held_out) + protocol.offsets)
        if number < plan.compared:
            values = head.log_probabilities(probe.embeddings[fold.held_out])
            baseline.append(values + protocol.offsets)
    rows = np.concatenate([fold.held_out for fold in plan.folds[: plan.compared]])
    samples, targets = [protocol.samples[row] for row in rows], protocol.targets[rows]

    def scores(parts: Sequence[npt.NDArray[np.float64]]) -> HeldOutScores:
        return HeldOutScores.of(samples, targets, [np.concatenate(parts)], protocol.objective)

    for network in networks.values():
        with torch.no_grad():
            network.head.fc.bias.add_(torch.from_numpy(protocol.offsets).to(network.head.fc.bias))
    return FineTuned(networks, {share: scores(parts) for share, parts in logits.items()}, scores(baseline), history)


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


def seconds_per_image(network: Network, recipe: Recipe, clock: Callable[[], float] = time.perf_counter) -> float:
    """Measure the time of a training step per image, on random pixels, with a copy of the network."""
    device, spec = select_device(recipe.train), recipe.train
    trained = copy.deepcopy(network).to(device.torch)
    trained.freeze(0)
    trained.freeze_batch_norm = spec.freeze_batch_norm
    trained.set_memory_format(trained.memory_format)
    trained.train()
    optimizer = make_optimizer(parameter_groups(trained, spec), spec)
    size, count = recipe.preprocess.size, min(spec.batch_size, _TIMED_IMAGES)
    images = torch.randint(0, 256, (count, size, size, 3), dtype=torch.uint8, device=device.torch)
    targets = torch.zeros(count, dtype=torch.int64, device=device.torch)
    types = {"32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    seconds = []
    with reuse_freed_memory():
        for _ in range(_WARMUP_STEPS + _TIMED_STEPS):
            start = clock()
            with torch.autocast(device.kind, dtype=types[device.precision], enabled=device.precision != "32"):
                loss = cross_entropy(trained(images).logits, targets)
            torch.autograd.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
            float(loss.detach())  # waits for a GPU
            seconds.append(clock() - start)
    # The first steps compile kernels and allocate memory; other processes can only make a step slower.
    return min(seconds[_WARMUP_STEPS:]) / count


def _fine_tuning_recipe(recipe: Recipe, epochs: int) -> Recipe:
    changes = {
        "strategy": "staged",
        "staged": recipe.train.staged.model_copy(update={"head_epochs": 0}),
        "epochs": epochs,
        "early_stopping": None,
        "keep_epoch": "last",
        "objective": None,
        "balance": "none",
    }
    return recipe.model_copy(update={"train": recipe.train.model_copy(update=changes)})


def _comparison_folds(protocol: Protocol) -> tuple[tuple[FoldIndices, ...], int]:
    split = split_fold(protocol.dataset)
    if len(split[0].held_out) >= _ENOUGH_HELD_OUT or not protocol.is_cross_validated:
        return split, 1
    folds = protocol.repeats[0][:_FOLDS]
    return (*folds, *split), len(folds)


def _classes_without_training_images(protocol: Protocol, folds: Sequence[FoldIndices]) -> list[str]:
    """Return the classes whose images are all in the validation part of a fold."""
    known = set(protocol.targets.tolist())
    missing = sorted({target for fold in folds for target in known - set(protocol.targets[fold.train].tolist())})
    return [protocol.dataset.classes[target] for target in missing]


def _initial_network(probe: LinearProbe, head: LogisticHead) -> Network:
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
