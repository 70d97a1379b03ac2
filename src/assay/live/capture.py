"""OpenCV's captures, always released, and quiet about what this package says itself.

Knows nothing of what the pictures are for.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import numpy as np

_PATIENCE = 5_000
"""Milliseconds without an answer, or without a picture, after which a connection counts as lost."""

# FFmpeg's own messages (-8: none); read when OpenCV first opens something.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


@contextmanager
def opened(place: int | str) -> Iterator[cv2.VideoCapture]:
    """Open a camera by its number, or a file or an address; release it whatever happens.

    Yields:
        The capture; `isOpened` tells whether there is anything to read.
    """
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    if isinstance(place, int):
        capture = cv2.VideoCapture(place, cv2.CAP_ANY)
        # What a driver holds back is old when it comes.
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    else:
        waits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _PATIENCE, cv2.CAP_PROP_READ_TIMEOUT_MSEC, _PATIENCE]
        capture = cv2.VideoCapture(place, cv2.CAP_FFMPEG, waits)
    try:
        yield capture
    finally:
        capture.release()


def pictures(capture: cv2.VideoCapture) -> Iterator[np.ndarray]:
    """Give pictures, uint8 [H, W, 3] RGB, until there are none."""
    while capture.isOpened():
        there, picture = capture.read()
        if not there:
            return
        yield cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
