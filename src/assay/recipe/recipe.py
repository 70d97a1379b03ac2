"""`Recipe`, all settings of a run; among them abstention."""

from collections.abc import Iterator
from typing import Annotated, Self

from pydantic import Field, model_validator

from assay.recipe.augmentation import AugmentSpec
from assay.recipe.base import Settings, matches
from assay.recipe.data import DataSpec
from assay.recipe.deployment import LiveSpec, ServeSpec
from assay.recipe.network import NetSpec, check_known, has_published_weights
from assay.recipe.preprocess import PreprocessSpec
from assay.recipe.training import TrainSpec
from assay.recipe.tuning import TuneSpec


class AbstainSpec(Settings):
    """When a classifier answers `unknown`: at low confidence, and for out-of-distribution photos.

    Both thresholds are chosen on validation photos and stored in the bundle. Label and confidence are
    returned in any case; a client may ignore `unknown`.
    """

    enabled: bool = True
    """Choose the thresholds and store them in the bundle; otherwise the classifier never answers unknown."""
    target_precision: Annotated[float, Field(gt=0, lt=1)] = 0.99
    """Required precision of the predictions that are not `unknown`. If there are too few validation photos to guarantee
    it, training reports the precision that can be guaranteed."""
    max_false_positive_rate: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """Largest share of in-distribution photos that may be reported as out of distribution."""


_NAME_RULE = "must not be empty, start with a dot, or contain slashes or control characters"


class Recipe(Settings):
    """All settings of a run. Immutable."""

    name: Annotated[str, Field(max_length=100), matches(r"[^./\\\x00-\x1f][^/\\\x00-\x1f]*", _NAME_RULE)] = "default"
    """Name of the classifier and its run folders: without slashes, not starting with a dot."""
    description: str = ""
    """One or two sentences that help to choose a recipe."""
    data: DataSpec = DataSpec()
    preprocess: PreprocessSpec = PreprocessSpec()
    augment: AugmentSpec = AugmentSpec()
    net: NetSpec = NetSpec()
    train: TrainSpec = TrainSpec()
    abstain: AbstainSpec = AbstainSpec()
    serve: ServeSpec = ServeSpec()
    live: LiveSpec = LiveSpec()
    tune: TuneSpec = TuneSpec()

    @model_validator(mode="after")
    def _check_conflicts(self) -> Self:
        """Refuse settings that contradict each other; all of them are named."""
        if conflicts := [*self._source_label_conflicts(), *self._auto_conflicts()]:
            raise ValueError("; ".join(conflicts))
        return self

    def _source_label_conflicts(self) -> Iterator[str]:
        train = self.train
        if not train.source_labels:
            return
        if self.data.class_mapping is None:
            yield "train.source_labels needs data.class_mapping, which says what labels a class combines"
        settings = (("strategy", train.strategy), ("balance", train.balance), ("objective", train.objective))
        for name, value in settings:
            if value in ("auto", "probe", "sampler", "weights", "accuracy", "balanced_accuracy"):
                yield f"train.source_labels does not work with train.{name}={value}: change one of them"

    def _auto_conflicts(self) -> Iterator[str]:
        if self.train.strategy != "auto":
            return
        remedy = "choose another train.strategy"
        if self.net.weights == "none" or not has_published_weights(self.net.name):
            yield f"train.strategy is auto, which needs pretrained weights: {remedy}, such as scratch"
        if self.net.head.hidden:
            yield f"train.strategy is auto, which fits a linear head: set net.head.hidden=[], or {remedy}"
        for name in self.train.auto.backbones or ():
            check_known(name)
            if not has_published_weights(name):
                yield f"train.auto.backbones names {name}, for which no pretrained weights exist: remove it"
        if self.train.balance != "none":
            yield (
                "train.strategy is auto, which ignores train.balance: set it to none (and "
                f"train.objective=balanced_accuracy if all classes are equally important), or {remedy}"
            )
        if self.train.freeze:
            yield f"train.strategy is auto, which ignores train.freeze: set it to 0, or {remedy}"
