"""Frame sinks that record an annotated video or a CSV table."""

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

import cv2
import numpy as np

from assay.core.errors import AssayError, UsageError
from assay.core.files import atomic_write
from assay.core.tables import SafeCsvWriter
from assay.image import Preprocess
from assay.live.display import draw_result
from assay.live.watch_loop import FrameResult

_CODECS = {".mp4": "mp4v", ".avi": "MJPG"}
_MAX_REPEAT_SECONDS = 2.0
"""Maximum seconds for which a frame is repeated if no frames arrive."""


class VideoRecorder:
    """Records annotated frames to a video, which is completed when the block ends, also by an error or Ctrl-C."""

    def __init__(self, path: Path, preprocess: Preprocess, fps: float = 25.0) -> None:
        """Create a recorder; the file is opened with the first frame.

        `path` is a new .mp4 (MPEG-4 part 2) or .avi (Motion JPEG) file. Frames are repeated or dropped to keep their
        timing at `fps`. Raises `UsageError` if the suffix is unknown or the file exists.
        """
        if path.suffix.lower() not in _CODECS:
            raise UsageError(f"--record {path}: the name must end in {' or '.join(_CODECS)}")
        require_new_file(path, "--record")
        self._path, self._preprocess, self._fps = path, preprocess, fps
        self._stack = ExitStack()
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._start = 0.0
        self._written = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Complete the file also after an error: the frames until then are worth keeping.
        if self._writer is not None:
            self._writer.release()
        self._stack.close()

    def __call__(self, result: FrameResult) -> None:
        """Write the frame as often as needed to keep the timing."""
        image = cv2.cvtColor(draw_result(result, self._preprocess), cv2.COLOR_RGB2BGR)
        time = result.frame.time
        if self._writer is None:
            self._open(image)
            self._start = time
        due = round((time - self._start) * self._fps) + 1
        limit = round(_MAX_REPEAT_SECONDS * self._fps)
        if due - self._written > limit:
            # After a gap the video continues as if it had been paused.
            self._start += (due - self._written - limit) / self._fps
            due = self._written + limit
        for _ in range(due - self._written):
            self._write(image)

    def _open(self, image: np.ndarray) -> None:
        temporary = self._stack.enter_context(atomic_write(self._path))
        # Codecs need even sides.
        self._size = max(2, image.shape[1] // 2 * 2), max(2, image.shape[0] // 2 * 2)
        code = cv2.VideoWriter.fourcc(*_CODECS[self._path.suffix.lower()])
        self._writer = cv2.VideoWriter(str(temporary), cv2.CAP_FFMPEG, code, self._fps, self._size)
        if not self._writer.isOpened():
            raise AssayError(f"cannot write {self._path}: check the disk, or record to .avi")

    def _write(self, image: np.ndarray) -> None:
        height, width = image.shape[:2]
        if (width, height) != self._size:
            image = cv2.resize(image, self._size) if abs(width - self._size[0]) > 1 else image
            image = np.ascontiguousarray(image[: self._size[1], : self._size[0]])
        if self._writer is not None:
            self._writer.write(image)
            self._written += 1


class CsvRecorder:
    """Writes a row for each classified frame, without buffering, so that the file can be followed.

    Columns: time (seconds), frame, label, confidence and unknown (smoothed), frame_label and frame_confidence (of the
    frame alone), and the smoothed probability of each class as `p_` and its name.
    """

    def __init__(self, path: Path, classes: tuple[str, ...]) -> None:
        """Raise `UsageError` if the suffix is not .csv or the file exists; it is created when the block starts."""
        if path.suffix.lower() != ".csv":
            raise UsageError(f"--csv {path}: the name must end in .csv")
        require_new_file(path, "--csv")
        self._path, self._classes = path, classes
        self._stream: TextIO | None = None

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._stream = self._path.open("x", encoding="utf-8", newline="", buffering=1)
        head = ["time", "frame", "label", "confidence", "unknown", "frame_label", "frame_confidence"]
        self._row([*head, *(f"p_{name}" for name in self._classes)])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream is not None:
            self._stream.close()

    def __call__(self, result: FrameResult) -> None:
        """Write a row if the frame was classified."""
        if result.prediction is None:
            return
        smoothed, frame = result.smoothed, result.prediction
        unknown = "" if smoothed.unknown is None else int(smoothed.unknown)
        probabilities = [f"{smoothed.probabilities[name]:.6f}" for name in self._classes]
        cells = [smoothed.label, f"{smoothed.confidence:.6f}", unknown, frame.label, f"{frame.confidence:.6f}"]
        self._row([f"{result.frame.time:.3f}", result.frame.number, *cells, *probabilities])

    def _row(self, cells: list[object]) -> None:
        if self._stream is not None:
            SafeCsvWriter(self._stream).writerow(cells)


def require_new_file(path: Path, option: str) -> None:
    """Raise `UsageError` if a file exists."""
    if path.exists():
        raise UsageError(f"{option} {path} already exists: give another name, or remove it")
