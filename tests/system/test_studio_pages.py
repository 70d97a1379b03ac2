"""The studio in a real browser: every view, by mouse and by keyboard, wide and narrow, light and dark."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from page_looks import LOOKS
from studio_browser import fair, opened
from studio_projects import build_trained_project, paint
from studio_server import StudioServer, studio_server

from assay.data import read_manifest
from assay.recipe import Recipe
from assay.studio.pages import text

HOSTILE = "<img src=x onerror=alert(1)>"
_VIEWS = ("photos", "check", "train", "understand", "try", "use")


@pytest.fixture(scope="module")
def trained(
    build_once, colours: Path, tiny: Recipe, tmp_path_factory: pytest.TempPathFactory, eventually: Callable[..., None]
) -> Iterator[StudioServer]:
    built = build_once("studio-project", lambda folder: build_trained_project(folder, colours, tiny))
    folder = tmp_path_factory.mktemp("studio") / "trained"
    shutil.copytree(built, folder)
    paint(folder / f"{HOSTILE}.png", seed=99)
    shutil.copytree(folder / "runs" / "run-1", folder / "runs" / "run-2")
    with studio_server(folder) as running:
        check_and_compare(running, eventually)
        yield running


def check_and_compare(studio: StudioServer, eventually: Callable[..., None]) -> None:
    """Fill the pages Check and Train."""
    with studio.client() as client:
        client.post("/api/check", json={})
        client.post("/api/compare", json={"runs": ["run-1", "run-2"]})
        pages = (("/check/live", "labelled photos of"), ("/train/live", "Comparison on the same photos"))
        eventually(lambda: all(text in client.get(page).text for page, text in pages), 120)


@pytest.fixture
def photos_folder(tmp_path: Path) -> Path:
    for number in range(40):
        paint(tmp_path / "photos" / f"{'cup' if number % 2 else 'bowl'}-{number:03}.png", seed=number)
    return tmp_path / "photos"


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[StudioServer, Path]]:
    """A studio that was started without a folder, and the user's home."""
    home = tmp_path_factory.mktemp("start") / "home"
    for name in ("cups", "mugs"):
        for number in range(6):
            paint(home / name / f"{number}.png", seed=number)
    with studio_server(None, home.parent / "state", home) as running:
        yield running, home


@pytest.fixture
def studio(photos_folder: Path) -> Iterator[StudioServer]:
    with studio_server(photos_folder) as running:
        yield running


@LOOKS
def test_every_view_is_accessible(browser: Any, trained: StudioServer, width: int, scheme: str):
    for page in opened(browser, trained, viewport={"width": width, "height": 800}, color_scheme=scheme):
        for view in _VIEWS:
            page.goto(f"{trained.url}/{view}")
            page.locator("main").wait_for()
            if view == "photos":
                page.locator(".tile.loaded").first.wait_for()
            page.evaluate("for (const item of document.querySelectorAll('details')) item.open = true")
            fair(page)
        page.goto(f"{trained.url}/photos")
        page.locator(".tile.loaded").first.click()
        page.get_by_role("button", name="Label as red").wait_for()
        fair(page)
        for button, dialog in (("#add-photos", "#add-dialog"), (".edit", "#class-dialog")):
            page.locator(button).first.click()
            page.locator(dialog).wait_for()
            fair(page)
            page.keyboard.press("Escape")


@LOOKS
def test_the_full_report_is_accessible(browser: Any, trained: StudioServer, width: int, scheme: str):
    """As a file: the studio serves it in a sandbox, where nothing can be run to check it."""
    with trained.client() as client:
        answer = client.get("/understand/run-1/report")
    assert answer.headers["content-security-policy"].endswith("sandbox")
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page.set_content(answer.text)
    fair(page)
    page.close()


def test_the_page_of_a_check_is_accessible(browser: Any, colours: Path, tmp_path: Path):
    command = [sys.executable, "-m", "assay.cli.main", "check", colours, "--html", tmp_path / "check.html"]
    subprocess.run([*command, "--fail-on", "never"], check=True, capture_output=True)
    for scheme, width in (("light", 1280), ("dark", 360)):
        page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
        page.goto((tmp_path / "check.html").as_uri())
        fair(page)
        page.close()


@LOOKS
def test_the_start_page_is_accessible_and_opens_a_project(
    browser: Any, start: tuple[StudioServer, Path], width: int, scheme: str
):
    studio, home = start
    for page in opened(browser, studio, viewport={"width": width, "height": 800}, color_scheme=scheme):
        page.goto(f"{studio.url}/projects")
        page.get_by_role("heading", name="Choose or create a folder").wait_for()
        fair(page)
        page.get_by_role("link", name="cups", exact=True).click()
        page.get_by_role("button", name="Open this folder").click()
        page.locator(".tile.loaded").first.wait_for()
        fair(page)
        page.get_by_role("link", name="Change").click()
        page.get_by_role("button", name="Open cups").wait_for()
        fair(page)
        page.goto(f"{studio.url}/projects?at=/etc")
        page.get_by_text("/etc belongs to the operating system").wait_for()
        fair(page)
    assert (home / "cups" / ".studio").is_dir()


