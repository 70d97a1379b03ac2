"""Candidates of the strategy `auto` are tried, compared with the best one before, recorded, and kept or not."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf

from assay.core.errors import AssayError
from assay.core.progress import Progress
from assay.data import Dataset
from assay.nets import ClassifierNetwork as Network
from assay.pipeline.auto.candidate_results import Candidate, Outcome, describe_gain, read_candidates, write_candidates
from assay.pipeline.auto.fine_tuning import FineTuned, fine_tune
from assay.pipeline.auto.fine_tuning_budget import FineTuningBudget
from assay.pipeline.auto.fine_tuning_plan import FineTuningPlan, has_plan
from assay.pipeline.auto.probe import (
    TWO_HEADS,
    LinearProbe,
    Protocol,
    embed_images,
    fit_probe,
    probe_name,
    with_discriminant,
)
from assay.pipeline.auto.probe_changes import ProbeChange, probe_changes, smaller_input, without_intermediate_features
from assay.pipeline.auto.probe_cost import ProbeCost
from assay.pipeline.auto.scores import WORTH_TIME, gain_over
from assay.pipeline.build_network import build_model
from assay.pipeline.cached_embeddings import FrozenBackbone
from assay.pipeline.calibrate import ConfidenceCalibration
from assay.pipeline.export_and_evaluate import TrainedModel, write_calibrated_bundle
from assay.pipeline.run_folder import Run
from assay.recipe import PreprocessSpec, Recipe
from assay.training import EpochListener, History, TrainingInterruptedError

CandidateListener = Callable[[Candidate], None]
PlanListener = Callable[[FineTuningPlan], None]
NameListener = Callable[[str], None]

_NO_EPOCHS = History((), 0, stopped_early=False, seconds=0.0)


@dataclass(frozen=True)
class AutoResult:
    """The result of a search.

    Attributes:
        model: the best candidate.
        calibration: of the run's bundle, which holds the best candidate.
        probe: the best linear probe; a fine-tuned network started from its recipe without intermediate features, and
            possibly with a smaller input.
        protocol: images and folds.
        candidates: all of them in the order tried.
        history: of the fine-tuning, if its network was kept; else without epochs.
    """

    model: TrainedModel
    calibration: ConfidenceCalibration
    probe: LinearProbe
    protocol: Protocol
    candidates: tuple[Candidate, ...]
    history: History


@dataclass
class CandidateSearch:
    """A search: its settings, and the best candidate so far.

    The methods are called in their order: `start`, some or all of those that try candidates, `finish`. Arguments are
    those of `search`.
    """

    run: Run
    dataset: Dataset
    recipe: Recipe
    progress: Progress
    on_try: NameListener | None
    on_candidate: CandidateListener | None
    clock: Callable[[], float]
    started: float
    candidates: list[Candidate] = field(default_factory=list)

    def start(self, model: tuple[Network, PreprocessSpec]) -> None:
        """Fit the first probe and write its bundle."""
        self._earlier = read_candidates(self.run.folder)
        self._before = {candidate.name for candidate in self._earlier if candidate.photos}
        # The time of an earlier session counts too, up to its last candidate. What it tried is tried again even if no
        # time is left, so that a run that is resumed keeps its classifier.
        self.started -= max((candidate.after for candidate in self._earlier), default=0.0)
        self.protocol = Protocol.of(self.dataset, self.recipe)
        begin = self.clock()
        self._trying(probe_name(self.recipe))
        self._probe = fit_probe(self.protocol, self.recipe, model, self.progress)
        seconds = self.clock() - begin
        self._probe_cost = ProbeCost(self._probe, seconds)
        self._tuned: tuple[float, FineTuned] | None = None
        self._written: tuple[TrainedModel, ConfidenceCalibration] | None = None
        if not self._before or not self.run.bundle.is_file():
            self._written = self._write_bundle(self._model())
        self._record_probe(self._probe, seconds, "the first candidate", kept=True)
        # Reads some photos, so that the first bundle does not wait for it.
        self._budget = FineTuningBudget(
            self.protocol, self.run.folder, smaller_input(self.protocol.samples, self.recipe)
        )

    def try_probes(self) -> None:
        """Try fewer features, other geometries, a larger input, other backbones and mirror images.

        Each changes the best probe so far.
        """
        for change in probe_changes(self.protocol.samples, self.recipe):
            recipe = change.apply(self._probe.recipe)
            name = probe_name(recipe)
            if self._is_perfect or name in {candidate.name for candidate in self.candidates}:
                continue
            if name not in self._before and has_plan(self.run.folder):
                self._skip(name, "fine-tuning had begun without it")
                continue
            # A network is built, and its weights are downloaded, only if any time is left.
            if name not in self._before and (reason := self._lacks_time(0.0, change)):
                self._skip(name, reason)
                continue
            begin = self.clock()
            self._trying(name)
            try:
                model = build_model(recipe, self.dataset, self.progress)
                superset = self._probe.embeddings if change.drops_features else None
                seconds = 0.0 if superset is not None else self._seconds(recipe, model)
                if name not in self._before and (reason := self._lacks_time(seconds, change)):
                    self._skip(name, reason)
                    continue
                probe = fit_probe(self.protocol, recipe, model, self.progress, superset)
            except AssayError as error:
                self._skip(name, str(error))
                continue
            self._compare_probe(probe, begin, slower=change.is_slower)

    def try_two_heads(self) -> None:
        """Average the head of the best probe with one by discriminant analysis: predictions take no longer."""
        if self._is_perfect:
            return
        name = f"{self._probe.name}, {TWO_HEADS}"
        if name not in self._before and self._left <= 0:
            self._skip(name, "no time left")
            return
        begin = self.clock()
        self._trying(name)
        probe = with_discriminant(self.protocol, self._probe)
        self._compare_probe(probe, begin)

    def try_fine_tuning(
        self, on_plan: PlanListener | None, on_network: NameListener | None, on_epoch: EpochListener | None
    ) -> None:
        """Fine-tune the network of the best probe, and average its weights with those before."""
        name = _fine_tuning_name(without_intermediate_features(self._probe.recipe))
        if not self.recipe.train.auto.fine_tune:
            self._skip(name, "train.auto.fine_tune is false")
            return
        if self._is_perfect:
            self._skip(name, "the best probe makes no mistakes on the held-out photos")
            return
        begin = self.clock()
        try:
            start = self._budget.starting_recipe(self._probe, self._left)
            name = _fine_tuning_name(start)
            tuned = self._fine_tune(start, name, on_plan, on_network, on_epoch)
        except TrainingInterruptedError:
            raise
        except AssayError as error:
            tuned = str(error)
        if isinstance(tuned, str):
            self._skip(name, tuned)
            return
        seconds, best = self.clock() - begin, tuned.baseline
        for share in sorted(tuned.scores, reverse=True):
            scores = tuned.scores[share]
            gain = gain_over(scores, best)
            better = gain.is_better()
            if better:
                best, self._tuned = scores, (share, tuned)
            what = name if share == 1 else f"average of weights, {100 * share:.0f} % fine-tuned"
            outcome: Outcome = "kept" if better else "not kept"
            reason = describe_gain(gain, self.protocol.objective)
            self.record(
                Candidate.tried(
                    what,
                    scores,
                    outcome,
                    reason,
                    seconds=seconds if share == 1 else 0.0,
                    after=self._elapsed,
                    fine_tuned=True,
                )
            )

    def _fine_tune(
        self,
        recipe: Recipe,
        name: str,
        on_plan: PlanListener | None,
        on_network: NameListener | None,
        on_epoch: EpochListener | None,
    ) -> FineTuned | str:
        """Fine-tune the network of a recipe; return why not, if it is not possible."""
        model = build_model(recipe, self.dataset, self.progress)
        superset = self._probe.embeddings if recipe.preprocess == self._probe.recipe.preprocess else None
        embedding = self._seconds(recipe, model) if superset is None else 0.0
        plan = FineTuningPlan.of(
            self.protocol,
            recipe,
            self.run.folder,
            lambda: self._left - embedding,
            partial(self._budget.cost, self._probe.network),
        )
        if isinstance(plan, str):
            return plan
        if on_plan is not None:
            on_plan(plan)
        self._trying(name)
        return fine_tune(
            self.protocol,
            embed_images(self.protocol, recipe, model, self.progress, superset),
            plan,
            self.run.folder,
            best=self._probe,
            progress=self.progress,
            on_network=on_network,
            on_epoch=on_epoch,
        )

    def _seconds(self, recipe: Recipe, model: tuple[Network, PreprocessSpec]) -> float:
        """Return the seconds that the probe of a network will take; 0 if time is not limited or they are few."""
        if self._left == inf:
            return 0.0
        cached = FrozenBackbone(*model, recipe, self.dataset).cached(self.protocol.samples) is not None
        return 0.0 if cached else self._probe_cost.of(*model)

    def _lacks_time(self, seconds: float, change: ProbeChange) -> str:
        """Return why there is no time for a probe that takes some seconds; empty if there is."""
        if self._left <= seconds:
            return "no time left"
        # A probe whose predictions take no longer is worth some epochs of fine-tuning.
        needed = self._reserved(few_epochs=not change.is_slower)
        return "fine-tuning needs the time" if self._left < seconds + needed else ""

    def _reserved(self, *, few_epochs: bool) -> float:
        """Return the seconds to leave for fine-tuning the best probe; see `FineTuningBudget.reserved`."""
        if not self.recipe.train.auto.fine_tune or self._left == inf:
            return 0.0
        return self._budget.reserved(self._probe, self._left, few_epochs=few_epochs)

    def _trying(self, name: str) -> None:
        if self.on_try is not None:
            self.on_try(name)

    def _skip(self, name: str, reason: str) -> None:
        self.record(Candidate(name=name, outcome="not tried", reason=reason))

    @property
    def _is_perfect(self) -> bool:
        """Whether nothing can be gained: no mistakes, and hardly any doubt."""
        scores = self._probe.scores
        return scores.accuracy == 1 and float(scores.losses.mean()) < WORTH_TIME.loss

    def record(self, candidate: Candidate) -> None:
        """Store a candidate and report it."""
        self.candidates.append(candidate)
        write_candidates(self.run.folder, [*self.candidates, *self.unrepeated])
        if self.on_candidate is not None:
            self.on_candidate(candidate)

    @property
    def unrepeated(self) -> list[Candidate]:
        """What an earlier session tried and this one has not tried again yet."""
        repeated = {candidate.name for candidate in self.candidates}
        return [candidate for candidate in self._earlier if candidate.photos and candidate.name not in repeated]

    def finish(self) -> AutoResult:
        """Write the bundle of the best candidate, if it is not there yet."""
        kept = [place for place, candidate in enumerate(self.candidates) if candidate.outcome == "kept"]
        for place in kept[:-1]:
            self.candidates[place] = replace(self.candidates[place], outcome="replaced")
        write_candidates(self.run.folder, self.candidates)
        model = self._model()
        if self._written is None or model.network is not self._written[0].network:
            self._written = self._write_bundle(model)
        history = _NO_EPOCHS if self._tuned is None else self._tuned[1].history
        return AutoResult(model, self._written[1], self._probe, self.protocol, tuple(self.candidates), history)

    def _write_bundle(self, model: TrainedModel) -> tuple[TrainedModel, ConfidenceCalibration]:
        return model, write_calibrated_bundle(self.run, self.dataset, model)

    @property
    def _elapsed(self) -> float:
        return self.clock() - self.started

    @property
    def _left(self) -> float:
        minutes = self.recipe.train.auto.minutes
        return inf if minutes is None else 60 * minutes - self._elapsed

    def _model(self) -> TrainedModel:
        probe = self._probe
        if self._tuned is None:
            return TrainedModel(probe.network, probe.recipe, probe.spec, probe.held_out(self.protocol, self.progress))
        share, tuned = self._tuned
        held_out = tuned.held_out_images(share, self.progress)
        return TrainedModel(tuned.network(share), tuned.start.recipe, tuned.start.spec, held_out)

    def _compare_probe(self, probe: LinearProbe, begin: float, *, slower: bool = False) -> None:
        """Record a probe begun at a time of the clock, and keep it if it is better than the best one before."""
        gain = gain_over(probe.scores, self._probe.scores)
        better = gain.is_better(slower=slower)
        reason = describe_gain(gain, self.protocol.objective, slower=slower)
        self._record_probe(probe, self.clock() - begin, reason, kept=better)
        if better:
            self._probe = probe

    def _record_probe(self, probe: LinearProbe, seconds: float, reason: str, *, kept: bool) -> None:
        outcome: Outcome = "kept" if kept else "not kept"
        self.record(Candidate.tried(probe.name, probe.scores, outcome, reason, seconds=seconds, after=self._elapsed))


def _fine_tuning_name(recipe: Recipe) -> str:
    return f"fine-tuning from {probe_name(recipe).removeprefix('linear probe, ')}"
