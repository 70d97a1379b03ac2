"""What a run starts from: the network with its first weights, once it is sure that the run can go through.

Whatever must stop a run is said here, before it has a folder and an hour has gone into it.
"""

import torch

from assay.data import Dataset
from assay.errors import AssayError, UsageError
from assay.nets import Classifier as Network
from assay.nets import create, load_pretrained, normalization
from assay.progress import Progress, silent
from assay.recipe import PreprocessSpec, Recipe
from assay.training.device import choose

Start = tuple[Network, PreprocessSpec]
"""A network with the weights it starts from, and the preprocessing with every value filled in."""


def starting_network(recipe: Recipe, dataset: Dataset, progress: Progress = silent) -> Start:
    """Make the network a run starts from, and fill in what it wants of the pixels.

    Args:
        recipe: every setting.
        dataset: its classes are the network's.
        progress: told of a download.

    Returns:
        The network with its weights, and the preprocessing with mean and standard deviation.

    Raises:
        AssayError: the photos, the computer or the weights do not allow the run.
    """
    _refuse_unfit(recipe, dataset)
    mean, std = normalization(recipe.net.name)
    spec = recipe.preprocess
    if spec.mean is None:
        spec = spec.model_copy(update={"mean": mean, "std": std})
    torch.manual_seed(recipe.train.seed)
    network = create(recipe.net, len(dataset.classes), mean=spec.mean, std=spec.std, size=spec.size)
    if recipe.net.weights != "none":
        load_pretrained(network, recipe.net, progress=progress)
    return network, spec


def _refuse_unfit(recipe: Recipe, dataset: Dataset) -> None:
    choose(recipe.train)
    positive = recipe.data.positive
    if positive is not None and positive not in dataset.classes:
        names = ", ".join(dataset.classes)
        raise UsageError(
            f"the recipe looks for the class {positive!r}, which is none of {names}:"
            f" name one with --set 'data.positive={dataset.classes[-1]}', or none with data.positive=null"
        )
    if any(sample.split is not None for sample in dataset.samples):
        for part, name in (("train", "training"), ("val", "validation")):
            if not any(sample.split == part for sample in dataset.samples):
                raise AssayError(f"there are no {name} photos: change data.split or add photos")
