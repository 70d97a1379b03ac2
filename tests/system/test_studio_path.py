"""The whole path of a new user in a real browser: unlabelled photos to an answer by curl.

`pytest --log-cli-level=INFO tests/system/test_studio_path.py` prints the number of actions and the minutes.
"""

import logging
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from services import find_program
from studio_projects import paint
from studio_server import studio_server

_LOG = logging.getLogger(__name__)
_PATIENCE_MS = 240_000
_MOST_ACTIONS = 25
_MOST_MINUTES = 10
_MOST_TABS = 120

# The element with the focus, or the label that shows it, has an outline and is in the window.
_FOCUS_IS_VISIBLE = """() => {
    const active = document.activeElement;
    const shown = active.matches('input.file') ? active.previousElementSibling : active;
    const style = getComputedStyle(shown);
    const box = shown.getBoundingClientRect();
    const inside = box.bottom > 0 && box.right > 0 && box.top < innerHeight && box.left < innerWidth;
    return style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2 && inside;
}"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with 100 photos of two kinds, without labels; some names are wrong, so that training takes a while."""
    place = tmp_path / "home" / "toys"
    for number in range(50):
        red, blue = ((190, 80, 80), (80, 80, 190)) if number < 46 else ((80, 80, 190), (190, 80, 80))
        paint(place / f"red-{number:03}.png", red, seed=number)
        paint(place / f"blue-{number:03}.png", blue, seed=100 + number)
    return place


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    opened.set_default_timeout(_PATIENCE_MS)
    yield opened
    opened.close()


class Counted:
    """A page that counts what its user does."""

    def __init__(self, page: Any) -> None:
        self.page, self.actions = page, 0

    def click(self, target: str) -> None:
        self.actions += 1
        self.page.locator(target).first.click()

    def type(self, target: str, text: str) -> None:
        self.actions += 1
        self.page.fill(target, text)


