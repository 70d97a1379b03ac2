"""Recipes: the schema of a run's settings, the built-in YAML recipes, and `--set` overrides.

Imports are lazy: prediction needs only the settings that a bundle stores, and the other classes take a tenth of a
second to create.
"""

from assay.core.lazy_imports import lazy_attributes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from assay.recipe.augmentation import AugmentSpec, OfflineSpec, Transform
    from assay.recipe.data import DataSpec, Layout, SplitSpec
    from assay.recipe.deployment import ImageFormat, LiveSpec, ServeSpec
    from assay.recipe.load import dump_recipe, load_recipe, parse_recipe, recipe_names
    from assay.recipe.network import NETWORKS, ConvNetSpec, HeadSpec, NetSpec, ResNetSpec
    from assay.recipe.preprocess import PreprocessSpec
    from assay.recipe.recipe import AbstainSpec, Recipe
    from assay.recipe.training import EarlyStoppingSpec, StagedSpec, TrainSpec
    from assay.recipe.tuning import HalvingSpec, RangeSpec, TuneSpec

__all__ = [
    "NETWORKS",
    "AbstainSpec",
    "AugmentSpec",
    "ConvNetSpec",
    "DataSpec",
    "EarlyStoppingSpec",
    "HalvingSpec",
    "HeadSpec",
    "ImageFormat",
    "Layout",
    "LiveSpec",
    "NetSpec",
    "OfflineSpec",
    "PreprocessSpec",
    "RangeSpec",
    "Recipe",
    "ResNetSpec",
    "ServeSpec",
    "SplitSpec",
    "StagedSpec",
    "TrainSpec",
    "Transform",
    "TuneSpec",
    "dump_recipe",
    "load_recipe",
    "parse_recipe",
    "recipe_names",
]

_MODULES = {
    "augmentation": ("AugmentSpec", "OfflineSpec", "Transform"),
    "data": ("DataSpec", "Layout", "SplitSpec"),
    "deployment": ("ImageFormat", "LiveSpec", "ServeSpec"),
    "load": ("dump_recipe", "load_recipe", "parse_recipe", "recipe_names"),
    "network": ("NETWORKS", "ConvNetSpec", "HeadSpec", "NetSpec", "ResNetSpec"),
    "preprocess": ("PreprocessSpec",),
    "recipe": ("AbstainSpec", "Recipe"),
    "training": ("EarlyStoppingSpec", "StagedSpec", "TrainSpec"),
    "tuning": ("HalvingSpec", "RangeSpec", "TuneSpec"),
}
__getattr__ = lazy_attributes(__name__, {name: module for module, names in _MODULES.items() for name in names})
