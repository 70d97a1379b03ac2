"""What the search leaves for fine-tuning the best probe, and with which input it is fine-tuned."""

from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path

from assay.core.errors import AssayError
from assay.pipeline.auto.fine_tuning_plan import FineTuningCost, planned_size
from assay.pipeline.auto.probe import LinearProbe, Protocol, probe_name
from assay.pipeline.auto.probe_changes import ProbeChange

_ENOUGH_EPOCHS = 0.5
"""Share of the epochs of unlimited time; with fewer, a smaller input is used."""


@dataclass(frozen=True)
class FineTuningBudget:
    """Time for fine-tuning.

    Attributes:
        protocol: images and folds.
        run: folder of the run.
        smaller: a smaller input that keeps all pixels of the photos; None: there is none.
        costs: measured so far, by name of the probe.
    """

    protocol: Protocol
    run: Path
    smaller: ProbeChange | None
    costs: dict[str, FineTuningCost] = field(default_factory=dict)

    def start(self, probe: LinearProbe, seconds_left: float) -> LinearProbe:
        """Return the probe from which fine-tuning starts.

        Args:
            probe: the best one.
            seconds_left: until training must end.

        Returns:
            The best probe; or, if few of the epochs fit, one with a smaller input, whose embeddings and heads are still
            those of the best one. A fine-tuning that had begun is continued with its input.
        """
        if self.smaller is None:
            return probe
        recipe, size = self.smaller.apply(probe.recipe), planned_size(self.run)
        smaller = replace(probe, recipe=recipe, name=probe_name(recipe))
        if size is not None:
            return smaller if size == recipe.preprocess.size else probe
        if seconds_left <= 0 or seconds_left == inf:
            return probe
        try:
            cost = self.cost(probe)
        except AssayError:  # too little memory
            return smaller
        fitting, wanted = cost.fit_into(seconds_left), cost.fit_into(inf)
        is_enough = fitting is not None and wanted is not None and fitting[1] >= _ENOUGH_EPOCHS * wanted[1]
        return probe if is_enough else smaller

    def reserved(self, probe: LinearProbe, seconds_left: float, *, few_epochs: bool) -> float:
        """Return the seconds to leave for fine-tuning: 0 if there are too few for it.

        Args:
            probe: the best one.
            seconds_left: until training must end.
            few_epochs: whether the time of the fewest epochs is enough; else that of as many epochs as fit.
        """
        try:
            cost = self.cost(self.start(probe, seconds_left))
        except AssayError:  # too little memory, which is reported when fine-tuning is tried
            return 0.0
        fitting = cost.fit_into(seconds_left)
        if fitting is None:
            return 0.0
        comparison, epochs = fitting
        return cost.of_epochs(comparison, cost.least if few_epochs else epochs)

    def cost(self, probe: LinearProbe) -> FineTuningCost:
        """Measure how long fine-tuning of a probe takes, once.

        Raises:
            AssayError: the device has too little memory.
        """
        name = probe_name(probe.recipe)
        if name not in self.costs:
            self.costs[name] = FineTuningCost.of(self.protocol, probe)
        return self.costs[name]
