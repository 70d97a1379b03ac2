"""Training with the strategy `auto`: linear probes first, then fine-tuning, within a time budget."""

from assay.pipeline.auto.candidates import Candidate, Outcome
from assay.pipeline.auto.fine_tuning_plan import FineTuningPlan
from assay.pipeline.auto.search import AutoResult, search

__all__ = ["AutoResult", "Candidate", "FineTuningPlan", "Outcome", "search"]
