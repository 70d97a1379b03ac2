"""What is called during training: to print progress, or to record events."""

from collections.abc import Callable
from dataclasses import dataclass

from assay.core.progress import Progress, no_progress
from assay.data import Dataset
from assay.pipeline.auto import Candidate, FineTuningPlan
from assay.training import EpochListener, History
from assay.training.callbacks import Profile


@dataclass(frozen=True)
class TrainCallbacks:
    """Called during training; no-ops by default."""

    progress: Progress = no_progress
    on_data: Callable[[Dataset], None] | None = None
    """Called when the dataset is loaded and split."""
    on_epoch: EpochListener | None = None
    """Called after every epoch."""
    on_try: Callable[[str], None] | None = None
    """Called before every candidate of the strategy `auto` that is tried, with its name."""
    on_candidate: Callable[[Candidate], None] | None = None
    """Called after every candidate of the strategy `auto`."""
    on_plan: Callable[[FineTuningPlan], None] | None = None
    """Called before the strategy `auto` fine-tunes."""
    on_network: Callable[[str], None] | None = None
    """Called before the strategy `auto` fine-tunes one of several networks, with its name."""
    on_search_end: Callable[[], None] | None = None
    """Called after the last candidate of the strategy `auto`; what follows is the evaluation and the report."""
    on_history: Callable[[History], None] | None = None
    """Called after the last epoch, if there was one."""
    profile: Profile | None = None
    """Collects the time of every stage, which is then written to `profile.json` in the run."""
