"""A Tk window that shows frames and tells which key is held down."""

import os
import sys
import tkinter as tk

import numpy as np
from PIL import Image, ImageTk

from assay.core.errors import AssayError

_MAX_SCREEN_SHARE = 0.8
"""Share of the screen that a picture may take."""
_RELEASE_DELAY_MS = 60
"""Milliseconds until a key counts as let go: one that is held is let go and pressed again and again."""


class Window:
    """Shows pictures. All of it happens in the thread that made it, when `update` or `show` is called.

    Attributes:
        closed: whether it was closed, by `q`, Escape or its button.
        held: the key that is held, as the letter it types; none: no key.
    """

    def __init__(self, title: str) -> None:
        """Open it.

        Raises:
            AssayError: there is no screen, or Python came without Tk.
        """
        self.closed = False
        self.held: str | None = None
        self._later: str | None = None
        if sys.platform.startswith("linux") and not os.environ.get("DISPLAY"):
            raise AssayError("there is no screen (DISPLAY is not set)")
        try:
            self._root = tk.Tk()
        except tk.TclError as error:
            raise AssayError(f"there is no screen ({error})") from None
        self._root.title(title)
        self._root.protocol("WM_DELETE_WINDOW", self._shut)
        self._root.bind("<KeyPress>", self._press)
        self._root.bind("<KeyRelease>", self._release)
        self._label = tk.Label(self._root, borderwidth=0)
        self._label.pack()
        self._image: ImageTk.PhotoImage | None = None
        self.update()

    def show(self, pixels: np.ndarray) -> None:
        """Show a picture, uint8 [H, W, 3] RGB, made smaller where the screen is."""
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
        """Attend to keys and the mouse."""
        if not self.closed:
            self._root.update()

    def close(self) -> None:
        """Close it, if it is open."""
        if not self.closed:
            self._shut()

    def _shut(self) -> None:
        self.closed = True
        self.held = None
        # Tk would complain of what is to happen later and finds nobody.
        self._hold_on()
        self._root.destroy()

    def _press(self, event: "tk.Event[tk.Misc]") -> None:
        if event.keysym in {"q", "Escape"}:
            self._shut()
            return
        self._hold_on()
        self.held = event.char or None

    def _hold_on(self) -> None:
        """Take back that a key counts as let go."""
        if self._later is not None:
            self._root.after_cancel(self._later)
            self._later = None

    def _release(self, _: "tk.Event[tk.Misc]") -> None:
        self._hold_on()
        self._later = self._root.after(_RELEASE_DELAY_MS, self._let_go)

    def _let_go(self) -> None:
        self.held, self._later = None, None
