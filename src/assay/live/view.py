"""What the loop hands on for every frame, to whoever shows, records, prints or acts."""

from dataclasses import dataclass
from typing import Protocol

from assay.inference import Prediction
from assay.live.frame import Frame
from assay.live.smoothing import Answer


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A frame and what is known at that moment.

    Attributes:
        frame: the frame.
        answer: the steady answer, from this frame or an earlier one.
        prediction: what was said of this very frame; None where it was not classified.
        fps: frames a second that are seen; 0 while that is not known.
    """

    frame: Frame
    answer: Answer
    prediction: Prediction | None
    fps: float


class Sink(Protocol):
    """Takes views as they come; must be quick, since the next frame waits for it."""

    def __call__(self, view: View) -> None:
        """Take a view."""
