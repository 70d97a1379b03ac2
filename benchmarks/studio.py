"""How fast the studio is with 10,000 photos: first grid, scrolling, labelling, undo, memory.

`python benchmarks/studio.py` writes photos to a temporary folder, starts `assay studio` and uses its page in Chromium.
`--photos FOLDER` takes photos of yours, repeated until there are enough. Prints a table in Markdown.

A place in the grid is blank as long as it shows no tile. A tile shows name and class of its photo at once, and the
picture as soon as its thumbnail is there: how long that takes is given too, for the tiles that became visible without
their picture.
"""

import argparse
import io
import itertools
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright
from processes import memory

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
_KINDS = 40

# Records for each tile how long it was visible without its picture, and without any content, frame by frame.
RECORD = """() => {
    const grid = document.querySelector('#grid');
    const since = new Map();
    window.blanks = {picture: [], anything: [], on: true};
    const end = (id, now) => {
        if (since.has(id)) window.blanks.picture.push(now - since.get(id));
        since.delete(id);
    };
    const frame = (now) => {
        const frameBox = grid.getBoundingClientRect();
        const seen = new Set();
        for (const tile of grid.querySelectorAll('.tile')) {
            const box = tile.getBoundingClientRect();
            if (box.bottom < frameBox.top + 2 || box.top > frameBox.bottom - 2) continue;
            seen.add(tile.id);
            if (!tile.matches('.loaded, .broken')) since.set(tile.id, since.get(tile.id) ?? now);
            else end(tile.id, now);
        }
        for (const id of [...since.keys()]) if (!seen.has(id)) end(id, now);
        // Places without any tile; some of the points that are tried are not in the gap between two tiles.
        let empty = 0;
        for (const share of [0.1, 0.5, 0.9]) {
            const y = frameBox.top + share * frameBox.height;
            const at = (shift) => document.elementFromPoint(frameBox.left + 80, y + shift);
            const hit = [-24, -12, 0, 12, 24].some((shift) => at(shift)?.closest('.tile'));
            empty += !hit;
        }
        if (empty) window.emptySince ??= now;
        else if (window.emptySince) { window.blanks.anything.push(now - window.emptySince); window.emptySince = null; }
        if (window.blanks.on) requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, help="folder of photos; without it they are made up")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--side", type=int, default=1600, help="longer side of the photos that are made up")
    parser.add_argument("--screens", type=int, default=40, help="how many screens are scrolled")
    parser.add_argument("--pause", type=float, default=0.5, help="seconds between two screens")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "photos"
        _write_photos(folder, _sources(options.photos, options.side), options.count)
        rows = _measure(folder, Path(place), options)
    print(f"{options.count:,} photos, {_processor()}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}\n")
    print("| figure | measured | target |\n|---|---|---|")
    for name, value, target in rows:
        print(f"| {name} | {value} | {target} |")


def _sources(folder: Path | None, side: int) -> list[bytes]:
    if folder is not None:
        found = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in {".jpg", ".jpeg", ".png"}]
        return [path.read_bytes() for path in found[:_KINDS]]
    made = []
    for number in range(_KINDS):
        random = np.random.default_rng(number)
        coarse = random.integers(0, 256, (30, 40, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((side, side * 3 // 4), Image.Resampling.BICUBIC)
        noise = random.normal(0, 8, (side * 3 // 4, side, 3))
        stream = io.BytesIO()
        Image.fromarray((np.asarray(image) + noise).clip(0, 255).astype(np.uint8)).save(stream, "JPEG", quality=88)
        made.append(stream.getvalue())
    return made


def _write_photos(folder: Path, sources: list[bytes], count: int) -> None:
    folder.mkdir()
    originals = []
    for number, data in enumerate(itertools.islice(itertools.cycle(sources), count)):
        path = folder / f"photo-{number:05}.jpg"
        if number < len(sources):
            path.write_bytes(data)
            originals.append(path)
        else:
            path.hardlink_to(originals[number % len(originals)])


def _measure(folder: Path, place: Path, options: argparse.Namespace) -> list[tuple[str, str, str]]:
    command = [sys.executable, "-m", "assay", "studio", str(folder), "--no-browser", "--port", "0"]
    environment = {**os.environ, "ASSAY_STATE": str(place / "state"), "PYTHONUNBUFFERED": "1"}
    started = time.perf_counter()
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server,
        sync_playwright() as playwright,
    ):
        try:
            lines = server.stdout or ()
            address = next(found[0] for line in lines if (found := re.search(r"http://\S+", line)))
            start = time.perf_counter() - started
            browser = playwright.chromium.launch(executable_path=options.chromium, args=FLAGS)
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.set_default_timeout(120_000)
            rows = [("start of the studio", f"{start:.1f} s", "")]
            rows += _use(page, address, server.pid, options)
            browser.close()
            return rows
        finally:
            server.send_signal(signal.SIGINT)


def _use(page: Page, address: str, pid: int, options: argparse.Namespace) -> list[tuple[str, str, str]]:
    began = time.perf_counter()
    page.goto(address)
    page.wait_for_function(
        """() => { const grid = document.querySelector('#grid')?.getBoundingClientRect();
            const tiles = [...document.querySelectorAll('.tile')].filter((tile) => {
                const box = tile.getBoundingClientRect(); return box.top < grid.bottom && box.bottom > grid.top; });
            return tiles.length && tiles.every((tile) => tile.classList.contains('loaded')); }""",
        polling=10,
    )
    rows = [("first grid, all pictures", f"{time.perf_counter() - began:.2f} s", "≤ 2 s")]
    rows += [
        _blanks("scrolling by screens, thumbnails being made", _scroll(page, options)),
        _blanks("jumps, thumbnails being made", _jump(page, options)),
        _blanks("the same jumps again, without the browser's cache", _jump(page, options, fresh=True)),
    ]
    rows += _edit(page)
    rows.append(("memory of the studio", f"{memory(pid) / 1e6:.0f} MB", "≤ 400 MB"))
    return rows


def _scroll(page: Page, options: argparse.Namespace) -> dict[str, list[float]]:
    """Turn the wheel, from the middle of the list, by 80 % of a screen at a time."""
    _move(page, 0.5)
    page.wait_for_timeout(3000)
    page.evaluate(RECORD)
    page.hover("#grid")
    height = page.evaluate("document.querySelector('#grid').clientHeight")
    for _ in range(options.screens):
        page.mouse.wheel(0, 0.8 * height)
        page.wait_for_timeout(options.pause * 1000)
    return _recorded(page)


def _jump(page: Page, options: argparse.Namespace, *, fresh: bool = False) -> dict[str, list[float]]:
    """Jump to places of the last third of the list, as with the scroll bar."""
    if fresh:
        page.reload()
        page.locator(".tile.loaded").first.wait_for()
        page.context.new_cdp_session(page).send("Network.clearBrowserCache")
    page.evaluate(RECORD)
    for number in range(options.screens // 2):
        _move(page, 0.65 + 0.3 * (number * 7 % 20) / 20)
        page.wait_for_timeout(2 * options.pause * 1000)
    page.wait_for_timeout(1000)
    return _recorded(page)


def _move(page: Page, share: float) -> None:
    page.evaluate(
        "share => { const grid = document.querySelector('#grid'); grid.scrollTop = share * grid.scrollHeight; }", share
    )


def _recorded(page: Page) -> dict[str, list[float]]:
    found: dict[str, list[float]] = page.evaluate("() => { window.blanks.on = false; return window.blanks; }")
    return found


def _blanks(title: str, found: dict[str, list[float]]) -> tuple[str, str, str]:
    picture = sorted(found["picture"]) or [0.0]
    over = sum(value > 100 for value in picture)
    middle = picture[len(picture) // 2]
    value = (
        f"{max(found['anything'], default=0):.0f} ms; without the picture: {middle:.0f} ms (median), "
        f"{picture[-1]:.0f} ms (longest), {over} of {len(picture)} tiles over 100 ms"
    )
    return f"longest blank, {title}", value, "≤ 100 ms"


def _edit(page: Page) -> list[tuple[str, str, str]]:
    page.fill("#class-name", "cup")
    page.press("#class-name", "Enter")
    page.get_by_role("button", name="Label as cup").wait_for()
    page.evaluate("() => { document.querySelector('#grid').scrollTop = 0; }")
    page.locator(".tile.loaded").first.click()
    page.focus("#grid")
    columns = page.evaluate(
        "new Set([...document.querySelectorAll('.tile')].map((tile) => tile.getBoundingClientRect().left)).size"
    )
    for _ in range(499 // columns):
        page.keyboard.press("Shift+ArrowDown")
    for _ in range(499 % columns):
        page.keyboard.press("Shift+ArrowRight")
    selected = page.locator("#selected-count").inner_text()
    labelled = _timed(page, ".label-button", "cup")
    undone = _timed(page, "#undo", "unlabelled")
    return [(f"label ({selected})", f"{labelled:.2f} s", "≤ 1 s"), ("undo", f"{undone:.2f} s", "≤ 1 s")]


def _timed(page: Page, selector: str, caption: str) -> float:
    """Click a button; return the seconds until the first ten tiles have another caption, in a new frame."""
    return float(
        page.evaluate(
            """async ([selector, caption]) => {
                const began = performance.now();
                document.querySelector(selector).click();
                const shows = () => [...document.querySelectorAll('.tile-caption')].slice(0, 10)
                    .every((item) => item.textContent.toLowerCase() === caption);
                while (!shows()) await new Promise(requestAnimationFrame);
                return (performance.now() - began) / 1000;
            }""",
            [selector, caption],
        )
    )


def _processor() -> str:
    found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    return found[1] if found else platform.processor()


if __name__ == "__main__":
    main()
