"""The search of the strategy `auto`: which candidates are tried, in which order, and which one is kept.

A linear probe comes first; its bundle is written at once, so that there is a usable result within seconds. Then come
the last feature map alone, other ways to fit photos into the input, a larger input, other backbones, averaging with
mirror images, and fine-tuning. If time is limited, fine-tuning has its share reserved: it gains more than another
backbone. A candidate replaces the best one before only if it is better by more than noise on the same held-out images.
"""

import time
from collections.abc import Callable

from assay.core.progress import Progress
from assay.data import Dataset
from assay.nets import ClassifierNetwork as Network
from assay.pipeline.auto.candidate_results import Candidate
from assay.pipeline.auto.candidate_search import (
    AutoResult,
    CandidateListener,
    CandidateSearch,
    NameListener,
    PlanListener,
)
from assay.pipeline.run_folder import Run
from assay.recipe import PreprocessSpec, Recipe
from assay.training import EpochListener, TrainingInterruptedError
from assay.training.lightning_trainer import interrupted_error


def search(
    run: Run,
    dataset: Dataset,
    recipe: Recipe,
    model: tuple[Network, PreprocessSpec],
    *,
    progress: Progress,
    keep_best_on_interrupt: bool = True,
    on_try: NameListener | None = None,
    on_candidate: CandidateListener | None = None,
    on_plan: PlanListener | None = None,
    on_network: NameListener | None = None,
    on_epoch: EpochListener | None = None,
    on_end: Callable[[], None] | None = None,
    started: float | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> AutoResult:
    """Find the best candidate; its calibrated bundle is written.

    Args:
        run: its folder receives the bundle, `candidates.json` and the files of fine-tuning.
        dataset: every image has its split; the test split is not used.
        recipe: with the strategy `auto`.
        model: the network of the first probe with its pretrained weights, and its preprocessing.
        progress: called during reading, embedding, fitting and training.
        keep_best_on_interrupt: whether Ctrl-C ends the search with the best candidate so far, once there is one.
        on_try: called before every candidate that is tried, with its name.
        on_candidate: called after every candidate.
        on_plan: called before fine-tuning.
        on_network: called before each of several networks is fine-tuned, with its name.
        on_epoch: called after every epoch of fine-tuning.
        on_end: called after the last candidate; Ctrl-C then interrupts the run.
        started: time of the clock at which the run began; None: now.
        clock: returns seconds.

    Raises:
        AssayError: images or weights cannot be read.
        TrainingInterruptedError: a termination signal, or Ctrl-C before the first candidate.
    """
    begin = clock() if started is None else started
    state = CandidateSearch(run, dataset, recipe, progress, on_try, on_candidate, clock, begin)
    state.start(model)
    try:
        state.try_probes()
        state.try_two_heads()
        state.try_fine_tuning(on_plan, on_network, on_epoch)
    except (KeyboardInterrupt, TrainingInterruptedError) as error:
        if not keep_best_on_interrupt or not _is_interrupt(error) or state.unrepeated:
            # Fine-tuning has a folder of its own; it is the run that can be resumed. A resumed run that has not yet
            # repeated all that it had tried keeps its bundle, which may be better.
            raise interrupted_error(run.folder) from error
        state.record(Candidate(name="further candidates", outcome="not tried", reason="interrupted"))
    if on_end is not None:
        on_end()
    return state.finish()


def _is_interrupt(error: BaseException) -> bool:
    """Whether Ctrl-C was the cause, rather than a termination signal."""
    cause = error if isinstance(error, KeyboardInterrupt) else error.__cause__
    return isinstance(cause, KeyboardInterrupt) or isinstance(getattr(cause, "__context__", None), KeyboardInterrupt)
