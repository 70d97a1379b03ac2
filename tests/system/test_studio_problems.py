"""The studio in a real browser when something is wrong: refused files, damaged photos, misleading names."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from page_looks import LOOKS
from PIL import Image
from studio_browser import fair, opened
from studio_projects import paint
from studio_server import StudioServer, studio_server

_NAMES = "items => items.map(item => item.title + item.ariaLabel)"
_DROP = """([zone, files]) => {
  const data = new DataTransfer();
  for (const [name, bytes] of files) data.items.add(new File([new Uint8Array(bytes)], name, { type: "image/png" }));
  document.querySelector(zone).dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true }));
}"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("problems") / "project"
    for number in range(3):
        paint(place / "cup" / f"{number}.png", seed=number)
    paint(place / "\u202egnp" / "hidden.png", seed=9)
    for number, shade in enumerate((0, 10, 240, 255)):
        Image.new("RGB", (64, 64), (shade, shade, shade)).save(place / f"blank-{number}.png")
    damaged = place / "damaged.png"
    damaged.write_bytes(paint(place / "damaged.png").read_bytes()[:300])
    return place


@pytest.fixture(scope="module")
def studio(folder: Path) -> Iterator[StudioServer]:
    with studio_server(folder) as running:
        yield running


def test_added_repeated_and_refused_files_are_counted(browser: Any, studio: StudioServer, folder: Path, tmp_path: Path):
    first, second = paint(tmp_path / "first.png", seed=100), paint(tmp_path / "second.png", seed=101)
    (tmp_path / "fake.jpg").write_text("no photo")
    (tmp_path / "notes.txt").write_text("notes")
    for page in opened(browser, studio):
        page.click("#add-photos")
        page.set_input_files("#files", [first])
        page.locator("#upload-result", has_text="1 photo was added.").wait_for()
        page.set_input_files("#files", [first, second, tmp_path / "fake.jpg", tmp_path / "notes.txt"])
        result = "1 photo was added. 1 was there already. 2 files were refused:"
        page.locator("#upload-result", has_text=result).wait_for()
        notes, fake = sorted(page.locator("#upload-errors li").all_inner_texts(), reverse=True)
        assert notes == "notes.txt: neither a photo nor a video of a known format"
        assert fake.startswith("fake.jpg: ")
        assert fake.count("fake.jpg") == 1
        fair(page)
    assert sorted(path.name for path in (folder / "photos").iterdir()) == ["first.png", "second.png"]


def test_dropped_files_are_added_once_and_may_get_a_label(browser: Any, studio: StudioServer, tmp_path: Path):
    for zone, seed in (("#grid", 200), ("#drop", 201)):
        data = list(paint(tmp_path / f"{seed}.png", seed=seed).read_bytes())
        for page in opened(browser, studio):
            page.fill("#class-name", f"class {seed}")
            page.press("#class-name", "Enter")
            page.get_by_role("button", name=f"Label as class {seed}").wait_for()
            if zone == "#drop":
                page.click("#add-photos")
            page.evaluate(_DROP, [zone, [[f"{seed}.png", data]]])
            page.locator("#upload-result", has_text="1 photo was added.").wait_for()
            assert page.locator("#upload-result").inner_text() == "1 photo was added."
            assert f"class {seed}" in page.locator("#add-class option").all_inner_texts()


def test_an_added_folder_of_folders_can_be_labelled_by_them(browser: Any, studio: StudioServer, tmp_path: Path):
    for number in range(4):
        paint(tmp_path / "things" / f"kind {number % 2}" / f"{number}.png", seed=300 + number)
    (tmp_path / "things" / ".DS_Store").write_text("no photo")
    for page in opened(browser, studio):
        page.click("#add-photos")
        page.set_input_files("#folder", tmp_path / "things")
        page.locator("#upload-result", has_text="4 photos were added.").wait_for()
        page.locator("#upload-folders").wait_for()
        fair(page)
        page.keyboard.press("Escape")
        page.locator("#folder-hint", has_text="press “Use folder names as labels” to label them all").wait_for()
        fair(page)
        page.get_by_role("button", name="Use folder names as labels").click()
        page.locator("#folder-hint").wait_for(state="hidden")
        for kind in ("kind 0", "kind 1"):
            page.locator(".filter", has_text=kind).locator(".count", has_text="2").wait_for()
        page.locator("#undo").click()
        page.locator(".toast", has_text="Undone").wait_for()


