"""Recipes: the schema of a run's settings, the built-in YAML recipes, and `--set` overrides."""

from assay.recipe.augmentation import AugmentSpec, OfflineSpec, Transform
from assay.recipe.data import DataSpec, Layout, SplitSpec
from assay.recipe.load import dump_recipe, load_recipe, parse_recipe, recipe_names
from assay.recipe.network import NETWORKS, ConvNetSpec, HeadSpec, NetSpec, ResNetSpec
from assay.recipe.preprocess import PreprocessSpec
from assay.recipe.recipe import AbstainSpec, ImageFormat, LiveSpec, Recipe, ServeSpec
from assay.recipe.training import EarlyStoppingSpec, StagedSpec, TrainSpec

__all__ = [
    "NETWORKS",
    "AbstainSpec",
    "AugmentSpec",
    "ConvNetSpec",
    "DataSpec",
    "EarlyStoppingSpec",
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