def test_a_tab_of_another_project_leaves_it(browser: Any, start: tuple[StudioServer, Path]):
    studio, home = start
    for page in opened(browser, studio):
        for name in ("cups", "mugs"):
            page.goto(f"{studio.url}/projects?at={home / name}")
            page.get_by_role("button", name="Open this folder").click()
            page.locator(".tile.loaded").first.wait_for()
            if name == "cups":
                other = page.context.new_page()
                other.goto(f"{studio.url}/train")
                other.locator("main").wait_for()
        other.bring_to_front()
        other.locator(".project bdi", has_text="mugs").wait_for()
        other.close()


def test_photos_are_selected_labelled_and_undone(browser: Any, studio: StudioServer, photos_folder: Path):
    for page in opened(browser, studio):
        page.locator(".tile.loaded").nth(10).wait_for()
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


def test_understand_opens_cells_and_moves_the_threshold(browser: Any, trained: StudioServer):
    for page in opened(browser, trained):
        page.goto(f"{trained.url}/understand")
        page.locator(".cell.right").first.click()
        page.locator("#cell-photos h3").wait_for()
        assert page.locator("#cell-photos li").count() > 0
        page.locator("#threshold-curve svg").wait_for()
        page.fill("#threshold-slider", "0")
        everything = page.locator("#threshold-coverage").inner_text()
        page.fill("#threshold-slider", "1")
        nothing = page.locator("#threshold-coverage").inner_text()
        assert (everything.split()[0], nothing.split()[0]) == ("100.0", "0.0")
        assert not page.locator("#threshold-train").is_visible()  # nothing is answered
        fair(page)


def test_a_photo_is_tried_and_explained(browser: Any, trained: StudioServer, colours: Path):
    for page in opened(browser, trained):
        page.goto(f"{trained.url}/try")
        page.set_input_files("#file", colours / "red" / "000.png")
        page.locator("#answer .answer").wait_for()
        assert page.locator("#bars li").count() == 2
        page.click("#heat")
        page.get_by_role("button", name="Show photo").wait_for()
        fair(page)
        page.set_input_files("#file", {"name": f"{HOSTILE}.jpg", "mimeType": "image/jpeg", "buffer": b"none"})
        page.locator("#error:not(:empty)").wait_for()
        assert page.locator("#error").inner_text().startswith(HOSTILE)


def test_the_classifier_is_served_and_stopped(browser: Any, trained: StudioServer, colours: Path):
    import httpx  # noqa: PLC0415

    for page in opened(browser, trained):
        page.goto(f"{trained.url}/use")
        page.click("#start-server")
        page.locator("#curl").wait_for()
        address = page.locator("a", has_text="http://127.0.0.1").get_attribute("href")
        key = page.locator("#api-key").inner_text()
        photo = {"image": (colours / "red" / "001.png").read_bytes()}
        answer = httpx.post(f"{address}/classify", files=photo, headers={"Authorization": f"Bearer {key}"}, timeout=60)
        assert answer.status_code == 200
        assert httpx.post(f"{address}/classify", files=photo, timeout=60).status_code == 401
        fair(page)
        page.click("#stop-server")
        page.locator("#curl").wait_for(state="detached")


@pytest.fixture
def two_classifiers(build_once, colours: Path, tiny: Recipe, colour_bundle: Path, tmp_path: Path) -> Path:
    """A project whose run `run-1` knows blue and red, and `colours` also green."""
    built = build_once("studio-project", lambda folder: build_trained_project(folder, colours, tiny))
    project = tmp_path / "project"
    shutil.copytree(built, project)
    shutil.copytree(project / "runs" / "run-1", project / "runs" / "colours")
    shutil.copy(colour_bundle, project / "runs" / "colours" / "model.assay")
    return project


def test_the_classes_of_a_rule_are_those_of_the_chosen_run(browser: Any, two_classifiers: Path):
    with studio_server(two_classifiers) as studio:
        for page in opened(browser, studio):
            page.goto(f"{studio.url}/use")
            for run, classes in (("run-1", ["blue", "red"]), ("colours", ["red", "green", "blue"])):
                page.select_option("#rule [name=run]", run)
                page.wait_for_function(
                    "names => JSON.stringify([...document.querySelectorAll('#rule [name=label] option')]"
                    ".map(item => item.value)) === names",
                    arg=json.dumps(classes, separators=(",", ":")),
                )
            page.select_option("#rule [name=label]", "green")
            assert "runs/colours/model.assay 0 --on 'green>0.9" in page.locator("#rule-command").inner_text()
            page.fill("#rule [name=source]", "absent.avi")
            page.click("#start-rule")
            page.get_by_text("failed", exact=True).wait_for()
            fair(page)
            page.get_by_role("button", name="Remove").click()
            page.get_by_text("failed", exact=True).wait_for(state="detached")


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