@LOOKS
def test_a_damaged_photo_is_marked_and_its_reason_shown(browser: Any, studio: StudioServer, width: int, scheme: str):
    for page in opened(browser, studio, viewport={"width": width, "height": 800}, color_scheme=scheme):
        tile = page.locator(".tile.broken")
        tile.wait_for()
        assert tile.get_attribute("aria-label") == "damaged.png: Unlabelled, cannot be read"
        tile.dblclick()
        page.locator("#photo-problem", has_text="This photo cannot be shown: ").wait_for()
        assert len(page.locator("#photo-problem").inner_text()) > len("This photo cannot be shown: .")
        assert not page.locator("#photo-large").is_visible()
        fair(page)
        page.keyboard.press("Escape")
        page.locator(".tile.loaded").first.dblclick()
        page.locator("#photo-large").wait_for()
        assert not page.locator("#photo-problem").is_visible()
        before = page.locator("#photo-title").inner_text()
        page.keyboard.press("ArrowRight")
        page.wait_for_function("before => document.getElementById('photo-title').innerText !== before", arg=before)
        page.get_by_role("button", name="Previous").click()
        page.wait_for_function("before => document.getElementById('photo-title').innerText === before", arg=before)
        fair(page)


def test_misleading_class_names_are_refused_or_shown_escaped(browser: Any, studio: StudioServer):
    for page in opened(browser, studio):
        page.locator(".tile").first.wait_for()
        for name, reason in (("a\u202eb", "control characters such as \\u202e"), ("x" * 101, "this one has 101")):
            page.fill("#class-name", name)
            page.press("#class-name", "Enter")
            page.locator("#errors", has_text=reason).wait_for()
        page.get_by_role("button", name="Use folder names as labels").click()
        page.get_by_role("button", name="Label as \\u202egnp").wait_for()
        page.locator(".tile-caption", has_text="\\u202egnp").wait_for()
        assert "\u202e" not in page.locator("body").inner_text()
        names = page.locator("[title], [aria-label]").evaluate_all(_NAMES)
        assert not any("\u202e" in name for name in names)
        page.locator(".filter-row", has_text="gnp").locator("button.filter").click()
        page.locator("#shown", has_text="1 photo").wait_for()
        page.goto(f"{studio.url}/photos?show=constructor")
        page.locator(".filter[aria-pressed=true]", has_text="All photos").wait_for()


@LOOKS
def test_single_photos_of_a_check_are_left_out_by_keyboard(
    browser: Any, studio: StudioServer, eventually: Callable[..., None], width: int, scheme: str
):
    with studio.client() as client:
        state = client.get("/api/photos").json()
        body = {"action": "label", "photos": [row[0] for row in state["photos"]], "label": "thing"}
        client.post("/api/edit", json={**body, "revision": state["revision"]})
        client.post("/api/check", json={})
        eventually(lambda: "with nothing to be seen" in client.get("/check/live").text, 120)
    for page in opened(browser, studio, viewport={"width": width, "height": 800}, color_scheme=scheme):
        page.goto(f"{studio.url}/check")
        assert page.locator(".finding details[open]").count() == 1  # the first that matters
        fair(page)
        finding = page.locator(".finding", has_text="with nothing to be seen")
        if not finding.locator("details[open]").count():
            finding.locator("summary").first.click()
        finding.locator(".tile.loaded").nth(3).wait_for()
        fair(page)
        finding.locator(".grid").focus()
        page.keyboard.press("Space")
        page.keyboard.press("Shift+ArrowRight")
        finding.locator("[data-count]", has_text="2 selected").wait_for()
        page.keyboard.press("Delete")
        page.locator(".toast", has_text="2 photos left out").wait_for()
        finding.locator(".tile.out").nth(1).wait_for()
        assert page.evaluate("document.activeElement.className") == "grid"
        finding.get_by_role("button", name="Select all").click()
        finding.get_by_role("button", name="Leave out").click()
        finding.locator(".tag.good").wait_for()
        assert page.evaluate("document.activeElement.innerText").endswith("with nothing to be seen")
        fair(page)
        page.get_by_role("button", name="Undo: Left out 2 photos").click()
        finding.locator(".tile.out").nth(1).wait_for()
        finding.locator(".grid").focus()
        page.keyboard.press("Control+z")
        finding.locator(".tile.out").first.wait_for(state="detached")
        page.keyboard.press("Enter")
        page.locator("#photo-large").wait_for()


def test_an_error_is_shown_in_front_of_the_dialog_that_caused_it(browser: Any, studio: StudioServer):
    for page in opened(browser, studio):
        page.click("#add-photos")
        page.fill("#source", "/absent")
        page.press("#source", "Enter")
        page.locator("#errors", has_text="There is no folder /absent").wait_for()
        fair(page)
        page.locator("#errors").get_by_role("button", name="Close").click()  # fails if the dialog covers it
        page.press("#source", "Enter")
        page.locator("#errors .toast").wait_for()
        page.keyboard.press("Escape")
        page.locator("body > #errors .toast").wait_for()
