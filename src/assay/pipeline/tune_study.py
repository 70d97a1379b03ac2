"""The Optuna study of a search: draws the settings of trials, ends bad ones early, and is kept in a file."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import URL

from assay.pipeline.search_space import SearchSpace
from assay.pipeline.tune_result import Draw, Outcome, State
from assay.recipe import HalvingSpec, RangeSpec
from assay.training import EpochMetrics

STUDY_FILE = "study.db"

_NAME = "assay tune"
_STATES: dict[TrialState, State] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}
_BESTS, _SECONDS, _REASON = "bests", "seconds", "reason"


class Study:
    """The trials of a search. One process uses it at a time; other processes only train.

    A trial that was being trained when the process was killed is the first that `draw` returns.

    Args:
        storage: of Optuna.
        space: what trials are drawn from.
        trials: how many; None: all combinations of the space.
        halving: when `report` ends trials; None: never.
        maximize: whether higher values are better.
        seed: of the drawing.
    """

    def __init__(
        self,
        storage: optuna.storages.BaseStorage,
        space: SearchSpace,
        *,
        trials: int | None,
        halving: HalvingSpec | None,
        maximize: bool,
        seed: int,
    ) -> None:
        pruner: optuna.pruners.BasePruner = optuna.pruners.NopPruner()
        if halving is not None:
            pruner = optuna.pruners.SuccessiveHalvingPruner(halving.first_epochs, halving.factor)
        self._study = optuna.create_study(
            storage=storage,
            study_name=_NAME,
            load_if_exists=True,
            direction="maximize" if maximize else "minimize",
            pruner=pruner,
        )
        self._space = space
        self._seed = seed
        self._distributions = _distributions(space)
        self._open: dict[int, optuna.Trial] = {}
        if trials is None:
            for settings in space.combinations():
                values = dict(setting.split("=", 1) for setting in settings)
                self._study.enqueue_trial(values, skip_if_exists=True)
        self.total = space.count if trials is None else trials
        self._interrupted = [trial for trial in self._all() if trial.state is TrialState.RUNNING]
        for trial in self._interrupted:
            if trial.params.keys() != self._distributions.keys():
                self._study.tell(trial.number, state=TrialState.FAIL)  # killed while it was drawn

    def draw(self) -> Draw | None:
        """Return the next trial to train; None if all have been drawn."""
        while self._interrupted:
            trial = self._interrupted.pop(0)
            if trial.params.keys() == self._distributions.keys():
                self._open[trial.number] = optuna.Trial(self._study, trial._trial_id)  # noqa: SLF001 - no other way
                return self._draw_of(trial)
        drawn = sum(trial.state is not TrialState.WAITING for trial in self._known())
        if drawn >= self.total:
            return None
        # Drawing depends on the finished trials only, not on how often the search was interrupted.
        self._study.sampler = optuna.samplers.TPESampler(seed=self._seed + drawn, constant_liar=True)
        asked = self._study.ask(self._distributions)
        self._open[asked.number] = asked
        return self._draw_of(self._all()[asked.number])

    def report(self, number: int, values: Sequence[float]) -> bool:
        """Store a trial's value after each of its first epochs; return whether the trial should end."""
        trial = self._open[number]
        known = self._all()[number].intermediate_values
        for epoch, value in enumerate(values, start=1):
            if epoch not in known:
                trial.report(value, epoch)
                if trial.should_prune():
                    return True
        return False

    def finish(self, outcome: Outcome, value: float | None = None) -> None:
        """Store how a trial ended; `value` is what is optimized, only of a complete trial."""
        trial = self._open.pop(outcome.number)
        trial.set_user_attr(_BESTS, [asdict(best) for best in outcome.bests])
        trial.set_user_attr(_SECONDS, outcome.seconds)
        trial.set_user_attr(_REASON, outcome.reason)
        ended = next(known for known, name in _STATES.items() if name == outcome.state)
        self._study.tell(trial, value if outcome.state == "complete" else None, state=ended)

    def outcomes(self) -> list[Outcome]:
        """Return the trials that ended."""
        return [
            Outcome(
                trial.number,
                self._space.settings(trial.params),
                _STATES[trial.state],
                tuple(EpochMetrics(**best) for best in trial.user_attrs[_BESTS]),
                trial.user_attrs[_SECONDS],
                trial.user_attrs[_REASON],
            )
            for trial in self._known()
            if trial.state in _STATES
        ]

    def _draw_of(self, trial: FrozenTrial) -> Draw:
        return Draw(trial.number, self._space.settings(trial.params))

    def _all(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    def _known(self) -> list[FrozenTrial]:
        """Return the trials without those that were killed while they were drawn."""
        return [
            trial
            for trial in self._all()
            if trial.state in {TrialState.RUNNING, TrialState.WAITING} or _BESTS in trial.user_attrs
        ]


@contextmanager
def open_study(folder: Path, space: SearchSpace, **options: Any) -> Iterator[Study]:
    """Create the study of a folder, or open it to continue.

    Args:
        folder: of the search; the file `study.db` is an SQLite database.
        space: what trials are drawn from.
        **options: those of `Study`.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    url = URL.create("sqlite", database=str(folder / STUDY_FILE))
    storage = optuna.storages.RDBStorage(url.render_as_string(hide_password=False))
    try:
        yield Study(storage, space, **options)
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    found: dict[str, BaseDistribution] = {}
    for name, domain in space.domains.items():
        if not isinstance(domain, RangeSpec):
            found[name] = CategoricalDistribution(domain)
        elif isinstance(domain.low, int) and isinstance(domain.high, int):
            found[name] = IntDistribution(domain.low, domain.high, log=domain.log)
        else:
            found[name] = FloatDistribution(domain.low, domain.high, log=domain.log)
    return found
