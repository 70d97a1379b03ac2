"""Training with the strategy `auto`: linear probes first, then fine-tuning, within a time budget.

Imports are lazy: reports need the candidates only, and the search writes reports.
"""

from typing import TYPE_CHECKING

from assay.core.lazy_imports import lazy_attributes

if TYPE_CHECKING:
    from assay.pipeline.auto.candidate_results import Candidate, Outcome
    from assay.pipeline.auto.fine_tuning_plan import FineTuningPlan

__all__ = ["Candidate", "FineTuningPlan", "Outcome"]

_MODULES = {"Candidate": "candidate_results", "FineTuningPlan": "fine_tuning_plan", "Outcome": "candidate_results"}
__getattr__ = lazy_attributes(__name__, _MODULES)