def answer_of(command_line: str, folder: Path) -> str:
    """Run the curl line of the page in the folder of the project."""
    command = shlex.split(command_line)
    assert command[0] == "curl"
    call = [find_program("curl"), "--silent", *command[1:]]
    return subprocess.run(call, cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_unlabelled_photos_to_a_served_classifier(folder: Path, page: Any):
    """With the mouse; the studio is killed during the training, and the page during it reloaded."""
    user = Counted(page)
    began = time.monotonic()
    with studio_server(folder) as first:
        page.goto(first.address)
        for name in ("red", "blue"):
            page.fill("#class-name", name)
            page.press("#class-name", "Enter")
            page.fill("#search", f"{name}-")
            page.locator("#shown", has_text="50 photos").wait_for()
            page.click("#select-all")
            page.get_by_role("button", name=f"Label as {name}").click()
            page.locator(".toast", has_text=f"50 photos labelled {name}").wait_for()
        user.click("a[href='/check']")
        user.click("#start-check")
        page.locator(".result").wait_for()
        user.click("a[href='/train']")
        user.type("[name=minutes]", "3")
        user.click("#start-training")
        page.locator("#stop-training").wait_for()
        first.process.send_signal(signal.SIGKILL)
        first.process.wait()
        page.locator("#connection", has_text="No connection").wait_for()
    with studio_server(folder) as second:
        assert second.url == first.url
        page.locator("#connection").wait_for(state="hidden")
        page.locator("#stop-training", has_text="keep the best").wait_for()
        page.reload()
        user.click("#stop-training")
        page.locator(".runs a", has_text="Understand").wait_for()
        page.locator("#stop-training").wait_for(state="detached")
        user.click("a[href='/understand']")
        page.locator(".verdict", has_text="The classifier is correct on").wait_for()
        user.click(".cell.right")
        page.locator("#cell-photos h3").wait_for()
        user.click("a[href='/use']")
        user.click("#start-server")
        assert '"label"' in answer_of(page.locator("#curl").inner_text(), folder)
        minutes = (time.monotonic() - began) / 60
        user.click("#stop-server")
        page.locator("#curl").wait_for(state="detached")
    _LOG.info("100 photos, mouse: %d actions besides labelling, %.1f minutes", user.actions, minutes)
    assert user.actions <= _MOST_ACTIONS
    assert minutes <= _MOST_MINUTES


class Keyboard:
    """A user without a pointing device: Tab, letters and keys; the focus must be visible at every stop."""

    def __init__(self, page: Any) -> None:
        self.page, self.stops = page, 0

    def go_to(self, target: str, *, back: bool = False) -> None:
        """Press Tab until an element has the focus."""
        for _ in range(_MOST_TABS):
            self.page.keyboard.press("Shift+Tab" if back else "Tab")
            self.stops += 1
            focused = self.page.evaluate("document.activeElement.outerHTML").partition(">")[0]
            assert "<body" in focused or self.page.evaluate(_FOCUS_IS_VISIBLE), f"no visible focus: {focused}"
            if self.page.evaluate("target => document.activeElement.matches(target)", target):
                return
        pytest.fail(f"the keyboard does not reach {target}")

    def press(self, target: str, key: str = "Enter", *, back: bool = False) -> None:
        self.go_to(target, back=back)
        self.page.keyboard.press(key)

    def type(self, target: str, text: str, *, back: bool = False) -> None:
        self.go_to(target, back=back)
        self.page.keyboard.press("Control+a")
        self.page.keyboard.type(text)

    def step(self, name: str) -> None:
        """Follow a link of the steps at the top of the page."""
        self.page.keyboard.press("Escape")
        self.press(f".steps a[href='/{name}']", back=True)
        self.page.locator(f"body[data-step={name}]").wait_for()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_whole_path_by_keyboard_only(folder: Path, page: Any):
    keys = Keyboard(page)
    began = time.monotonic()
    with studio_server(None, folder.parent / "state", folder.parent) as studio:
        page.goto(studio.address)
        keys.press(".folder-list a[href$='toys#choose']")
        page.locator("button", has_text="Open this folder").wait_for()
        keys.press("button[data-post='/api/projects/open']")
        page.locator(".tile.loaded").nth(5).wait_for()
        for name, key in (("red", "1"), ("blue", "2")):
            keys.type("#class-name", name, back=name == "blue")
            page.keyboard.press("Enter")
            page.get_by_role("button", name=f"Label as {name}").wait_for()
            keys.type("#search", f"{name}-")
            page.locator("#shown", has_text="50 photos").wait_for()
            keys.press("#grid", "Control+a")
            page.locator("#selected-count", has_text="50 selected").wait_for()
            page.keyboard.press(key)
            page.locator(".toast", has_text=f"50 photos labelled {name}").wait_for()
        keys.step("check")
        keys.press("#start-check")
        page.locator(".result").wait_for()
        keys.step("train")
        keys.type("[name=minutes]", "3")
        page.keyboard.press("Enter")
        page.locator("#stop-training", has_text="keep the best").wait_for()
        keys.press("#stop-training")
        page.locator(".runs a", has_text="Understand").wait_for()
        page.locator("#stop-training").wait_for(state="detached")
        keys.step("understand")
        keys.press(".cell.right")
        page.locator("#cell-photos h3").wait_for()
        keys.press("#threshold-slider", "End")
        assert page.locator("#threshold-value").inner_text().startswith("100")
        keys.step("try")
        keys.go_to("#file")
        with page.expect_file_chooser() as chooser:
            page.keyboard.press("Enter")
        chooser.value.set_files(folder / "red-000.png")
        page.locator("#answer .answer", has_text="red").wait_for()
        keys.press("#heat")
        page.get_by_role("button", name="Show photo").wait_for()
        keys.step("use")
        keys.press("#start-server")
        assert '"red"' in answer_of(page.locator("#curl").inner_text().replace("blue-0", "red-0"), folder)
        minutes = (time.monotonic() - began) / 60
        keys.press("#stop-server")
        page.locator("#curl").wait_for(state="detached")
    _LOG.info("100 photos, keyboard: %d presses of Tab, %.1f minutes", keys.stops, minutes)
