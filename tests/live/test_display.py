"""The window on a virtual screen, with simulated key presses."""

import subprocess
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from services import find_program

from assay.core.errors import AssayError
from assay.live.display import Window

PICTURE = np.full((90, 160, 3), 200, np.uint8)


@pytest.fixture(scope="module")
def _display() -> Iterator[str]:
    for name in ("Xvfb", "xdotool"):
        find_program(name)
    command = ["Xvfb", "-displayfd", "1", "-screen", "0", "640x480x24", "-nolisten", "tcp"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        yield f":{server.stdout.readline().strip()}"
        server.terminate()


@pytest.fixture
def window(_display: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Window]:
    monkeypatch.setenv("DISPLAY", _display)
    shown = Window("Assay: test")
    shown.show(PICTURE)
    yield shown
    shown.close()


def keys(*commands: str) -> None:
    subprocess.run(["xdotool", "search", "--name", "Assay: test", "windowfocus", *commands], check=True)


def until(window: Window, happened: Callable[[], bool]) -> bool:
    """Process window events until something happens; return whether it did within five seconds."""
    end = time.monotonic() + 5
    while not happened() and time.monotonic() < end:
        window.update()
        time.sleep(0.01)
    return happened()


def test_key_is_reported_while_it_is_held(window: Window):
    keys("keydown", "2")
    assert until(window, lambda: window.held == "2")
    window.show(PICTURE)
    assert window.held == "2"
    keys("keyup", "2")
    assert until(window, lambda: window.held is None)
    assert not window.closed


def test_close_right_after_a_key_release_prints_no_error(window: Window, capfd: pytest.CaptureFixture[str]):
    keys("key", "2")
    assert until(window, lambda: window._pending_release is not None)
    window.close()
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("key", ["q", "Escape"])
def test_key_closes_the_window(window: Window, key: str):
    keys("key", key)
    assert until(window, lambda: window.closed)
    # Who shows on or closes again does no harm.
    window.show(PICTURE)
    window.update()


def test_images_are_scaled_to_the_screen(window: Window):
    for shape in ((2000, 3000, 3), (10, 10, 3), (480, 640, 3)):
        window.show(np.zeros(shape, np.uint8))
        image = window._image
        assert image is not None
        assert image.width() <= 512
        assert image.height() <= 384


@pytest.mark.parametrize("display", ["", ":987"])
def test_missing_screen_raises(display: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DISPLAY", display)
    with pytest.raises(AssayError, match="there is no screen"):
        Window("none")
