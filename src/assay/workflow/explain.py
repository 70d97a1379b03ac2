"""How answers are explained: by class activation maps where the head allows it, otherwise by Grad-CAM."""

from functools import partial

from assay.errors import AssayError
from assay.inference import Classifier, Explain


def explainer(classifier: Classifier) -> Explain:
    """Return a function from a photo and a class, or none for the predicted one, to its explanation.

    Args:
        classifier: as `Classifier.load` gives it.

    Raises:
        AssayError: the head is no single linear layer, and the bundle cannot be made a torch network again.
    """
    if classifier.head is not None:
        return classifier.explain
    if classifier.bundle is None:
        raise AssayError(
            f"{classifier.info.name} has no bundle to take its network from: load it from a file"
        )
    # captum takes half a second to import, and most heads do without.
    from assay.workflow.gradcam import GradCam  # noqa: PLC0415

    return partial(classifier.explain, evidence=GradCam(classifier.bundle))
