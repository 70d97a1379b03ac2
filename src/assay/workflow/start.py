"""What a run starts from: the network with its first weights, once it is sure that the run can go through.

Whatever must stop a run is said here, before it has a folder and an hour has gone into it.
"""

import torch

from assay.data import Dataset
from assay.data.prepare import refuse_untrainable
from assay.nets import Classifier as Network
from assay.nets import create, load_pretrained, normalization
from assay.progress import Progress, silent
from assay.recipe import PreprocessSpec, Recipe
from assay.training.device import choose
from assay.workflow.memory import refuse_too_large

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
    choose(recipe.train)
    refuse_untrainable(dataset, recipe.data)
    mean, std = normalization(recipe.net.name)
    spec = recipe.preprocess
    if spec.mean is None:
        spec = spec.model_copy(update={"mean": mean, "std": std})
    refuse_too_large(recipe.net, len(dataset.classes), spec.size)
    torch.manual_seed(recipe.train.seed)
    network = create(recipe.net, len(dataset.classes), mean=spec.mean, std=spec.std, size=spec.size)
    if recipe.net.weights != "none":
        load_pretrained(network, recipe.net, progress=progress)
    return network, spec
