"""How often an experiment splits its images: a number of seeds, and for each seed one split or k folds."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.core.cpu import cpu_count
from assay.core.errors import AssayError, UsageError
from assay.core.progress import Progress
from assay.data import Dataset, assign_splits, cross_validation_folds
from assay.data.splits import fold_warnings
from assay.pipeline.build_model import build_model
from assay.pipeline.cached_embeddings import FrozenBackbone
from assay.pipeline.experiment_folder import RunTask
from assay.pipeline.run_folder import Run
from assay.pipeline.run_metrics import RunMetrics, is_evaluated, read_run_metrics
from assay.recipe import Recipe
from assay.training.feature_extraction import uses_cached_embeddings

_SEED_RANGE = 2**32


@dataclass(frozen=True)
class ResampledRun:
    """One finished run of a plan."""

    repeat: int
    """Counted from 1."""
    fold: int
    """Counted from 1; 0 where the plan has no folds."""
    run: Run
    figures: RunMetrics


@dataclass(frozen=True)
class Resampling:
    """The plan: `repeats` seeds, each with `folds` folds."""

    folds: int = 0
    """0: one split by the recipe's shares for each seed."""
    repeats: int = 1

    def __post_init__(self) -> None:
        """Refuse numbers that make no sense.

        Raises:
            UsageError: a number is too small.
        """
        if self.repeats < 1:
            raise UsageError(f"--repeats is {self.repeats}: give 1 or more")
        if self.folds < 0 or self.folds == 1:
            raise UsageError(f"--folds is {self.folds}: cross-validation needs 2 folds or more")

    @classmethod
    def of(cls, values: dict[str, Any]) -> "Resampling":
        """Read the plan back from what a series remembers (`to_dict`)."""
        return cls(int(values["folds"]), int(values["repeats"]))

    def to_dict(self) -> dict[str, int]:
        """Return plain values, ready for JSON."""
        return {"folds": self.folds, "repeats": self.repeats}

    @property
    def runs(self) -> int:
        """How many runs the plan has."""
        return self.repeats * max(1, self.folds)

    def recipe(self, recipe: Recipe, repeat: int, threads: int | None = None) -> Recipe:
        """Return the settings of a repeat, counted from 1: the seed grows by one from repeat to repeat.

        Args:
            recipe: settings of the first repeat.
            repeat: the number.
            threads: of each run; where runs share the processors, so many processes prepare photos.
        """
        changes: dict[str, int] = {"seed": (recipe.train.seed + repeat - 1) % _SEED_RANGE}
        if threads is not None and recipe.train.workers is None and threads < cpu_count():
            # The number of workers changes no result.
            changes["workers"] = threads
        return recipe.model_copy(update={"train": recipe.train.model_copy(update=changes)})

    def split(self, dataset: Dataset, recipe: Recipe, repeat: int) -> list[Dataset]:
        """Return the data set of each run of a repeat, every photo with its part.

        Args:
            dataset: photos with their groups, and the parts that the data brings.
            recipe: settings of the first repeat.
            repeat: counted from 1.

        Raises:
            AssayError: the photos cannot be shared out.
        """
        seed = self.recipe(recipe, repeat).train.seed
        if self.folds:
            return cross_validation_folds(dataset, self.folds, recipe.data.split, seed)
        return [assign_splits(dataset, recipe.data.split, seed)]

    def first_split(self, dataset: Dataset, recipe: Recipe) -> Dataset:
        """Return the data set of the first run, once it is sure that every repeat can be split.

        Raises:
            AssayError: the photos cannot be shared out.
        """
        splits = [self.split(dataset, recipe, repeat) for repeat in range(1, self.repeats + 1)]
        return splits[0][0]

    def described(self, dataset: Dataset, recipe: Recipe) -> Dataset:
        """Return the data set with warnings that say how its photos are shared out."""
        if self.folds:
            return dataset.with_samples(dataset.samples, fold_warnings(dataset))
        return self.split(dataset, recipe, 1)[0]

    def folder(self, parent: Path, repeat: int, fold: int) -> Path:
        """Return a run's folder: `repeat-1/fold-1`, `repeat-1` without folds, `parent` of a single run."""
        if self.runs == 1:
            return parent
        return parent / f"repeat-{repeat}" / f"fold-{fold}" if self.folds else parent / f"repeat-{repeat}"

    def name(self, repeat: int, fold: int) -> str:
        """Return what people read for a run; empty if there is only one."""
        names = [f"repeat {repeat}/{self.repeats}"] if self.repeats > 1 else []
        return " ".join([*names, *([f"fold {fold}/{self.folds}"] if self.folds else [])])

    def tasks(
        self, folder: Path, name: str, dataset: Dataset, recipe: Recipe, *, threads: int, progress: Progress
    ) -> Iterator[RunTask]:
        """Yield the runs of one recipe, in order.

        Args:
            folder: of the runs.
            name: what people read before the name of each run; may be empty.
            dataset: photos with their groups, and the parts that the data brings.
            recipe: settings of the first repeat.
            threads: of each run.
            progress: told while embeddings are computed that several runs need.
        """
        for repeat in range(1, self.repeats + 1):
            settings = self.recipe(recipe, repeat, threads)
            embedded = False
            for fold, split in enumerate(self.split(dataset, recipe, repeat), start=int(self.folds > 0)):
                task = RunTask(
                    name=" ".join(filter(None, (name, self.name(repeat, fold)))),
                    folder=self.folder(folder, repeat, fold),
                    dataset=split,
                    recipe=settings,
                )
                if (
                    self.folds
                    and not embedded
                    and uses_cached_embeddings(settings)
                    and not is_evaluated(Run(task.folder))
                ):
                    # Here, once, and not in every fold's process: they find all of it kept.
                    network, spec = build_model(settings, split, progress)
                    FrozenBackbone(network, spec, settings, dataset, progress).keep_all()
                    embedded = True
                yield task

    def finished(self, folder: Path) -> list[ResampledRun]:
        """Read the runs of one recipe.

        Raises:
            AssayError: one is not done.
        """
        numbers = range(1, self.folds + 1) if self.folds else (0,)
        runs = []
        for repeat in range(1, self.repeats + 1):
            for fold in numbers:
                run = Run(self.folder(folder, repeat, fold))
                if not is_evaluated(run):
                    raise AssayError(f"{run.folder} is not done: go on with --resume")
                runs.append(ResampledRun(repeat, fold, run, read_run_metrics(run)))
        return runs
