"""Explanations of predictions: class activation maps where the head allows it, otherwise Grad-CAM."""

from functools import partial
from threading import Lock

import numpy as np

from assay.bundle import Bundle
from assay.core.errors import AssayError
from assay.inference import Classifier, Explainer, ModelOutputs


def create_explainer(classifier: Classifier) -> Explainer:
    """Return a function that explains a photo's class, by default the predicted one.

    Raises:
        AssayError: the head is not a single linear layer, and cannot be rebuilt in torch.
    """
    if classifier.head is not None:
        return classifier.explain
    if classifier.bundle is None:
        raise AssayError(f"{classifier.info.name} was not loaded from a bundle, so its head cannot be rebuilt")
    return partial(classifier.explain, evidence=GradCam(classifier.bundle))


class GradCam:
    """Grad-CAM on the last feature map; an `assay.inference.cam.EvidenceMap`.

    Only the head is rebuilt in torch; the feature map is that of the exported model. Every channel is weighted by the
    gradient of the class's logit minus the mean of all logits, as in `assay.inference.cam`; for a single linear layer
    the result is the class activation map. Evidence against the class stays negative.

    Args:
        bundle: its recipe and weights define the head.

    Raises:
        BundleError: the head cannot be rebuilt.

    Source: Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
    Localization" (2017), eqs. 1 and 2 without the ReLU; Kokhlikyan et al., "Captum" (2020).
    """

    method = "grad-cam"

    def __init__(self, bundle: Bundle) -> None:
        # captum and torch take seconds to import, and most heads do without.
        from captum.attr import LayerGradCam  # noqa: PLC0415

        from assay.pipeline.build_network import HeadOnFeatureMap, rebuild_head  # noqa: PLC0415

        network = HeadOnFeatureMap(rebuild_head(bundle))
        self._gradients = LayerGradCam(network, network.featuremap)
        # captum registers hooks on the layer during a call, which calls of other threads would trigger.
        self._lock = Lock()

    def __call__(self, pixels: np.ndarray, outputs: ModelOutputs, place: int) -> np.ndarray:
        """Map the evidence for a class: see `EvidenceMap`.

        Returns:
            float32 [h, w]: contribution of every cell to the logit, to first order.
        """
        import torch  # noqa: PLC0415

        from assay.training.device import torch_threads  # noqa: PLC0415

        del pixels
        featuremap = torch.from_numpy(outputs.featuremap[:1].copy())
        # So little work is a hundred times slower with several threads on a busy machine.
        with self._lock, torch_threads(1):
            weighted = self._gradients.attribute(featuremap, target=place)[0, 0]
        # Pooling divides every gradient by the number of cells; the class activation map does not.
        cells: np.ndarray = (weighted.detach() * weighted.numel()).numpy()
        return cells
