"""Samples seen through one preprocessing: a sequence of squares of pixels.

What training and evaluation read photos by. Knows nothing of labels, batches or random changes.
"""

import hashlib
from collections.abc import Sequence

import numpy as np

from assay.data.cache import PixelCache
from assay.data.samples import Sample
from assay.errors import AssayError
from assay.image import DecodeError, Preprocess


class Pixels:
    """The preprocessed pixels of samples, by position. May be pickled or forked into loader processes.

    Attributes:
        samples: the photos, in the given order.
        preprocess: how they are looked at.
    """

    def __init__(
        self, samples: Sequence[Sample], preprocess: Preprocess, cache: PixelCache | None = None
    ) -> None:
        """Open no photo yet.

        Args:
            samples: the photos.
            preprocess: how they are looked at.
            cache: where pixels are kept between epochs and runs; samples without a digest are never kept.
        """
        self.samples = tuple(samples)
        self.preprocess = preprocess
        self._slots = cache.open(preprocess.spec) if cache else None

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> np.ndarray:
        """Return one photo's pixels, uint8 of shape [S, S, 3], the caller's own.

        Raises:
            IndexError: no such position.
            AssayError: the photo has gone or can no longer be decoded.
        """
        sample = self.samples[index]
        if self._slots is not None and sample.digest is not None:
            kept = self._slots.get(sample.digest)
            if kept is not None:
                # A copy may be written to, and lets the cache's file go.
                return kept.copy()
        return self._decode(sample)

    def _decode(self, sample: Sample) -> np.ndarray:
        data = _read(sample)
        try:
            pixels = self.preprocess.read(data)
        except DecodeError as error:
            raise AssayError(f"{sample.path} can no longer be read as a photo: {error}") from None
        # A file that was replaced since it was verified must not be remembered under its old content.
        if (
            self._slots is not None
            and sample.digest in self._slots
            and sample.digest == hashlib.sha256(data).hexdigest()
        ):
            self._slots.put(sample.digest, pixels)
        return pixels


def _read(sample: Sample) -> bytes:
    try:
        return sample.read()
    except OSError as error:
        raise AssayError(f"{sample.path} can no longer be read: {error.strerror or error}") from None
