"""Choose the explanation method for a classifier: class activation maps where its head allows.

Else Grad-CAM.
"""

from functools import partial

from assay.core.errors import AssayError
from assay.inference import Classifier, Explainer


def create_explainer(classifier: Classifier) -> Explainer:
    """Return a function from a photo and a class, or none for the predicted one, to its explanation.

    Args:
        classifier: as `Classifier.load` gives it.

    Raises:
        AssayError: the head is no single linear layer, and the bundle cannot be made a torch network again.
    """
    if classifier.head is not None:
        return classifier.explain
    if classifier.bundle is None:
        raise AssayError(f"{classifier.info.name} has no bundle to take its network from: load it from a file")
    # captum takes half a second to import, and most heads do without.
    from assay.pipeline.grad_cam import GradCam  # noqa: PLC0415

    return partial(classifier.explain, evidence=GradCam(classifier.bundle))
