"""Which photos, under which labels, in which part."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from assay.recipe.base import Probability, Settings

Layout = Literal["auto", "classes", "splits"]
"""What the folders directly in a data folder are."""


class SplitSpec(Settings):
    """How photos are shared out. A split that the data brings along is kept as it is."""

    method: Literal["grouped", "random"] = "grouped"
    """grouped: photos of one group stay in one part; random: photo by photo. Both keep class proportions."""
    train: Probability = 0.7
    """Share that teaches."""
    val: Probability = 0.15
    """Share that chooses: early stopping, best weights, calibration."""
    test: Probability = 0.15
    """Share that judges, once. 0 leaves the judgement to validation, and the report says so."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if abs(self.train + self.val + self.test - 1) > 1e-6:
            raise ValueError(f"train + val + test must make 1, not {self.train + self.val + self.test:g}")
        if self.train == 0 or self.val == 0:
            raise ValueError("train and val must be above 0")
        return self


class DataSpec(Settings):
    """The photos and their labels."""

    layout: Layout = "auto"
    """What the folders directly in a data folder are. auto: parts where their names say so (train, val, test
    and what other tools call them), else classes; classes: each is a class, whatever it is called; splits:
    each is a part that holds the class folders."""
    split: SplitSpec = SplitSpec()
    mapping: dict[str, tuple[str, ...]] | None = None
    """New class: the classes it is made of. The original label is kept as `source_label`."""
    positive: str | None = None
    """The class that is looked for; its precision, recall and F1 are named first."""
    advised_per_class: Annotated[int, Field(ge=0, le=10**9)] = 100
    """Photos a class below which a warning is given."""

    @model_validator(mode="after")
    def _no_class_twice(self) -> Self:
        sources = [source for group in (self.mapping or {}).values() for source in group]
        twice = sorted({source for source in sources if sources.count(source) > 1})
        if twice:
            raise ValueError(f"mapping names {twice[0]!r} more than once")
        return self
