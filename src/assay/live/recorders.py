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
from assay.live.overlay import draw_result
from assay.live.watch_loop import FrameResult

_CODECS = {".mp4": "mp4v", ".avi": "MJPG"}
_MAX_REPEAT_SECONDS = 2.0
"""Seconds for which a frame is repeated at most when none come."""


class VideoRecorder:
    """Writes views to a video. It is there, whole, when the block ends, also by an error or Ctrl-C."""

    def __init__(self, path: Path, preprocess: Preprocess, fps: float = 25.0) -> None:
        """Check the name.

        Args:
            path: .mp4 (MPEG-4 part 2) or .avi (Motion JPEG); no file may be there.
            preprocess: what is looked at is outlined.
            fps: of the video; frames are repeated or left out so that it lasts as long as what was seen.

        Raises:
            UsageError: the name ends otherwise, or the file is there.
        """
        if path.suffix.lower() not in _CODECS:
            raise UsageError(f"--record {path}: let the name end in {' or '.join(_CODECS)}")
        require_new_file(path, "--record")
        self._path, self._preprocess, self._fps = path, preprocess, fps
        self._stack = ExitStack()
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._begin = 0.0
        self._written = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The file is finished whatever went wrong elsewhere: what was seen until then is worth keeping.
        if self._writer is not None:
            self._writer.release()
        self._stack.close()

    def __call__(self, view: FrameResult) -> None:
        """Write the frame as often as its time asks for."""
        picture = cv2.cvtColor(draw_result(view, self._preprocess), cv2.COLOR_RGB2BGR)
        time = view.frame.time
        if self._writer is None:
            self._open(picture)
            self._begin = time
        due = round((time - self._begin) * self._fps) + 1
        most = round(_MAX_REPEAT_SECONDS * self._fps)
        if due - self._written > most:
            # Nothing was seen for a while; the video goes on as if it had been paused.
            self._begin += (due - self._written - most) / self._fps
            due = self._written + most
        for _ in range(due - self._written):
            self._write(picture)

    def _open(self, picture: np.ndarray) -> None:
        temporary = self._stack.enter_context(atomic_write(self._path))
        # Codecs want even sides.
        self._size = max(2, picture.shape[1] // 2 * 2), max(2, picture.shape[0] // 2 * 2)
        code = cv2.VideoWriter.fourcc(*_CODECS[self._path.suffix.lower()])
        self._writer = cv2.VideoWriter(str(temporary), cv2.CAP_FFMPEG, code, self._fps, self._size)
        if not self._writer.isOpened():
            raise AssayError(f"{self._path} cannot be written: look at the disk, or record to .avi")

    def _write(self, picture: np.ndarray) -> None:
        height, width = picture.shape[:2]
        if (width, height) != self._size:
            picture = cv2.resize(picture, self._size) if abs(width - self._size[0]) > 1 else picture
            picture = np.ascontiguousarray(picture[: self._size[1], : self._size[0]])
        if self._writer is not None:
            self._writer.write(picture)
            self._written += 1


class CsvRecorder:
    """Writes a row for each frame that was classified, at once, so that it can be read meanwhile.

    Columns: time (seconds), frame, label, confidence and unknown as they are told (smoothed), frame_label and
    frame_confidence as the frame alone says, and the smoothed probability of each class as `p_` and its name.
    """

    def __init__(self, path: Path, classes: tuple[str, ...]) -> None:
        """Check the name.

        Args:
            path: .csv; no file may be there.
            classes: in their order.

        Raises:
            UsageError: the name ends otherwise, or the file is there.
        """
        if path.suffix.lower() != ".csv":
            raise UsageError(f"--csv {path}: let the name end in .csv")
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

    def __call__(self, view: FrameResult) -> None:
        """Write a row, if the frame was classified."""
        if view.prediction is None:
            return
        answer, frame = view.answer, view.prediction
        unknown = "" if answer.unknown is None else int(answer.unknown)
        shares = [f"{answer.probabilities[name]:.6f}" for name in self._classes]
        told = [answer.label, f"{answer.confidence:.6f}", unknown, frame.label, f"{frame.confidence:.6f}"]
        self._row([f"{view.frame.time:.3f}", view.frame.number, *told, *shares])

    def _row(self, cells: list[object]) -> None:
        if self._stream is not None:
            SafeCsvWriter(self._stream).writerow(cells)


def require_new_file(path: Path, option: str) -> None:
    """Refuse to write over a file.

    Raises:
        UsageError: it is there.
    """
    if path.exists():
        raise UsageError(f"{option} {path} is there already: give another name, or remove it")
