"""Train many heads on one frozen backbone, whose embeddings are computed once."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from time import perf_counter

from assay.core.progress import Progress
from assay.data import Dataset, validation_folds
from assay.nets import ClassifierNetwork as Network
from assay.nets import Head
from assay.pipeline.build_network import build_model
from assay.pipeline.cached_embeddings import FrozenBackbone, labelled_pixels
from assay.pipeline.search_space import Settings
from assay.pipeline.tune_result import Trial
from assay.recipe import PreprocessSpec, Recipe
from assay.training import SplitEmbeddings, fit_heads
from assay.training.dataloaders import check_batch_norm
from assay.training.head_sweep import TrainedHead, stack_key, stack_size


@dataclass(frozen=True)
class Candidate:
    """A trial that is to be trained."""

    number: int
    settings: Settings
    recipe: Recipe


class HeadTrainer:
    """Trains heads; shares datasets, initial networks and embeddings between the trials.

    Args:
        dataset: all images, with splits.
        recipe: its split settings are used.
        folds: number of folds over training and validation images; 0: the splits of the dataset.
        total: number of trials, for progress.
        progress: called after epochs with the equivalent number of trials.
    """

    def __init__(self, dataset: Dataset, recipe: Recipe, folds: int, total: int, progress: Progress) -> None:
        self._datasets = list(_folds(dataset, recipe, folds))
        self._total = total
        self._done = 0
        self._reported = 0
        self._progress = progress
        self._models: dict[str, tuple[Network, PreprocessSpec]] = {}
        self._embedded: dict[str, list[SplitEmbeddings]] = {}

    def check(self, recipes: Iterable[Recipe]) -> None:
        """Check that batches are large enough for batch norm.

        Raises:
            UsageError: a batch has a single image.
        """
        for fold, recipe in product(self._datasets, recipes):
            check_batch_norm(recipe, len(fold.part("train")))

    def train(self, candidates: Iterable[Candidate]) -> Iterator[Trial]:
        """Train candidates, as many heads at once as is efficient; yield the trials in any order."""
        groups: dict[str, list[Candidate]] = {}
        for candidate in candidates:
            groups.setdefault(stack_key(candidate.recipe), []).append(candidate)
        for group in groups.values():
            network, spec = self._model(group[0].recipe)
            embedded = self._embeddings(group[0].recipe, network, spec)
            size = stack_size(network.head)
            for start in range(0, len(group), size):
                yield from self._train_stack(group[start : start + size], network.head, spec, embedded)

    def _train_stack(
        self, stack: list[Candidate], head: Head, spec: PreprocessSpec, embedded: list[SplitEmbeddings]
    ) -> list[Trial]:
        recipes = [candidate.recipe for candidate in stack]
        started = perf_counter()
        folds = []
        for place, (dataset, known) in enumerate(zip(self._datasets, embedded, strict=True)):
            train, val = labelled_pixels(dataset, "train", spec, recipes[0]), labelled_pixels(dataset, "val", spec)
            report = partial(self._report, len(stack), place)
            heads = fit_heads(head, recipes, train, val, known, progress=report)
            folds.append([fitted.best if isinstance(fitted, TrainedHead) else None for fitted in heads])
        self._done += len(stack)
        self._report()
        seconds = (perf_counter() - started) / len(stack)
        trials = []
        for candidate, bests in zip(stack, zip(*folds, strict=True), strict=True):
            found = tuple(filter(None, bests)) if all(bests) else ()
            state, reason = ("complete", "") if found else ("failed", "the loss diverged")
            trials.append(
                Trial(candidate.settings, candidate.recipe, found, seconds, candidate.number, state, reason)  # type: ignore[arg-type]
            )
        return trials

    def _report(self, trials: int = 0, fold: int = 0, _stage: str = "", epoch: int = 0, epochs: int = 1) -> None:
        """Report the number of trials that the epochs so far amount to, when it has changed."""
        done = self._done + int(trials * (fold + epoch / epochs) / len(self._datasets))
        if done != self._reported:
            self._progress("trying settings", done, self._total)
        self._reported = done

    def _model(self, recipe: Recipe) -> tuple[Network, PreprocessSpec]:
        key = recipe.model_dump_json(include={"net"}, exclude={"net": {"head": {"dropout", "l2"}}})
        if key not in self._models:
            self._models[key] = build_model(recipe, self._datasets[0], self._progress)
        return self._models[key]

    def _embeddings(self, recipe: Recipe, network: Network, spec: PreprocessSpec) -> list[SplitEmbeddings]:
        net = recipe.net.model_dump_json(exclude={"head"})
        key = f"{net} {recipe.train.augmentation_views}"
        if key not in self._embedded:
            self._embedded[key] = [
                FrozenBackbone(network, spec, recipe, dataset, self._progress).embedded() for dataset in self._datasets
            ]
        return self._embedded[key]


def _folds(dataset: Dataset, recipe: Recipe, count: int) -> Iterator[Dataset]:
    if not count:
        yield dataset
        return
    # Test images stay in the dataset, so that all folds use the same embedding cache.
    for fold in validation_folds(dataset.samples, count, recipe.train.seed, method=recipe.data.split.method):
        yield dataset.with_samples([*fold.train, *fold.val, *fold.test])
