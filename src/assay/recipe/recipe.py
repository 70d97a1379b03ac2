"""The whole of what a run can set."""

from typing import Annotated

from pydantic import Field

from assay.recipe.abstain import AbstainSpec
from assay.recipe.augment import AugmentSpec
from assay.recipe.base import Settings
from assay.recipe.data import DataSpec
from assay.recipe.net import NetSpec
from assay.recipe.preprocess import PreprocessSpec
from assay.recipe.serve import LiveSpec, ServeSpec
from assay.recipe.train import TrainSpec


class Recipe(Settings):
    """All settings of a run. Immutable."""

    name: Annotated[str, Field(pattern=r"^[^./\\\x00-\x1f][^/\\\x00-\x1f]*$", max_length=100)] = "default"
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
