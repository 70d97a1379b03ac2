"""How the strategy `auto` plans fine-tuning: on which folds, for how many epochs, and what it costs."""

import copy
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from assay.core.errors import AssayError
from assay.core.files import write_text
from assay.core.text_layout import counted
from assay.data.dataset import quote_names
from assay.evaluation.clusters import cluster_numbers, group_design_effect
from assay.nets import ClassifierNetwork as Network
from assay.pipeline.auto.probe import Protocol, grouped_folds, split_fold
from assay.pipeline.run_folder import FINAL_FOLDER, FINE_TUNING, FOLD_PREFIX, SPLIT_FOLDER
from assay.recipe import Recipe, dump_recipe, load_recipe
from assay.recipe.training import AutoSpec
from assay.training.checkpoint import settings_of_weights
from assay.training.device import Device, out_of_memory_message, select_device
from assay.training.heap import reuse_freed_memory
from assay.training.linear_heads import FoldIndices
from assay.training.loss import cross_entropy
from assay.training.optimizers import make_optimizer, parameter_groups

MIN_EPOCHS = 3
"""Unless `train.epochs` is less."""
_MAX_TRAINED_IMAGES = 60_000
"""Images in all epochs together, unless `MIN_EPOCHS` have more."""
_ENOUGH_HELD_OUT = 100
"""With fewer independent validation images, fine-tuning is compared with the probe by cross-validation if possible."""
_FOLDS = (3, 2)
"""Numbers of folds in order of preference; each is a training of all layers, the first one on the training split."""
_TRAINING_FOLDS = (4, 3, 2)
"""Into how many parts the training split is divided for the other folds, in order of preference: with four, a network
has about as many training images as with the training split."""
_WARMUP_STEPS, _TIMED_STEPS = 2, 3
_TIMED_IMAGES = 64
"""Images of a timed step; fewer with a smaller batch size."""
_OVERHEAD = 1.25
"""Time of an epoch with validation and data loading as a multiple of the steps' time."""


class Comparison(NamedTuple):
    """The trainings whose held-out images compare fine-tuning with the probe, and the one of the final network.

    Attributes:
        folds: rows of the protocol; the last training is that of the final network.
        compared: how many of the first folds give the scores: all of them, or all but the last one, which is then
            trained on all images.
    """

    folds: tuple[FoldIndices, ...]
    compared: int

    @property
    def is_cross_validated(self) -> bool:
        """Whether images are held out in several folds, and the final network is trained on all of them."""
        return self.compared < len(self.folds)

    @property
    def compared_folds(self) -> tuple[FoldIndices, ...]:
        """The folds that give the scores."""
        return self.folds[: self.compared]

    @property
    def trained_images(self) -> int:
        """Images in an epoch of all trainings."""
        return sum(len(fold.train) for fold in self.folds)

    def folder(self, number: int, run: Path) -> Path:
        """Return the folder of a training; `number` is its place in `folds`."""
        if not self.is_cross_validated:
            name = SPLIT_FOLDER
        elif number == self.compared:
            name = FINAL_FOLDER
        else:
            name = f"{FOLD_PREFIX}{number + 1}-of-{self.compared}"
        return run / FINE_TUNING / name


