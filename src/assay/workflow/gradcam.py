"""Evidence by gradients, for heads that are more than one linear layer.

The network is made anew in torch from the recipe and the weights that its bundle holds. Knows nothing of
photos or files.
"""

import numpy as np
import torch
from captum.attr import LayerGradCam
from pydantic import ValidationError
from torch import Tensor

from assay.bundle import Bundle, BundleError
from assay.inference import Outputs
from assay.nets import Classifier, create
from assay.recipe import Recipe


class GradCam:
    """Grad-CAM on the last feature map; an `assay.inference.cam.EvidenceMap`.

    Every channel is weighed by the mean gradient of the class's logit, less the mean of all logits as in
    `assay.inference.cam`. Where the head is one linear layer, this is the class activation map. Evidence
    against the class stays below 0; whoever draws the map cuts it off.

    Args:
        bundle: where the weights and the network's settings are from.

    Raises:
        BundleError: the bundle does not tell which network its weights belong to.

    Source: Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
    Localization" (2017), eqs. 1 and 2 without the ReLU; Kokhlikyan et al., "Captum" (2020).
    """

    method = "grad-cam"

    def __init__(self, bundle: Bundle) -> None:
        self._network = rebuild(bundle)
        self._gradients = LayerGradCam(self._contrast, self._network.backbone)

    def __call__(self, pixels: np.ndarray, outputs: Outputs, place: int) -> np.ndarray:
        """Map the evidence for a class.

        Args:
            pixels: uint8 [S, S, 3], one preprocessed photo.
            outputs: what the exported model says of it; not needed, since torch answers anew.
            place: of the class, in the order of the logits.

        Returns:
            float32 [h, w]: the logit's change if every feature of a cell were in proportion stronger.
        """
        del outputs
        images = torch.from_numpy(pixels[np.newaxis].copy())
        weighed: Tensor = self._gradients.attribute(images, target=place)
        # Pooling divides every gradient by the number of cells; the class activation map does not.
        cells = weighed[0, 0] * weighed[0, 0].numel()
        return cells.detach().numpy().astype(np.float32)

    def _contrast(self, images: Tensor) -> Tensor:
        logits: Tensor = self._network(images).logits
        return logits - logits.mean(dim=1, keepdim=True)


def rebuild(bundle: Bundle) -> Classifier:
    """Make a bundle's network in torch, in evaluation mode.

    Raises:
        BundleError: the bundle holds no recipe, or weights of another network than its recipe names.
    """
    info = bundle.info
    try:
        settings = Recipe.model_validate(info.provenance.recipe)
    except ValidationError:
        raise BundleError(f"{bundle.path} does not tell its network: its recipe cannot be read") from None
    spec = info.preprocess
    network = create(settings.net, len(info.classes), mean=spec.mean, std=spec.std, size=spec.size)
    tensors = {name: torch.from_numpy(value) for name, value in bundle.weights().items()}
    try:
        network.load_state_dict(tensors)
    except RuntimeError:
        raise BundleError(
            f"{bundle.path} contradicts itself: its weights are not those of its {settings.net.name}"
        ) from None
    return network.eval()
