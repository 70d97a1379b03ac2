"""Draw `studio.png`: the whole path in the studio and the page of its server, as a browser shows them.

`python docs/images/make_studio.py PROJECT PHOTO [FOLDER]`, where PROJECT has labels and a finished run, and PHOTO is
tried. With FOLDER every view is also stored there on its own: wide and narrow, light and dark.
"""

import contextlib
import io
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

_WIDE, _NARROW = {"width": 1200, "height": 800}, {"width": 390, "height": 800}
_SCALE = 0.5
_COLUMNS = 2
_GAP = 16
_WAIT_MS = 1500
_STEPS = ("photos", "check", "train", "understand", "try", "use")


@contextlib.contextmanager
def _studio(home: Path, state: Path) -> Iterator[str]:
    """Start the studio on its start page, for a user with this home."""
    command = [sys.executable, "-m", "assay", "studio", "--no-browser", "--port", "0"]
    environment = {**os.environ, "HOME": str(home), "ASSAY_STATE": str(state), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=home) as server:
        try:
            yield next(found[0] for line in server.stdout or () if (found := re.search(r"http://\S+", line)))
        finally:
            server.terminate()


def _open(page: Page, root: str, project: Path) -> None:
    page.goto(f"{root}/projects?at={project}")
    page.get_by_role("button", name="Open this folder").click()
    page.locator(".tile.loaded").nth(6).wait_for()


def _views(page: Page, root: str, photo: Path) -> Iterator[tuple[str, bytes]]:
    """Return the name and the picture of every view."""
    page.goto(f"{root}/projects")
    yield "projects", page.screenshot()
    for step in _STEPS:
        page.goto(f"{root}/{step}")
        _prepare(page, step, photo)
        page.wait_for_timeout(_WAIT_MS)
        yield step, page.screenshot()
    address, key = page.locator("a code").inner_text(), page.locator("#api-key").inner_text()
    page.goto(address)
    page.get_by_text("This server requires an API key").wait_for()  # the field is open then
    page.fill("#key", key)
    page.get_by_role("button", name="Use key").click()
    page.locator("#example-list button").nth(1).click()
    page.get_by_role("img", name="Heat map of").wait_for()
    page.evaluate("document.querySelector('#key-box').open = false")
    page.wait_for_timeout(_WAIT_MS)
    yield "served", page.screenshot()


def _prepare(page: Page, step: str, photo: Path) -> None:
    if step == "photos":
        page.locator(".tile.loaded").nth(6).wait_for()
        page.locator(".tile").nth(1).click()
        page.locator(".tile").nth(5).click(modifiers=["Shift"])
    elif step == "check" and not page.locator(".result").count():
        page.click("#start-check")
        page.locator(".result").wait_for()
    elif step == "try":
        page.set_input_files("#file", photo)
        page.locator("#heat").click()
        page.get_by_role("button", name="Show photo").wait_for()
    elif step == "use":
        if not page.locator("#curl").count():
            page.click("#start-server")
        page.locator("#curl").wait_for()


def _store(browser: Browser, address: str, photo: Path, folder: Path) -> None:
    """Write every view wide and narrow, light and dark."""
    folder.mkdir(parents=True, exist_ok=True)
    for width, size in (("wide", _WIDE), ("narrow", _NARROW)):
        for scheme in ("light", "dark"):
            page = browser.new_page(viewport=size, color_scheme=scheme)
            page.set_default_timeout(120_000)
            page.goto(address)
            for name, picture in _views(page, address.partition("/?")[0], photo):
                (folder / f"{name}-{width}-{scheme}.png").write_bytes(picture)
            page.close()


def main(project: Path, photo: Path, folder: Path | None) -> None:
    """Write the picture beside this file."""
    with (
        tempfile.TemporaryDirectory() as state,
        sync_playwright() as playwright,
        _studio(project.parent, Path(state)) as address,
    ):
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(viewport=_WIDE)
        page.set_default_timeout(120_000)
        page.goto(address)
        root = address.partition("/?")[0]
        _open(page, root, project)
        pictures = [Image.open(io.BytesIO(picture)) for _, picture in _views(page, root, photo)]
        if folder is not None:
            _store(browser, address, photo, folder)
        page.goto(f"{root}/use")
        page.click("#stop-server")
        page.locator("#curl").wait_for(state="detached")
        browser.close()
    width, height = round(_WIDE["width"] * _SCALE), round(_WIDE["height"] * _SCALE)
    rows = -(-len(pictures) // _COLUMNS)
    sheet = Image.new("RGB", (_COLUMNS * (width + _GAP) - _GAP, rows * (height + _GAP) - _GAP), "#9aa3ad")
    for number, picture in enumerate(pictures):
        place = (number % _COLUMNS) * (width + _GAP), (number // _COLUMNS) * (height + _GAP)
        sheet.paste(picture.convert("RGB").resize((width, height), Image.Resampling.LANCZOS), place)
    sheet.quantize(256, dither=Image.Dither.NONE).save(Path(__file__).with_name("studio.png"), optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve(), Path(sys.argv[3]) if len(sys.argv) > 3 else None)
