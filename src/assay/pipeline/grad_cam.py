"""Grad-CAM for classifiers whose head is more than one linear layer.

Only the head is rebuilt in torch, from the recipe and the weights in the bundle; the feature map comes from
the exported model.
"""

from threading import Lock

import numpy as np
import torch
from captum.attr import LayerGradCam
from pydantic import ValidationError
from torch import Tensor, nn

from assay.bundle import Bundle, BundleError
from assay.inference import ModelOutputs
from assay.nets.heads import Head
from assay.recipe import Recipe
from assay.training.device import torch_threads

_HEAD_PREFIX = "head."


class GradCam:
    """Grad-CAM on the last feature map; an `assay.inference.cam.EvidenceMap`.

    Every channel is weighed by the gradient of the class's logit, less the mean of all logits as in
    `assay.inference.cam`. Where the head is one linear layer, this is the class activation map. Evidence
    against the class stays below 0; whoever draws the map cuts it off.

    Args:
        bundle: where the weights of the head and its settings are from.

    Raises:
        BundleError: the bundle does not tell which head its weights belong to.

    Source: Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
    Localization" (2017), eqs. 1 and 2 without the ReLU; Kokhlikyan et al., "Captum" (2020).
    """

    method = "grad-cam"

    def __init__(self, bundle: Bundle) -> None:
        tail = _HeadOnFeatureMap(rebuild_head(bundle))
        self._gradients = LayerGradCam(tail, tail.featuremap)
        # captum listens to the layer while it works, and would hear what other threads ask.
        self._lock = Lock()

    def __call__(self, pixels: np.ndarray, outputs: ModelOutputs, place: int) -> np.ndarray:
        """Map the evidence for a class: see `EvidenceMap`.

        Returns:
            float32 [h, w]: how much of the logit every cell contributes, to first order.
        """
        del pixels
        featuremap = torch.from_numpy(outputs.featuremap[:1].copy())
        # On a busy machine several threads take a hundred times longer for so little.
        with self._lock, torch_threads(1):
            weighed: Tensor = self._gradients.attribute(featuremap, target=place)[0, 0]
        # Pooling divides every gradient by the number of cells, which the class activation map does not.
        cells: np.ndarray = (weighed.detach() * weighed.numel()).numpy()
        return cells


class _HeadOnFeatureMap(nn.Module):
    """What stands behind the backbone: pooling and head; gives every logit less the mean of all."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.featuremap = nn.Identity()
        self.head = head

    def forward(self, featuremap: Tensor) -> Tensor:
        logits: Tensor = self.head(self.featuremap(featuremap).mean(dim=(2, 3)))
        return logits - logits.mean(dim=1, keepdim=True)


def rebuild_head(bundle: Bundle) -> Head:
    """Make a bundle's head in torch, in evaluation mode.

    Raises:
        BundleError: the bundle holds no recipe that can be read, or weights of another head.
    """
    try:
        settings = Recipe.model_validate(bundle.info.provenance.recipe)
    except ValidationError:
        raise BundleError(f"{bundle.path} does not tell its network: its recipe cannot be read") from None
    tensors = {
        name.removeprefix(_HEAD_PREFIX): torch.from_numpy(value)
        for name, value in bundle.weights().items()
        if name.startswith(_HEAD_PREFIX)
    }
    first = "hidden.0.1.weight" if settings.net.head.hidden else "fc.weight"
    try:
        head = Head(settings.net.head, tensors[first].shape[-1], len(bundle.info.classes))
        head.load_state_dict(tensors)
    except (KeyError, IndexError, RuntimeError):
        raise BundleError(
            f"{bundle.path} contradicts itself: its weights are not those of the head in its recipe"
        ) from None
    return head.eval()
