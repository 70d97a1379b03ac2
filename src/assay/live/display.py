"""Show a camera stream: labels drawn on frames, and a Tk window with key events."""

import os
import sys
import tkinter as tk
from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageTk

from assay.core.errors import AssayError
from assay.image import Preprocess
from assay.live.watch_loop import FrameResult

_INK, _PAPER = (255, 255, 255), (20, 20, 20)
_KNOWN_COLOUR, _UNKNOWN_COLOUR = (60, 180, 90), (230, 150, 40)
_MIN_FONT_SIZE = 14


def overlay_text(result: FrameResult) -> str:
    """Return the text for a frame: `animal 93 %   30 frames/s`."""
    smoothed = result.smoothed
    reason = f" ({smoothed.reason.replace('_', ' ')})" if smoothed.reason else ""
    prefix = f"unknown{reason}: " if smoothed.unknown else ""
    return f"{prefix}{smoothed.label} {100 * smoothed.confidence:.0f} %   {result.fps:.0f} frames/s"


def draw_result(result: FrameResult, preprocess: Preprocess) -> np.ndarray:
    """Return a copy of the frame, uint8 [H, W, 3] RGB, with the prediction and the crop box drawn on it."""
    image = result.frame.pixels.copy()
    left, top, right, bottom = preprocess.box(image.shape[1], image.shape[0])
    colour = _UNKNOWN_COLOUR if result.smoothed.unknown else _KNOWN_COLOUR
    cv2.rectangle(image, (left, top), (right - 1, bottom - 1), colour, _thickness(image))
    return draw_lines(image, [overlay_text(result)])


def draw_lines(image: np.ndarray, lines: Sequence[str]) -> np.ndarray:
    """Draw lines of text into the upper left corner of an image, in place, and return it."""
    size = max(_MIN_FONT_SIZE, image.shape[0] // 24)
    top = 0
    for line in lines:
        strip = _text_strip(line, size)
        height = min(len(strip), len(image) - top)
        width = min(strip.shape[1], image.shape[1])
        image[top : top + height, :width] = strip[:height, :width]
        top += height
    return image


def _thickness(image: np.ndarray) -> int:
    return max(1, int(min(image.shape[:2])) // 240)


@lru_cache(maxsize=64)
def _text_strip(text: str, size: int) -> np.ndarray:
    """Render a line of text, light on dark, uint8 [h, w, 3]."""
    font = ImageFont.load_default(size)
    pad = size // 3
    _, _, right, bottom = font.getbbox(text)
    image = Image.new("RGB", (round(right) + 2 * pad, max(round(bottom), size) + 2 * pad), _PAPER)
    ImageDraw.Draw(image).text((pad, pad), text, _INK, font)
    return np.asarray(image)


_MAX_SCREEN_SHARE = 0.8
"""Maximum size of a frame as a share of the screen."""
_RELEASE_DELAY_MS = 60
"""Milliseconds until a key counts as released: auto-repeat sends release events while a key is held down."""


class Window:
    """Shows frames. Must be used from the thread that created it; events are processed in `update` and `show`.

    OpenCV's own windows need another build of OpenCV than the headless one that Assay depends on. `held` is the
    character of the key that is held down; `q`, Escape and the window's button set `closed`.
    """

    def __init__(self, title: str) -> None:
        """Open the window; raise `AssayError` if there is no screen."""
        self.closed = False
        self.held: str | None = None
        self._pending_release: str | None = None
        if sys.platform.startswith("linux") and not os.environ.get("DISPLAY"):
            raise AssayError("there is no screen (DISPLAY is not set)")
        try:
            self._root = tk.Tk()
        except tk.TclError as error:
            raise AssayError(f"there is no screen ({error})") from None
        self._root.title(title)
        self._root.protocol("WM_DELETE_WINDOW", self._destroy)
        self._root.bind("<KeyPress>", self._press)
        self._root.bind("<KeyRelease>", self._release)
        self._label = tk.Label(self._root, borderwidth=0)
        self._label.pack()
        self._image: ImageTk.PhotoImage | None = None
        self.update()

    def show(self, pixels: np.ndarray) -> None:
        """Show an image, uint8 [H, W, 3] RGB, scaled down to fit the screen."""
        if self.closed:
            return
        image = Image.fromarray(pixels)
        wide, high = (
            self._root.winfo_screenwidth() * _MAX_SCREEN_SHARE,
            self._root.winfo_screenheight() * _MAX_SCREEN_SHARE,
        )
        scale = min(1.0, wide / image.width, high / image.height)
        if scale < 1:
            size = max(1, int(image.width * scale)), max(1, int(image.height * scale))
            image = image.resize(size, Image.Resampling.BILINEAR)
        if self._image is None or (self._image.width(), self._image.height()) != image.size:
            self._image = ImageTk.PhotoImage(image)
            self._label.configure(image=self._image)
        else:
            self._image.paste(image)
        self.update()

    def update(self) -> None:
        """Process events."""
        if not self.closed:
            self._root.update()

    def close(self) -> None:
        """Close the window, if it is open."""
        if not self.closed:
            self._destroy()

    def _destroy(self) -> None:
        self.closed = True
        self.held = None
        # A pending callback would fail after the window is destroyed.
        self._cancel_release()
        self._root.destroy()

    def _press(self, event: "tk.Event[tk.Misc]") -> None:
        if event.keysym in {"q", "Escape"}:
            self._destroy()
            return
        self._cancel_release()
        self.held = event.char or None

    def _cancel_release(self) -> None:
        if self._pending_release is not None:
            self._root.after_cancel(self._pending_release)
            self._pending_release = None

    def _release(self, _: "tk.Event[tk.Misc]") -> None:
        self._cancel_release()
        self._pending_release = self._root.after(_RELEASE_DELAY_MS, self._key_released)

    def _key_released(self) -> None:
        self.held, self._pending_release = None, None