@dataclass(frozen=True)
class FineTuningCost:
    """How long fine-tuning takes.

    Attributes:
        seconds: of a training step with one image, with everything around it.
        most: `train.epochs`.
        comparisons: in order of preference.
    """

    seconds: float
    most: int
    comparisons: tuple[Comparison, ...]

    @classmethod
    def of(cls, protocol: Protocol, network: Network, recipe: Recipe) -> "FineTuningCost":
        """Measure a few training steps of a network with the settings of a recipe."""
        epochs = recipe.train.epochs
        per_image = seconds_per_image(network, _fine_tuning_recipe(recipe, epochs))
        return cls(_OVERHEAD * per_image, epochs, comparisons(protocol))

    @property
    def least(self) -> int:
        """Fewest epochs that are worth it."""
        return min(MIN_EPOCHS, self.most)

    def of_epochs(self, comparison: Comparison, epochs: int) -> float:
        """Return the seconds of a number of epochs."""
        return self.seconds * comparison.trained_images * epochs

    def fit_into(self, seconds_left: float) -> tuple[Comparison, int] | None:
        """Return the preferred comparison for which there is time, and how many epochs fit; None without time."""
        for comparison in self.comparisons:
            largest = max(self.least, min(self.most, _MAX_TRAINED_IMAGES // max(1, comparison.trained_images)))
            epochs = int(min(largest, seconds_left / self.of_epochs(comparison, 1)))
            if epochs >= self.least:
                return comparison, epochs
        return None


@dataclass(frozen=True)
class FineTuningPlan:
    """What fine-tuning will do: its settings, and the folds on which it is compared with the probe.

    Attributes:
        recipe: its strategy is `staged` without an epoch for the head, and the last epoch is kept.
        comparison: the trainings.
        seconds: estimated duration of all trainings; 0 if the plan was read from a file.
    """

    recipe: Recipe
    comparison: Comparison
    seconds: float

    @classmethod
    def of(
        cls,
        protocol: Protocol,
        start: Recipe,
        run: Path,
        seconds_left: Callable[[], float],
        measure: Callable[[Recipe], FineTuningCost],
    ) -> "FineTuningPlan | str":
        """Plan the number of epochs, or read the plan of an interrupted run.

        Args:
            protocol: images and folds.
            start: recipe of the probe to start from.
            run: folder of the run.
            seconds_left: returns the time until training must end.
            measure: returns how long fine-tuning takes, which takes time itself.

        Returns:
            The plan, or why fine-tuning is not possible: too little time, or a class without training images.

        Raises:
            AssayError: the device has too little memory.
        """
        possible = comparisons(protocol)
        if not possible:
            absent = _absent_classes(protocol, split_fold(protocol.dataset))
            return f"the training split has no photo of {quote_names(absent)}"
        stored = _plan_file(run)
        if stored.is_file():
            before = load_recipe(stored)
            recipe = _fine_tuning_recipe(start, before.train.epochs)
            begun = [found for found in possible if found.folder(0, run).is_dir()]
            if begun and settings_of_weights(before) == settings_of_weights(recipe):
                return cls(recipe, begun[0], 0.0)
        if seconds_left() <= 0:
            return "no time left"
        cost = measure(start)
        left = seconds_left()
        fitting = cost.fit_into(left)
        if fitting is None:
            needed, fewest = cost.of_epochs(possible[-1], cost.least), counted(cost.least, "epoch")
            return f"{fewest}: about {needed / 60:.1f} min, {max(0.0, left) / 60:.1f} min are left"
        comparison, epochs = fitting
        recipe = _fine_tuning_recipe(start, epochs)
        # Before an interruption another probe was the best one, for example because there was less time.
        if stored.parent.is_dir():
            shutil.rmtree(stored.parent)
        stored.parent.mkdir(parents=True)
        write_text(stored, dump_recipe(recipe))
        return cls(recipe, comparison, cost.of_epochs(comparison, epochs))


def has_plan(run: Path) -> bool:
    """Return whether fine-tuning had begun in a run, which is resumed."""
    return _plan_file(run).is_file()


def planned_size(run: Path) -> int | None:
    """Return the size of the input of a fine-tuning that had begun; None if it had not."""
    return load_recipe(_plan_file(run)).preprocess.size if has_plan(run) else None


def _plan_file(run: Path) -> Path:
    return run / FINE_TUNING / "recipe.yaml"


def comparisons(protocol: Protocol) -> tuple[Comparison, ...]:
    """Return the possible comparisons of fine-tuning with the probe, in order of preference.

    If the validation split has few independent images, because it is small or because its images form groups,
    cross-validation comes first. Trainings in which a class has no image are left out.
    """
    split = split_fold(protocol.dataset)
    if _absent_classes(protocol, split):
        return ()
    alone = Comparison(split, 1)
    held_out = [protocol.samples[row].group for row in split[0].held_out]
    independent = len(held_out) / group_design_effect(held_out)
    if independent >= _ENOUGH_HELD_OUT or not protocol.is_cross_validated:
        return (alone,)
    # Splits of the data itself can share groups.
    first = _all_but(protocol, split[0].held_out)
    training = [_all_but(protocol, fold.held_out) for fold in _folds_of_training_split(protocol)]
    final = FoldIndices(np.arange(len(protocol.samples)), split[0].held_out)
    several = tuple(Comparison((first, *training[: count - 1], final), count) for count in _FOLDS if training)
    return (*several, alone) if len(held_out) >= _ENOUGH_HELD_OUT or not several else several


def _folds_of_training_split(protocol: Protocol) -> tuple[FoldIndices, ...]:
    count = len(protocol.dataset.part("train"))
    for folds in _TRAINING_FOLDS:
        found = grouped_folds(protocol.samples[:count], protocol.targets[:count], folds, protocol.seed)
        if found and not _absent_classes(protocol, found):
            return found
    return ()


def _all_but(protocol: Protocol, held_out: npt.NDArray[np.int64]) -> FoldIndices:
    """Return a fold whose training rows are all but the held-out ones and others of their groups."""
    groups = cluster_numbers([sample.group for sample in protocol.samples])
    return FoldIndices(np.flatnonzero(~np.isin(groups, groups[held_out])), held_out)


def seconds_per_image(network: Network, recipe: Recipe, clock: Callable[[], float] = time.perf_counter) -> float:
    """Measure the time of a training step per image, on random pixels, with a copy of the network.

    Raises:
        AssayError: the device has too little memory.
    """
    device, count = select_device(recipe.train), min(recipe.train.batch_size, _TIMED_IMAGES)
    try:
        seconds = _time_steps(network, recipe, device, count, clock)
    except RuntimeError as error:
        if (message := out_of_memory_message(error, device, recipe.train.batch_size)) is None:
            raise
        raise AssayError(message) from error
    # The first steps compile kernels and allocate memory; other processes can only make a step slower.
    return min(seconds[_WARMUP_STEPS:]) / count


def _time_steps(
    network: Network, recipe: Recipe, device: Device, count: int, clock: Callable[[], float]
) -> list[float]:
    """Return the seconds of training steps with `count` images."""
    spec, size = recipe.train, recipe.preprocess.size
    trained = copy.deepcopy(network).to(device.torch)
    trained.freeze(0)
    trained.freeze_batch_norm = spec.freeze_batch_norm
    trained.set_memory_format(trained.memory_format)
    trained.train()
    optimizer = make_optimizer(parameter_groups(trained, spec), spec)
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
    return seconds


def _fine_tuning_recipe(recipe: Recipe, epochs: int) -> Recipe:
    changes = {
        "strategy": "staged",
        "staged": recipe.train.staged.model_copy(update={"head_epochs": 0}),
        "epochs": epochs,
        "early_stopping": None,
        "keep_epoch": "last",
        "objective": None,
        "balance": "none",
        "auto": AutoSpec(),
        # The final network may have no images by which a plateau could be seen.
        "schedule": "cosine" if recipe.train.schedule == "plateau" else recipe.train.schedule,
    }
    return recipe.model_copy(update={"train": recipe.train.model_copy(update=changes)})


def _absent_classes(protocol: Protocol, folds: Sequence[FoldIndices]) -> list[str]:
    """Return the classes whose images are all in the validation part of a fold."""
    known = set(protocol.targets.tolist())
    missing = sorted({target for fold in folds for target in known - set(protocol.targets[fold.train].tolist())})
    return [protocol.dataset.classes[target] for target in missing]
