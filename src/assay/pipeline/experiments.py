"""Experiments of several runs on the same images: cross-validation, and several recipes (variants) compared.

Complete runs are kept and an interrupted one is resumed, so that an experiment can be resumed at any time.
"""

import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal, TypeVar

from assay import __version__
from assay.core.errors import AssayError, UsageError
from assay.core.files import JsonTypes, read_json_state, write_text
from assay.core.tables import write_json
from assay.data import Dataset, as_path, read_manifest, write_manifest
from assay.data.loading import load_grouped_dataset
from assay.pipeline.build_network import build_model
from assay.pipeline.compare import rank, read_run_result
from assay.pipeline.experiment_runs import Resampling
from assay.pipeline.experiment_tables import CrossvalResult, VariantsResult, crossval_result, variant_of
from assay.pipeline.parallel_runs import (
    ExperimentCallbacks,
    complete_runs,
    default_jobs,
    prefix_errors,
    threads_per_run,
)
from assay.pipeline.run_folder import check_unused, folder_lock
from assay.recipe import Recipe, dump_recipe, load_recipe
from assay.recipe.variants import check_same_data, dump_variants, parse_variants
from assay.training import TrainingInterruptedError

Command = Literal["crossval", "variants"]
"""The command that created the folder of an experiment."""

_STATE_FIELDS: JsonTypes = {"classes": list, "done": bool, "folds": int, "repeats": int, "threads": int}
_Result = TypeVar("_Result", CrossvalResult, VariantsResult)


def cross_validate(
    data: Path,
    recipe: Recipe,
    folder: Path,
    *,
    folds: int = 5,
    repeats: int = 1,
    jobs: int | None = None,
    callbacks: ExperimentCallbacks | None = None,
) -> CrossvalResult:
    """Train and evaluate a classifier per fold.

    An existing test split is the test split of every fold, and each of the other images is in the validation split of
    one fold. Without one, every image is in the test split of one fold, and the shares of `data.split` determine how
    much of the rest is used for validation. Other existing splits are ignored.

    Args:
        data: what `load_dataset` reads.
        recipe: every setting.
        folder: output folder for the runs and tables, new or empty.
        folds: 2 or more.
        repeats: each with another seed, 1 or more.
        jobs: parallel runs; None: as many as processors and memory allow. Never changes a result. Above 1, a script
            needs the usual `if __name__ == "__main__":`.
        callbacks: called during the experiment.

    Raises:
        AssayError: the data, the recipe or the weights cannot be used.
        UsageError: a number is invalid, or the folder is in use.
        TrainingInterruptedError: Ctrl-C; `resume_crossval` continues.
    """
    if folds < 2:
        raise UsageError(f"cross-validation needs 2 folds or more, not {folds}")
    plan = Resampling(folds, repeats)
    callbacks = callbacks or ExperimentCallbacks()
    experiment, dataset = _create("crossval", data, {"": recipe}, folder, plan=plan, callbacks=callbacks)
    return _complete(experiment, dataset, jobs, callbacks, _summarize_crossval)


def resume_crossval(
    folder: Path, *, jobs: int | None = None, callbacks: ExperimentCallbacks | None = None
) -> CrossvalResult:
    """Resume an interrupted cross-validation; its result is the same as without the interruption.

    Raises:
        AssayError: the folder holds none, or its images are missing.
        TrainingInterruptedError: Ctrl-C.
    """
    experiment = _Experiment.open(folder, "crossval")
    return _complete(experiment, experiment.dataset(), jobs, callbacks or ExperimentCallbacks(), _summarize_crossval)


def train_variants(
    data: Path,
    recipes: Mapping[str, Recipe],
    folder: Path,
    *,
    folds: int = 0,
    repeats: int = 1,
    jobs: int | None = None,
    callbacks: ExperimentCallbacks | None = None,
) -> VariantsResult:
    """Train and evaluate several recipes on the same splits of the same images.

    Args:
        data: what `load_dataset` reads.
        recipes: two or more by name, with the same classes, split and seed.
        folder: output folder for the runs and tables, new or empty.
        folds: 2 or more: every variant is cross-validated, as by `cross_validate`; 0: one split per seed.
        repeats: each with another seed, 1 or more.
        jobs: as for `cross_validate`.
        callbacks: called during the experiment.

    Raises:
        AssayError: the data, a recipe or its weights cannot be used.
        UsageError: a number is invalid, the recipes would use different images, or the folder is in use.
        TrainingInterruptedError: Ctrl-C; `resume_variants` continues.
    """
    plan = Resampling(folds, repeats)
    callbacks = callbacks or ExperimentCallbacks()
    if len(recipes) < 2:
        raise UsageError("give two variants or more to compare")
    check_same_data(dict(recipes))
    experiment, dataset = _create("variants", data, recipes, folder, plan=plan, callbacks=callbacks)
    return _complete(experiment, dataset, jobs, callbacks, _summarize_variants)


def resume_variants(
    folder: Path, *, jobs: int | None = None, callbacks: ExperimentCallbacks | None = None
) -> VariantsResult:
    """Resume interrupted variants; their result is the same as without the interruption.

    Raises:
        AssayError: the folder holds none, or its images are missing.
        TrainingInterruptedError: Ctrl-C.
    """
    experiment = _Experiment.open(folder, "variants")
    return _complete(experiment, experiment.dataset(), jobs, callbacks or ExperimentCallbacks(), _summarize_variants)


