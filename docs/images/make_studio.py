"""Draw `studio.png`: the six steps of the studio, as a browser shows them.

`python docs/images/make_studio.py PROJECT PHOTO`, where PROJECT has labels and a finished run, and PHOTO is tried.
"""

import contextlib
import io
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

_SIZE = {"width": 1200, "height": 800}
_SCALE = 0.5
_COLUMNS = 2
_GAP = 16
_WAIT_MS = 4000


@contextlib.contextmanager
def _studio(folder: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "assay.cli.main", "studio", str(folder), "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield next(found[0] for line in server.stdout if (found := re.search(r"http://\S+", line)))
        finally:
            server.terminate()


def _pictures(page: Page, address: str, photo: Path) -> Iterator[Image.Image]:
    page.set_default_timeout(120_000)
    page.goto(address)
    root = address.partition("/?")[0]
    for step in ("photos", "check", "train", "understand", "try", "use"):
        page.goto(f"{root}/{step}")
        if step == "photos":
            page.locator(".tile.loaded").nth(12).wait_for()
            page.locator(".tile").nth(1).click()
            page.locator(".tile").nth(9).click(modifiers=["Shift"])
        if step == "check" and not page.locator(".result").count():
            page.click("#start-check")
            page.locator(".result").wait_for()
        if step == "try":
            page.set_input_files("#file", photo)
            page.locator("#heat").click()
            page.get_by_role("button", name="Show photo").wait_for()
        page.wait_for_timeout(_WAIT_MS)
        yield Image.open(io.BytesIO(page.screenshot()))


def main(folder: Path, photo: Path) -> None:
    """Write the picture beside this file."""
    with sync_playwright() as playwright, _studio(folder) as address:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(viewport=_SIZE, device_scale_factor=1.0)
        pictures = list(_pictures(page, address, photo))
        browser.close()
    width, height = round(_SIZE["width"] * _SCALE), round(_SIZE["height"] * _SCALE)
    rows = -(-len(pictures) // _COLUMNS)
    sheet = Image.new("RGB", (_COLUMNS * (width + _GAP) - _GAP, rows * (height + _GAP) - _GAP), "#9aa3ad")
    for number, picture in enumerate(pictures):
        place = (number % _COLUMNS) * (width + _GAP), (number // _COLUMNS) * (height + _GAP)
        sheet.paste(picture.convert("RGB").resize((width, height), Image.Resampling.LANCZOS), place)
    sheet.quantize(256, dither=Image.Dither.NONE).save(Path(__file__).with_name("studio.png"), optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
