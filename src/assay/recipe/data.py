"""Settings of the data set, its classes and its split."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from assay.recipe.base import Probability, Settings

Layout = Literal["auto", "classes", "splits"]
"""What the folders directly in a data folder are."""


class SplitSpec(Settings):
    """How photos are split. A split that the data set defines itself is kept."""

    method: Literal["grouped", "random", "hash"] = "grouped"
    """grouped: all photos of a group go into one split; random: photos are split individually. Both are stratified
    by class. hash: a group's split depends on its name only, so that photos keep their splits when others are added;
    the shares are approximate."""
    train: Probability = 0.7
    """Share for training."""
    val: Probability = 0.15
    """Share for validation: early stopping, the best epoch, calibration."""
    test: Probability = 0.15
    """Share for the final evaluation. With 0 the classifier is evaluated on the validation photos, and the
    report says so."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if abs(self.train + self.val + self.test - 1) > 1e-6:
            raise ValueError(f"train + val + test must be 1, not {self.train + self.val + self.test:g}")
        if self.train == 0 or self.val == 0:
            raise ValueError("train and val must be above 0")
        return self


class DataSpec(Settings):
    """The photos and their labels."""

    layout: Layout = "auto"
    """How folders are interpreted. auto: as splits if their names say so (train, val, test, and what
    other tools call them), else classes; classes: each is a class, whatever its name; splits: each is a split
    that contains the class folders."""
    split: SplitSpec = SplitSpec()
    class_mapping: dict[str, tuple[str, ...]] | None = None
    """New classes, each with the classes that it combines. The original label is kept as `source_label`."""
    positive_class: str | None = None
    """The positive class; its precision, recall and F1 are reported first."""
    min_images_per_class: Annotated[int, Field(ge=0, le=10**9)] = 100
    """Classes with fewer photos cause a warning."""

    @model_validator(mode="after")
    def _no_class_twice(self) -> Self:
        sources = [source for group in (self.class_mapping or {}).values() for source in group]
        twice = sorted({source for source in sources if sources.count(source) > 1})
        if twice:
            raise ValueError(f"class_mapping names {twice[0]!r} more than once")
        return self
