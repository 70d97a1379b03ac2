"""What a bundle says of photos whose embeddings are kept: its head answers, the backbone need not run.

Figures stay those of the file that ships: the bundle itself must say the same of some of the photos, else the
kept embeddings are not used. Knows nothing of how the head was found.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch

from assay.bundle import Bundle
from assay.data import Dataset, Pixels, Sample
from assay.inference import Classifier
from assay.inference.engine import Outputs
from assay.nets import create
from assay.nets.heads import Head
from assay.recipe import Recipe
from assay.training.probe import on_features
from assay.workflow.features import FrozenBackbone

TOLERANCE = 1e-4
"""Largest difference in a logit or in a number of an embedding between the bundle and what is kept."""

_COMPARED = 16


@dataclass(frozen=True)
class KeptEmbeddings:
    """The embeddings of a data set's photos under a bundle's backbone, as far as the disk holds them."""

    backbone: FrozenBackbone
    head: Head

    @classmethod
    def of(cls, bundle: Bundle, dataset: Dataset) -> Self | None:
        """Find them; None where the bundle's backbone was trained, so that nobody kept any.

        Args:
            bundle: written by this version: its recipe is understood.
            dataset: all photos of the data set.
        """
        recipe = Recipe.model_validate(bundle.info.provenance.recipe)
        if not on_features(recipe):
            return None
        spec = bundle.info.preprocess
        network = create(
            recipe.net, len(bundle.info.classes), mean=spec.mean, std=spec.std, size=spec.size
        ).eval()
        network.load_state_dict(
            {name: torch.from_numpy(value.copy()) for name, value in bundle.weights().items()}
        )
        return cls(FrozenBackbone(network, spec, recipe, dataset), network.head)

    def outputs(self, classifier: Classifier, samples: Sequence[Sample]) -> Outputs | None:
        """Return what a classifier says of photos, without feature maps.

        Args:
            classifier: made from the bundle.
            samples: of the data set.

        Returns:
            None where an embedding is not kept, or the classifier differs on one of 16 photos spread over all
            of them.

        Raises:
            AssayError: a photo can no longer be read.
        """
        embedding = self.backbone.kept(samples)
        if embedding is None or not len(embedding):
            return None
        with torch.inference_mode():
            logits = self.head(torch.from_numpy(embedding)).numpy()
        rows = np.unique(np.linspace(0, len(samples) - 1, _COMPARED).round().astype(int))
        pixels = Pixels([samples[row] for row in rows], classifier.preprocess)
        told = classifier.outputs(np.stack([pixels[row] for row in range(len(rows))]))
        same = _close(told.logits, logits[rows]) and _close(told.embedding, embedding[rows])
        return Outputs(logits, embedding, np.empty((len(samples), 0, 0, 0), np.float32)) if same else None


def _close(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and bool(np.abs(one - other).max() <= TOLERANCE)
