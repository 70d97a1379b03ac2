"""Search the settings of a recipe, ranked by validation metrics. Test images are not used.

If the backbone is frozen and all trials use the same images, heads are trained on embeddings, many at once. Otherwise
every trial trains the whole recipe, and those that are not among the best end early.
"""

import shlex
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

from assay.core.errors import UsageError
from assay.core.files import read_json_state, write_text
from assay.core.progress import Progress, no_progress
from assay.core.tables import write_json
from assay.data import Dataset, as_path, write_manifest
from assay.data.loading import load_split_dataset
from assay.pipeline.build_network import build_model
from assay.pipeline.run_folder import check_unused, folder_lock
from assay.pipeline.search_space import SearchSpace, Settings
from assay.pipeline.tune_heads import Candidate, HeadTrainer
from assay.pipeline.tune_result import Outcome, RankBy, Trial, TuneResult, rank_trials
from assay.pipeline.tune_trials import (
    MANIFEST_FILE,
    METRICS_FILE,
    STATE_FIELDS,
    STATE_FILE,
    LocalTrials,
    TrialRunner,
    load_search_dataset,
    train_trials,
    trial_folder,
)
from assay.recipe import Recipe, TuneSpec, dump_recipe, load_recipe
from assay.training import TrainingInterruptedError, read_metrics
from assay.training.feature_extraction import uses_cached_embeddings

if TYPE_CHECKING:
    from assay.pipeline.tune_study import Study

_RECIPE_FILE, _LOCK_FILE = "recipe.yaml", ".lock"
_SAME_IMAGES = ("data", "train.seed", "preprocess.value_range")
"""Settings that have one value in a search: they determine the images and their splits."""
_SAME_PIXELS = ("augment", "preprocess")
"""Settings that have one value if all heads are trained on the same embeddings."""
_MAX_CHECKED = 1000
_STACK = 32


def tune_recipe(
    data: Path,
    recipe: str | Path,
    settings: Sequence[str],
    folder: Path,
    *,
    trials: int | None = None,
    folds: int = 0,
    by: RankBy = "accuracy",
    runner: TrialRunner | None = None,
    progress: Progress = no_progress,
) -> TuneResult:
    """Train combinations of settings, and rank them on validation images.

    Args:
        data: what `load_dataset` reads.
        recipe: a recipe's name or file; `tune.space` has values and ranges of its settings.
        settings: more values, such as `train.lr=1e-3,1e-2`; they replace those of the recipe.
        folder: new or empty; receives `tune.csv`, `.json`, `.txt`, `.html` and `best.yaml`, the best recipe.
        trials: number of trials; None: as the recipe says.
        folds: number of folds over training and validation images, only for heads; 0: the recipe's own split.
        by: the metric of the ranking; the other one breaks ties.
        runner: where whole recipes are trained; None: in this process, one after the other.
        progress: called during training.

    Raises:
        AssayError: the data, a recipe or its weights cannot be used, or no trial could be trained.
        UsageError: the trials would use different images, or the folder is in use.
        TrainingInterruptedError: Ctrl-C; `resume_tune` continues.
    """
    if folds == 1 or folds < 0:
        raise UsageError(f"--folds is {folds}: give 2 or more, or leave it out")
    check_unused(folder, command="tune")
    base = load_recipe(recipe)
    space = SearchSpace.of(base.tune, settings)
    trials = space.trial_count(base.tune.trials if trials is None else trials)
    search = _Search(folder.resolve(), recipe, space, trials, folds, by)
    search.check()
    data = as_path(data, folder.parent, progress)
    first = search.recipe
    dataset = load_split_dataset(
        data, first.data, first.train.seed, value_range=first.preprocess.value_range, progress=progress
    )
    if search.on_embeddings:
        search.head_trainer(dataset, no_progress).check(search.examples)
    else:
        build_model(first, dataset, progress)  # missing weights must not leave a folder behind
    search.create(data, dataset)
    return search.run(dataset, runner, progress)


def resume_tune(folder: Path, *, runner: TrialRunner | None = None, progress: Progress = no_progress) -> TuneResult:
    """Resume an interrupted search: complete trials are kept, interrupted ones continue from their last epoch.

    Args:
        folder: of the search.
        runner: as for `tune_recipe`.
        progress: as for `tune_recipe`.

    Raises:
        UsageError: the folder holds no search.
        AssayError: as for `tune_recipe`.
        TrainingInterruptedError: Ctrl-C.
    """
    folder = folder.resolve()
    if not (folder / STATE_FILE).is_file() or not (folder / _RECIPE_FILE).is_file():
        raise UsageError(f"{folder} holds no search: it needs the {STATE_FILE} and {_RECIPE_FILE} of `assay tune`")
    dataset = load_search_dataset(folder)
    state = read_json_state(folder / STATE_FILE, STATE_FIELDS) or {}
    spec = load_recipe(folder / _RECIPE_FILE).tune
    by: RankBy = "loss" if state["by"] == "loss" else "accuracy"
    search = _Search(folder, folder / _RECIPE_FILE, SearchSpace.of(spec), spec.trials, state["folds"], by)
    return search.run(dataset, runner, progress)


