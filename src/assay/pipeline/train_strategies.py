"""The two ways to train the network of a run: by a fixed strategy, or by the search of the strategy `auto`."""

from dataclasses import dataclass

from assay.data import Dataset
from assay.evaluation.learning_curve import LearningCurve
from assay.nets import ClassifierNetwork as Network
from assay.pipeline.auto import Candidate
from assay.pipeline.auto.probe_changes import first_recipe
from assay.pipeline.auto.search import search
from assay.pipeline.cached_embeddings import CachedEmbeddings, FrozenBackbone, labelled_pixels
from assay.pipeline.calibrate import ConfidenceCalibration
from assay.pipeline.export_and_evaluate import TrainedModel
from assay.pipeline.held_out_predictions import HeldOutSplit
from assay.pipeline.learning_curve import curve_if_possible
from assay.pipeline.run_folder import Run
from assay.pipeline.train_callbacks import TrainCallbacks
from assay.recipe import PreprocessSpec, Recipe
from assay.training import History, fit
from assay.training.callbacks import Profile
from assay.training.feature_extraction import uses_cached_embeddings
from assay.training.logit_adjustment import adjust_head
from assay.training.nodes import Nodes, RemoteProcesses


@dataclass(frozen=True)
class TrainedRun:
    """A trained network, before the run's bundle is evaluated."""

    model: TrainedModel
    history: History
    calibration: ConfidenceCalibration | None = None
    """Of the run's bundle, if it is written already."""
    cached: CachedEmbeddings | None = None
    candidates: tuple[Candidate, ...] = ()
    learning_curve: LearningCurve | None = None


def train_fixed(
    run: Run,
    dataset: Dataset,
    model: tuple[Network, PreprocessSpec],
    recipe: Recipe,
    callbacks: TrainCallbacks,
    *,
    resume: bool,
    machines: Nodes | RemoteProcesses | None,
) -> TrainedRun:
    """Train by a fixed strategy: from scratch, a linear probe, or fine-tuning."""
    network, spec = model
    backbone = FrozenBackbone(network, spec, recipe, dataset, callbacks.progress)
    history = fit(
        network,
        recipe,
        labelled_pixels(dataset, "train", spec, recipe),
        labelled_pixels(dataset, "val", spec),
        run=run.folder,
        resume=resume,
        embeddings=backbone.embedded,
        progress=callbacks.progress,
        on_epoch=callbacks.on_epoch,
        profile=callbacks.profile,
        machines=machines,
    )
    adjust_head(network.head, dataset.targets(dataset.part("train")), recipe.train)
    cached = CachedEmbeddings(backbone, network.head) if uses_cached_embeddings(recipe) else None
    held_out = HeldOutSplit(dataset, recipe.train.seed, cached, callbacks.progress)
    return TrainedRun(TrainedModel(network, recipe, spec, held_out), history, cached=cached)


def train_auto(
    run: Run,
    dataset: Dataset,
    model: tuple[Network, PreprocessSpec],
    recipe: Recipe,
    callbacks: TrainCallbacks,
    *,
    report: bool,
    started: float | None,
) -> TrainedRun:
    """Train by the strategy `auto`."""
    profile = callbacks.profile or Profile()
    with profile.during("candidates"):
        found = search(
            run,
            dataset,
            first_recipe(recipe),
            model,
            progress=callbacks.progress,
            # An experiment is interrupted as a whole.
            keep_best_on_interrupt=report,
            on_try=callbacks.on_try,
            on_candidate=callbacks.on_candidate,
            on_plan=callbacks.on_plan,
            on_network=callbacks.on_network,
            on_epoch=callbacks.on_epoch,
            on_end=callbacks.on_search_end,
            started=started,
        )
    curve = None
    if report:
        with profile.during("learning curve"):
            curve = curve_if_possible(
                found.protocol.samples,
                found.probe.embeddings,
                found.protocol.targets,
                len(dataset.classes),
                seed=recipe.train.seed,
                progress=callbacks.progress,
            )
    return TrainedRun(found.model, found.history, found.calibration, candidates=found.candidates, learning_curve=curve)
