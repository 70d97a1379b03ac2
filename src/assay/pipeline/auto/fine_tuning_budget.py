"""What the search leaves for fine-tuning the best probe, and with which features and input it is fine-tuned."""

from dataclasses import dataclass, field
from math import inf
from pathlib import Path

from assay.core.errors import AssayError
from assay.nets import ClassifierNetwork as Network
from assay.pipeline.auto.fine_tuning_plan import FineTuningCost, planned_size
from assay.pipeline.auto.probe import LinearProbe, Protocol, probe_name
from assay.pipeline.auto.probe_changes import ProbeChange, without_intermediate_features
from assay.recipe import Recipe

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

    def starting_recipe(self, probe: LinearProbe, seconds_left: float) -> Recipe:
        """Return the recipe of the probe from which fine-tuning starts.

        Fine-tuning adapts the last feature map, and does not gain from intermediate features: statistics of early
        layers change with every random crop.

        Args:
            probe: the best one.
            seconds_left: until training must end.

        Returns:
            That of the best probe, on its last feature map alone; if few of the epochs fit, with a smaller input. A
            fine-tuning that had begun is continued with its input.
        """
        recipe = without_intermediate_features(probe.recipe)
        if self.smaller is None:
            return recipe
        smaller, size = self.smaller.apply(recipe), planned_size(self.run)
        if size is not None:
            return smaller if size == smaller.preprocess.size else recipe
        if seconds_left <= 0 or seconds_left == inf:
            return recipe
        try:
            cost = self.cost(probe.network, recipe)
        except AssayError:  # too little memory
            return smaller
        fitting, wanted = cost.fit_into(seconds_left), cost.fit_into(inf)
        is_enough = fitting is not None and wanted is not None and fitting[1] >= _ENOUGH_EPOCHS * wanted[1]
        return recipe if is_enough else smaller

    def reserved(self, probe: LinearProbe, seconds_left: float, *, few_epochs: bool) -> float:
        """Return the seconds to leave for fine-tuning: 0 if there are too few for it.

        Args:
            probe: the best one.
            seconds_left: until training must end.
            few_epochs: whether the time of the fewest epochs is enough; else that of as many epochs as fit.
        """
        try:
            cost = self.cost(probe.network, self.starting_recipe(probe, seconds_left))
        except AssayError:  # too little memory, which is reported when fine-tuning is tried
            return 0.0
        fitting = cost.fit_into(seconds_left)
        if fitting is None:
            return 0.0
        comparison, epochs = fitting
        return cost.of_epochs(comparison, cost.least if few_epochs else epochs)

    def cost(self, network: Network, recipe: Recipe) -> FineTuningCost:
        """Measure how long fine-tuning takes, once for every recipe.

        Args:
            network: like that of the recipe; intermediate features, which take no time, and the input may differ.
            recipe: to start from.

        Raises:
            AssayError: the device has too little memory.
        """
        name = probe_name(recipe)
        if name not in self.costs:
            self.costs[name] = FineTuningCost.of(self.protocol, network, recipe)
        return self.costs[name]