@dataclass(frozen=True)
class _Experiment:
    """The folder of an experiment: images and settings shared by its runs, and a run folder each."""

    folder: Path
    command: Command

    @property
    def manifest(self) -> Path:
        return self.folder / "manifest.csv"

    @property
    def state(self) -> Path:
        """The state as JSON; written last, so that a folder that has it can be resumed."""
        return self.folder / f"{self.command}.json"

    @property
    def plan(self) -> Resampling:
        return Resampling.of(self.values())

    @classmethod
    def open(cls, folder: Path, command: Command) -> "_Experiment":
        """Open an existing experiment.

        Raises:
            UsageError: the folder holds none.
        """
        experiment = cls(folder, command)
        if not experiment.state.is_file():
            raise UsageError(
                f"{folder} holds nothing to resume: it needs the {experiment.state.name} of `assay {command}`"
            )
        return experiment

    def recipes(self) -> dict[str, Recipe]:
        """Read the recipes by name; that of a cross-validation has an empty name."""
        if self.command == "crossval":
            return {"": load_recipe(self.folder / "recipe.yaml")}
        file = self.folder / "recipes.yaml"
        return parse_variants(file.read_text(encoding="utf-8"), str(file))

    def write_recipes(self, recipes: Mapping[str, Recipe]) -> None:
        if self.command == "crossval":
            write_text(self.folder / "recipe.yaml", dump_recipe(recipes[""]))
        else:
            write_text(self.folder / "recipes.yaml", dump_variants(dict(recipes)))

    def values(self) -> dict[str, Any]:
        """Read the state.

        Raises:
            AssayError: it is damaged.
        """
        values = read_json_state(self.state, _STATE_FIELDS)
        if values is None:
            raise AssayError(f"{self.state} is damaged: start again in another folder")
        return values

    def dataset(self) -> Dataset:
        """Read the manifest, without opening the images."""
        return read_manifest(self.manifest, [str(name) for name in self.values()["classes"]])

    def save(self, values: Mapping[str, Any]) -> None:
        write_json(self.state, values)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes out, and tell on Ctrl-C how to resume.

        Raises:
            UsageError: another process is using the folder.
            TrainingInterruptedError: the block was interrupted.
        """
        try:
            with folder_lock(self.folder / ".lock"):
                yield
        except (KeyboardInterrupt, TrainingInterruptedError) as error:
            command = f"assay {self.command} --resume {shlex.quote(str(self.folder))}"
            message = f"interrupted; complete runs are kept, resume with: {command}"
            raise TrainingInterruptedError(message) from error


def _create(
    command: Command,
    data: Path,
    recipes: Mapping[str, Recipe],
    folder: Path,
    *,
    plan: Resampling,
    callbacks: ExperimentCallbacks,
) -> tuple[_Experiment, Dataset]:
    """Create the folder of an experiment, after checking that its runs can be trained."""
    check_unused(folder, command)
    first = next(iter(recipes.values()))
    source = as_path(data, folder.parent, callbacks.progress)
    dataset = load_grouped_dataset(
        source, first.data, value_range=first.preprocess.value_range, progress=callbacks.progress
    )
    split = plan.first_split(dataset, first)
    for name, recipe in recipes.items():
        with prefix_errors(name):
            build_model(recipe, split, callbacks.progress)
    experiment = _Experiment(folder, command)
    experiment.write_recipes(recipes)
    write_manifest(dataset, experiment.manifest)
    experiment.save(
        {
            "assay": __version__,
            "classes": list(dataset.classes),
            "done": False,
            "data": str(source.resolve()),
            "threads": threads_per_run(),
            **plan.to_dict(),
        }
    )
    return experiment, dataset


def _complete(
    experiment: _Experiment,
    dataset: Dataset,
    jobs: int | None,
    callbacks: ExperimentCallbacks,
    summarize: Callable[[_Experiment, Dataset], _Result],
) -> _Result:
    """Train the runs that are not complete, and write the tables."""
    plan, threads, recipes = experiment.plan, int(experiment.values()["threads"]), experiment.recipes()
    with experiment.locked():
        if callbacks.on_data is not None:
            callbacks.on_data(plan.with_warnings(dataset, next(iter(recipes.values()))))
        tasks = chain.from_iterable(
            plan.tasks(experiment.folder / name, name, dataset, recipe, threads=threads, progress=callbacks.progress)
            for name, recipe in recipes.items()
        )
        complete_runs(tasks, default_jobs(threads) if jobs is None else jobs, threads, callbacks)
        result = summarize(experiment, dataset)
        result.write()
        experiment.save({**experiment.values(), "done": True})
    return result


def _summarize_crossval(experiment: _Experiment, dataset: Dataset) -> CrossvalResult:
    folder, recipe = experiment.folder, experiment.recipes()[""]
    return crossval_result(folder, dataset, recipe, experiment.plan.completed(folder))


def _summarize_variants(experiment: _Experiment, dataset: Dataset) -> VariantsResult:
    plan, variants, results = experiment.plan, [], []
    for name, recipe in experiment.recipes().items():
        folder = experiment.folder / name
        runs = plan.completed(folder)
        if plan.folds:
            crossval_result(folder, dataset, recipe, runs).write()
        results.append(
            read_run_result(folder if plan.folds else runs[0].run.folder, recipe.data.positive_class, name=name)
        )
        variants.append(variant_of(name, recipe, folder, runs))
    positive = results[0].metrics.positive
    return VariantsResult(experiment.folder, dataset, plan, positive, tuple(variants), rank(results))
