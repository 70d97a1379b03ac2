"""What a run depends on, by name, so that a checkpoint is never taken up by another run.

Knows the recipe and the labels. Where and how fast a run computes is not part of it.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping

from assay.recipe import Recipe
from assay.training.loader import Split

_PARTS = ("preprocess", "augment", "net", "train")
_HARMLESS = frozenset({"train.workers", "train.device", "train.tensorboard"})


def identity(recipe: Recipe, train: Split, val: Split) -> dict[str, str]:
    """Return every setting that affects the weights, and digests of the labels of both splits.

    The labels represent the images, which would take long to read. Settings that decide only where and how
    fast a run computes are left out.
    """
    settings = {
        name: value
        for name, value in _flat(recipe.model_dump(mode="json", include=set(_PARTS)))
        if name not in _HARMLESS
    }
    settings["the order or labels of the training photos"] = _digest(train)
    settings["the order or labels of the validation photos"] = _digest(val)
    return settings


def _flat(settings: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", json.dumps(value)


def _digest(split: Split) -> str:
    return hashlib.sha256(split.targets.astype("<i8").tobytes()).hexdigest()
