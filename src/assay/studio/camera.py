"""Photos from the camera of the browser: stored like those of `assay collect`, with the warning about near-copies."""

import threading
import time
from pathlib import Path

import cv2
import numpy as np

from assay.core.files import atomic_write
from assay.data.image_features import resize_to_square
from assay.data.image_similarity import THUMBNAIL_SIDE, similarity
from assay.data.near_duplicates import SIMILARITY_THRESHOLDS
from assay.image import decode
from assay.live.collect import RecentImages, SimilarityMeasure
from assay.studio.label_edits import CAMERA_FOLDER


class CameraShots:
    """Stores frames of the camera in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / CAMERA_FOLDER
        self._lock = threading.Lock()
        self._recent = RecentImages(
            SimilarityMeasure(
                thumbnail=_gray_thumbnail,
                similarity=similarity,
                threshold=SIMILARITY_THRESHOLDS[THUMBNAIL_SIDE],
            )
        )

    def take(self, data: bytes, label: str, keep_copies: bool) -> tuple[bool, Path | None]:
        """Store a frame.

        Args:
            data: of an image file.
            label: class that it is compared with.
            keep_copies: store it although it is a near-copy of a recent frame.

        Returns:
            Whether it is a near-copy, and its path; None: it was not stored.

        Raises:
            DecodeError: it is no image.
        """
        pixels = decode(data)
        with self._lock:
            copy = self._recent.is_near_duplicate(label, pixels)
            if copy and not keep_copies:
                return True, None
            stamp = time.time_ns() // 1_000_000
            while (path := self._folder / f"{stamp}.jpg").exists():
                stamp += 1
            with atomic_write(path) as temporary:
                temporary.write_bytes(data)
        return copy, path


def _gray_thumbnail(pixels: np.ndarray) -> np.ndarray:
    return resize_to_square(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), THUMBNAIL_SIDE)
