"""A frozen backbone, compiled: the network's embeddings from the engine that also serves predictions."""

import numpy as np
import numpy.typing as npt

from assay.bundle.export import export_onnx, frozen_copy
from assay.inference import AUTO, create_engine
from assay.nets import Classifier
from assay.training import Embed


def compiled_backbone(network: Classifier, size: int) -> Embed:
    """Compile a network's backbone and pooling.

    Args:
        network: with its final backbone weights; the head does not matter.
        size: side of the images in pixels.

    Returns:
        A function from uint8 [N, S, S, 3] to float32 [N, D].
    """
    engine = create_engine(AUTO, export_onnx(frozen_copy(network), size))

    def embed(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        return engine.run(images).embedding

    return embed
