"""Draw `overview.png`: the report of a run beside the web page of its server, as a browser shows them.

After `make demo`: `python docs/images/make_overview.py RUN PHOTO`, for example with `assay-demo/run-1`.
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

_SIZE = {"width": 960, "height": 1000}
_GAP = 24


@contextlib.contextmanager
def _serving(model: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "assay", "serve", str(model), "--port", "0", "--request-log", "none"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
        try:
            assert server.stdout is not None
            for line in server.stdout:
                if address := re.search(r"http://[\d.]+:\d+", line):
                    yield address.group()
                    return
            raise SystemExit("the server did not start")
        finally:
            server.terminate()


def _report(page: Page, run: Path) -> bytes:
    page.goto((run / "evaluation/test/report.html").absolute().as_uri())
    page.wait_for_load_state("networkidle")
    return page.screenshot()


def _web_page(page: Page, address: str, photo: Path) -> bytes:
    page.goto(address)
    page.locator("input[type=file]").first.set_input_files(photo)
    page.get_by_role("img", name="Heat map of").wait_for()
    page.wait_for_timeout(1500)
    return page.screenshot()


def main(run: Path, photo: Path) -> None:
    """Write the picture beside this file."""
    with sync_playwright() as playwright, _serving(run / "model.assay") as address:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(viewport=_SIZE)
        pictures = [Image.open(io.BytesIO(data)) for data in (_report(page, run), _web_page(page, address, photo))]
        browser.close()
    width, height = pictures[0].size
    sheet = Image.new("RGB", (2 * width + _GAP, height), "white")
    for number, picture in enumerate(pictures):
        sheet.paste(picture, (number * (width + _GAP), 0))
    sheet.quantize(128).save(Path(__file__).with_name("overview.png"), optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
