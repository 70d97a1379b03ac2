"""What the search changes in the best probe: features, resize mode, input size, backbone, and use of mirror images."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from math import log
from typing import NamedTuple

import numpy as np

from assay.core.errors import AssayError
from assay.data import Sample
from assay.evaluation.predictions import evenly_spaced
from assay.image import inspect
from assay.nets import uses_intermediate_features
from assay.nets.pretrained import local_networks
from assay.recipe import PreprocessSpec, Recipe
from assay.recipe.preprocess import MAX_SIZE

_MEASURED_IMAGES = 64
_SAME_SHAPE = log(1.1)
"""Logarithm of the aspect ratio below which photos count as square."""
_MORE_DETAIL = 1.25
"""Longer side of the photos, as a multiple of the input, above which a larger input is tried."""
_LARGER = 1.43
_SMALLER = 0.57
"""Of the input: fine-tuning may use as small a one for photos that have no more pixels."""
_LEAST_SMALLER = 96
"""Pixels; pretrained networks recognize little in smaller inputs."""
_SIZE_STEP = 32
_LARGER_BACKBONES = ("efficientnet-lite1", "efficientnet-lite2", "resnet18", "resnet34", "resnet50", "resnet50v2")


class ProbeChange(NamedTuple):
    """Changes of the best probe's recipe.

    Attributes:
        preprocess: changed settings of the preprocessing.
        net: changed settings of the network.
    """

    preprocess: dict[str, object]
    net: dict[str, object]

    def apply(self, recipe: Recipe) -> Recipe:
        """Return the changed recipe."""
        return recipe.model_copy(
            update={
                "preprocess": recipe.preprocess.model_copy(update=self.preprocess),
                "net": recipe.net.model_copy(update=self.net),
            }
        )

    @property
    def is_slower(self) -> bool:
        """Whether predictions take longer."""
        return (bool(self.net) and not self.drops_features) or "size" in self.preprocess

    @property
    def drops_features(self) -> bool:
        """Whether it leaves out the intermediate features, so that no photo has to be embedded again."""
        return self == _LAST_MAP_ALONE


_LAST_MAP_ALONE = ProbeChange({}, {"intermediate_features": False})
_MORE_FEATURES = ProbeChange({}, {"intermediate_features": True})


def first_recipe(recipe: Recipe) -> Recipe:
    """Return the recipe of the first network that is built: with the strategy `auto`, that of the first probe."""
    more = recipe.train.strategy == "auto" and recipe.train.auto.intermediate_features
    changed = _MORE_FEATURES.apply(recipe)
    return changed if more and uses_intermediate_features(changed.net) else recipe


def without_intermediate_features(recipe: Recipe) -> Recipe:
    """Return the recipe of the same network on its last feature map alone."""
    return _LAST_MAP_ALONE.apply(recipe) if uses_intermediate_features(recipe.net) else recipe


def probe_changes(samples: Sequence[Sample], recipe: Recipe) -> Iterator[ProbeChange]:
    """Yield the changes that suit the photos, in the order in which they are tried.

    Args:
        samples: training and validation images, of which some are measured.
        recipe: of the first probe.
    """
    if uses_intermediate_features(recipe.net):
        yield _LAST_MAP_ALONE
    sides, size = _region_sides(samples, recipe.preprocess), recipe.preprocess.size
    if len(sides) and float(np.median(np.abs(np.log(sides[:, 0] / sides[:, 1])))) > _SAME_SHAPE:
        for mode in ("stretch", "crop", "letterbox"):
            yield ProbeChange({"resize_mode": mode}, {})
    if len(sides) and float(np.median(sides.max(axis=1))) >= _MORE_DETAIL * size:
        larger = min(MAX_SIZE, round(size * _LARGER / _SIZE_STEP) * _SIZE_STEP)
        if larger > size:
            yield ProbeChange({"size": larger}, {})
    named, local = recipe.train.auto.backbones, local_networks()
    if named is None:
        # A file of weights belongs to one network.
        published = recipe.net.weights == "imagenet"
        named = tuple(name for name in _LARGER_BACKBONES if published and name in local)
    for name in named:
        # Mean and standard deviation are those of the weights.
        yield ProbeChange({"mean": None, "std": None}, {"name": name, "weights": "imagenet"})
    yield ProbeChange({}, {"flip_average": True})


def smaller_input(samples: Sequence[Sample], recipe: Recipe) -> ProbeChange | None:
    """Return a smaller input that keeps all pixels of at least half of the photos; None if there is none.

    Args:
        samples: as for `probe_changes`.
        recipe: as for `probe_changes`.
    """
    smaller = round(recipe.preprocess.size * _SMALLER / _SIZE_STEP) * _SIZE_STEP
    if not _LEAST_SMALLER <= smaller < recipe.preprocess.size:
        return None
    sides = _region_sides(samples, recipe.preprocess)
    fits = len(sides) and float(np.median(sides.max(axis=1))) <= smaller
    return ProbeChange({"size": smaller}, {}) if fits else None


def _region_sides(samples: Sequence[Sample], spec: PreprocessSpec) -> np.ndarray:
    """Return width and height of the region of interest of some photos in pixels, float64 [N, 2]."""
    left, top, right, bottom = spec.roi
    share = np.array([right - left, bottom - top]) * spec.center_crop
    found = []
    for sample in evenly_spaced(samples, _MEASURED_IMAGES):
        with suppress(OSError, AssayError):
            found.append(inspect(sample.read()))
    return np.array([(image.width, image.height) for image in found], dtype=np.float64).reshape(-1, 2) * share