@dataclass
class _Search:
    """A search in a folder: the recipe, with the search space, and the options."""

    folder: Path
    source: str | Path
    """The recipe's name or file."""
    space: SearchSpace
    trials: int | None
    """None: all combinations."""
    folds: int
    by: RankBy

    def __post_init__(self) -> None:
        self.examples = [self.recipe_of(settings) for settings in islice(self.space.combinations(), _MAX_CHECKED)]
        """All combinations, with ranges at their low end."""
        self.recipe = self.examples[0]
        self.halving = load_recipe(self.source, next(self.space.combinations())).tune.halving
        self.on_embeddings = (
            all(map(uses_cached_embeddings, self.examples))
            and not _differing(self.examples, _SAME_PIXELS)
            and not self.space.range_below(_SAME_PIXELS)
        )
        """Whether all trials are heads on the same embeddings."""

    def recipe_of(self, settings: Settings) -> Recipe:
        """Return the recipe of a trial."""
        return load_recipe(self.source, settings).model_copy(update={"tune": TuneSpec()})

    def check(self) -> None:
        """Check that the trials use the same images.

        Raises:
            UsageError: they do not, or cannot be trained as asked.
        """
        if name := _differing(self.examples, _SAME_IMAGES) or self.space.range_below(_SAME_IMAGES):
            raise UsageError(f"--set {name}... can have only one value here: every trial must use the same photos")
        if any(recipe.train.strategy == "auto" for recipe in self.examples):
            raise UsageError(
                f"recipe {self.recipe.name} has the strategy auto, which searches by itself: set train.strategy=probe "
                "to search heads, or finetune"
            )
        if self.folds and not self.on_embeddings:
            raise UsageError(
                "--folds is for heads on a frozen backbone: set train.strategy=probe, with augmentation "
                "train.augmentation_views=4, or leave --folds out"
            )

    def create(self, data: Path, dataset: Dataset) -> None:
        """Write the files that `resume_tune` reads; the state file is the last one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_manifest(dataset, self.folder / MANIFEST_FILE)
        write_text(
            self.folder / _RECIPE_FILE, dump_recipe(self.space.stored_in(self.recipe, self.trials, self.halving))
        )
        state = {"data": str(data.resolve()), "by": self.by, "folds": self.folds, "classes": list(dataset.classes)}
        write_json(self.folder / STATE_FILE, state)

    def head_trainer(self, dataset: Dataset, progress: Progress) -> HeadTrainer:
        """Return the trainer of heads."""
        total = self.space.count if self.trials is None else self.trials
        return HeadTrainer(dataset, self.recipe, self.folds, total, progress)

    def run(self, dataset: Dataset, runner: TrialRunner | None, progress: Progress) -> TuneResult:
        """Train the trials that are missing; write the tables."""
        photos = len(dataset.part("train")) + len(dataset.part("val"))
        result = partial(TuneResult, self.folder, photos=photos, folds=self.folds)
        with folder_lock(self.folder / _LOCK_FILE), _resumable(self.folder):
            if self.on_embeddings and self.trials is None:
                found = self._all_heads(self.head_trainer(dataset, progress))
            else:
                found = self._drawn(dataset, runner, progress)
            complete = result(trials=rank_trials(found, self.by))
            complete.write()
        return complete

    def _all_heads(self, trainer: HeadTrainer) -> list[Trial]:
        settings = enumerate(self.space.combinations())
        return list(trainer.train(Candidate(number, chosen, self.recipe_of(chosen)) for number, chosen in settings))

    def _drawn(self, dataset: Dataset, runner: TrialRunner | None, progress: Progress) -> list[Trial]:
        from assay.pipeline.tune_study import open_study  # noqa: PLC0415 - needs Optuna

        halving = None if self.on_embeddings else self.halving
        with ExitStack() as stack:
            study = stack.enter_context(
                open_study(
                    self.folder,
                    self.space,
                    trials=self.trials,
                    halving=halving,
                    maximize=self.by == "accuracy",
                    seed=self.recipe.train.seed,
                )
            )
            if self.on_embeddings:
                self._drawn_heads(study, self.head_trainer(dataset, progress))
            else:
                train_trials(
                    study,
                    self.recipe_of,
                    self.folder,
                    runner or LocalTrials(),
                    by=self.by,
                    halving=halving,
                    progress=progress,
                )
            return [self._trial(outcome) for outcome in study.outcomes()]

    def _drawn_heads(self, study: "Study", trainer: HeadTrainer) -> None:
        while draws := list(islice(iter(study.draw, None), _STACK)):
            drawn = [Candidate(draw.number, draw.settings, self.recipe_of(draw.settings)) for draw in draws]
            for trial in trainer.train(drawn):
                value = trial.accuracy if self.by == "accuracy" else trial.loss
                ended = Outcome(trial.number, trial.settings, trial.state, trial.bests, trial.seconds, trial.reason)
                study.finish(ended, value)

    def _trial(self, outcome: Outcome) -> Trial:
        epochs = trial_folder(self.folder, outcome.number) / METRICS_FILE
        return Trial(
            outcome.settings,
            self.recipe_of(outcome.settings) if outcome.bests else self.recipe,
            outcome.bests,
            outcome.seconds,
            outcome.number,
            outcome.state,
            outcome.reason,
            read_metrics(epochs) if epochs.is_file() else (),
        )


@contextmanager
def _resumable(folder: Path) -> Iterator[None]:
    """Let the error of an interrupt name the command that resumes the search."""
    try:
        yield
    except (KeyboardInterrupt, TrainingInterruptedError) as error:
        command = f"assay tune --resume {shlex.quote(str(folder))}"
        raise TrainingInterruptedError(f"the search was interrupted; continue with: {command}") from error


def _differing(recipes: Iterable[Recipe], settings: Iterable[str]) -> str | None:
    """Return the first of some settings that is not the same in all recipes."""
    first, *others = recipes
    for name in settings:
        value = attrgetter(name)
        if any(value(recipe) != value(first) for recipe in others):
            return name
    return None
