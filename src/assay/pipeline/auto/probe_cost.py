"""How long a linear probe will take, from the duration of the first one and the speeds of both networks."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch

from assay.bundle.onnx_export import frozen_copy
from assay.nets import ClassifierNetwork as Network
from assay.pipeline.auto.probe import LinearProbe
from assay.recipe import PreprocessSpec

_TIMED_IMAGES, _TIMED_PASSES = 8, 2


def forward_seconds(network: Network, size: int, clock: Callable[[], float] = time.perf_counter) -> float:
    """Measure the time of a network's forward pass per image in torch, on random pixels.

    Args:
        network: stays as it is; a copy in evaluation mode is measured.
        size: side of the images in pixels.
        clock: returns seconds.
    """
    frozen = frozen_copy(network)
    images = torch.randint(0, 256, (_TIMED_IMAGES, size, size, 3), dtype=torch.uint8)
    seconds = []
    with torch.inference_mode():
        for _ in range(1 + _TIMED_PASSES):
            begin = clock()
            frozen(images)
            seconds.append(clock() - begin)
    # The first pass allocates memory; other processes can only make a pass slower.
    return min(seconds[1:]) / _TIMED_IMAGES


@dataclass(frozen=True)
class ProbeCost:
    """The duration of other probes, relative to the first one.

    Embeddings are computed by a compiled network, which is faster than torch; the ratio of the times of two networks in
    torch is taken for that of their durations.

    Attributes:
        first: the first probe.
        seconds: that it took.
        measure: returns the seconds per image of a network at an input size.
    """

    first: LinearProbe
    seconds: float
    measure: Callable[[Network, int], float] = forward_seconds

    def of(self, network: Network, spec: PreprocessSpec) -> float:
        """Return the seconds that a probe of all images will take if none of its embeddings is cached."""
        per_image, images = self.measure(network, spec.size), len(self.first.embeddings)
        if self.first.computed < images:
            # Some of its embeddings were cached: most of its time was that of the heads.
            return self.seconds + per_image * images
        return self.seconds * per_image / self._per_image_of_first

    @cached_property
    def _per_image_of_first(self) -> float:
        return self.measure(self.first.network, self.first.spec.size)
