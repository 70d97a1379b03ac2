"""What a person waits for on the page of `assay serve`: its first paint, and a photo's label.

Run it against a server that runs: `python benchmarks/web.py http://127.0.0.1:8000 PHOTO...`. Every round is a
fresh browser page with an empty cache; a round's photo differs from the last by a byte, so that no answer is
kept. Prints medians and the worst, in milliseconds.
"""

import argparse
import itertools
import statistics
import time
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("photos", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    options = parser.parse_args()
    photos = itertools.islice(itertools.cycle(options.photos), options.rounds)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=options.chromium, args=FLAGS)
        rounds = [_round(browser, options.url, photo, number) for number, photo in enumerate(photos)]
        browser.close()
    for name, column in zip(("first paint", "upload to label"), zip(*rounds, strict=True), strict=True):
        print(f"{name:16} median {statistics.median(column):4.0f} ms, worst {max(column):4.0f} ms")


def _round(browser: Browser, url: str, photo: Path, number: int) -> tuple[float, float]:
    page = browser.new_context().new_page()
    page.goto(url)
    page.get_by_text("Ready:").wait_for()
    paint = float(page.evaluate(PAINT))
    changed = photo.read_bytes() + f"{time.time_ns()} {number}".encode()
    # The clock starts when the file is in the browser, as when a file is dropped.
    page.evaluate(
        """() => {
            new MutationObserver(() => {
                if (document.querySelector('#photo-answer .answer')) window.ended ??= performance.now();
            }).observe(document.querySelector('#photo-answer'), {childList: true});
            document.querySelector('#photo-file').addEventListener(
                'change', () => { window.began = performance.now(); }, {capture: true});
        }"""
    )
    page.set_input_files("#photo-file", {"name": photo.name, "mimeType": "image/jpeg", "buffer": changed})
    page.locator("#photo-answer .answer").wait_for()
    took = float(page.evaluate("window.ended - window.began"))
    page.context.close()
    return paint, took


if __name__ == "__main__":
    main()
