"""Settings: the schema of a run, the recipes that come with Assay, and `--set` overrides.

Knows nothing of pixels, files of photos or networks.
"""

from assay.recipe.abstain import AbstainSpec
from assay.recipe.augment import AugmentSpec, OfflineSpec, Transform
from assay.recipe.data import DataSpec, Layout, SplitSpec
from assay.recipe.load import dump_recipe, load_recipe, parse_recipe, recipe_names
from assay.recipe.net import NETWORKS, ConvNetSpec, HeadSpec, NetSpec, ResNetSpec
from assay.recipe.preprocess import PreprocessSpec
from assay.recipe.recipe import Recipe
from assay.recipe.serve import ImageFormat, LiveSpec, ServeSpec
from assay.recipe.train import EarlyStopping, StagedSpec, TrainSpec

__all__ = [
    "NETWORKS",
    "AbstainSpec",
    "AugmentSpec",
    "ConvNetSpec",
    "DataSpec",
    "EarlyStopping",
    "HeadSpec",
    "ImageFormat",
    "Layout",
    "LiveSpec",
    "NetSpec",
    "OfflineSpec",
    "PreprocessSpec",
    "Recipe",
    "ResNetSpec",
    "ServeSpec",
    "SplitSpec",
    "StagedSpec",
    "TrainSpec",
    "Transform",
    "dump_recipe",
    "load_recipe",
    "parse_recipe",
    "recipe_names",
]
