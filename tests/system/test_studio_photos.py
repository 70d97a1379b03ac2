"""The step Photos in a real browser: the grid by mouse and by keyboard, files and the camera, two tabs."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from studio_browser import fair, opened
from studio_projects import paint
from studio_server import StudioServer, studio_server

from assay.data import read_manifest
from assay.studio.pages import text


@pytest.fixture
def photos_folder(tmp_path: Path) -> Path:
    for number in range(40):
        paint(tmp_path / "photos" / f"{'cup' if number % 2 else 'bowl'}-{number:03}.png", seed=number)
    return tmp_path / "photos"


@pytest.fixture
def studio(photos_folder: Path) -> Iterator[StudioServer]:
    with studio_server(photos_folder) as running:
        yield running


def test_photos_are_selected_labelled_and_undone(browser: Any, studio: StudioServer, photos_folder: Path):
    for page in opened(browser, studio):
        page.locator(".tile.loaded").nth(10).wait_for()
        page.locator("#label-buttons", has_text="To label photos, add a class").wait_for()
        page.fill("#class-name", "cup")
        page.press("#class-name", "Enter")
        page.get_by_role("button", name="Label as cup").wait_for()
        tiles = page.locator(".tile")
        tiles.nth(0).click()
        tiles.nth(3).click(modifiers=["Shift"])
        page.locator("#selected-count", has_text="4 selected").wait_for()
        tiles.nth(6).click(modifiers=["Control"])
        page.locator("#selected-count", has_text="5 selected").wait_for()
        first, last = tiles.nth(1).bounding_box(), tiles.nth(8).bounding_box()
        page.mouse.move(first["x"] + 20, first["y"] + 20)
        page.mouse.down()
        page.mouse.move(last["x"] + 20, last["y"] + 20, steps=5)
        page.mouse.up()
        selected = page.locator(".tile[aria-selected=true]").count()
        assert selected >= 4
        page.fill("#search", "cup-")
        page.locator("#shown", has_text="20 photos").wait_for()
        page.click("#select-all")
        page.get_by_role("button", name="Label as cup").click()
        page.locator(".toast", has_text="20 photos labelled cup").wait_for()
        labels = {item.path.name: item.label for item in read_manifest(photos_folder / "labels.csv").samples}
        assert len(labels) == 20
        assert set(labels.values()) == {"cup"}
        page.get_by_role("button", name="Undo: Labelled 20 photos cup").click()
        page.locator(".toast", has_text="Undone").wait_for()
        assert "cup" not in (photos_folder / "labels.csv").read_text().partition("\n")[2]


def test_the_grid_by_keyboard_only(browser: Any, studio: StudioServer):
    for page in opened(browser, studio):
        page.locator(".tile.loaded").nth(5).wait_for()
        page.focus("#class-name")
        page.keyboard.type("bowl")
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Label as bowl").wait_for()
        for _ in range(30):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.id") == "grid":
                break
        assert page.evaluate("document.activeElement.id") == "grid"
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Space")
        page.keyboard.press("Shift+End")
        page.locator("#selected-count", has_text="39 selected").wait_for()
        page.keyboard.press("1")
        page.locator(".toast", has_text="39 photos labelled bowl").wait_for()
        page.keyboard.press("Control+z")
        page.locator(".toast", has_text="Undone").wait_for()
        page.keyboard.press("Control+a")
        page.keyboard.press("Delete")
        page.locator(".toast", has_text="40 photos left out").wait_for()
        page.locator(".filter", has_text="Left out").locator(".count", has_text="40").wait_for()


def test_two_tabs_show_the_same(browser: Any, studio: StudioServer):
    for first in opened(browser, studio):
        second = first.context.new_page()
        second.goto(f"{studio.url}/photos")
        for page in (first, second):
            page.locator(".tile.loaded").nth(5).wait_for()
        first.fill("#class-name", "mug")
        first.press("#class-name", "Enter")
        second.get_by_role("button", name="Label as mug").wait_for()
        second.locator(".tile").first.click()
        second.get_by_role("button", name="Label as mug").click()
        first.locator(".tile-caption", has_text="mug").wait_for()
        second.close()


def test_files_are_added_and_photographed(
    browser: Any, studio: StudioServer, photos_folder: Path, tmp_path: Path, eventually: Callable[..., None]
):
    extra = [paint(tmp_path / f"extra-{number}.png", seed=200 + number) for number in range(3)]
    for page in opened(browser, studio, permissions=["camera"]):
        page.fill("#class-name", "green")
        page.press("#class-name", "Enter")
        page.get_by_role("button", name="Label as green").wait_for()
        page.click("#add-photos")
        page.select_option("#add-class", "green")
        page.set_input_files("#files", extra)
        page.locator("#upload-result", has_text="3 photos were added.").wait_for()
        page.click("#camera-open")
        video = page.locator("#camera-video")
        eventually(partial(video.evaluate, "video => video.videoWidth > 0"), 60)
        hold = page.get_by_role("button", name="Hold to photograph green")
        box = hold.bounding_box()
        page.mouse.move(box["x"] + 10, box["y"] + 10)
        page.mouse.down()
        page.locator("#camera-state", has_text="Near-copy").wait_for()
        page.mouse.up()
        fair(page)
        page.keyboard.press("Escape")
        page.locator(".filter", has_text="green").wait_for()
    labels = [item for item in read_manifest(photos_folder / "labels.csv").samples if item.label == "green"]
    assert len(labels) >= 4
    assert len(list((photos_folder / "photos" / "camera").glob("*.jpg"))) == len(labels) - 3


def test_texts_of_scripts_and_of_the_server_are_the_same(browser: Any, studio: StudioServer):
    values = {"name": "a", "photos": 1, "classes": 1234, "differ": 1, "done": 1, "total": 1234, "actual": "b"}
    for page in opened(browser, studio):
        for count in (0, 1, 2, 1234):
            given = {**values, "count": count}
            shown = page.evaluate(
                "async given => { const { t } = await import(new URL('dom.js', document.querySelector('script').src));"
                " const { texts } = await import(new URL('text.js', document.querySelector('script').src));"
                " return Object.fromEntries(Object.keys(texts).map(key => [key, t(key, given)])); }",
                given,
            )
            filled = {key for key, line in shown.items() if "{" not in line}
            assert {key: shown[key] for key in filled} == {key: text(key, **given) for key in filled}
            assert {"shown", "check_result", "agreement_text", "done_label"} <= filled
