"""The studio with many classes of long names, in a real browser: nothing sticks out on a phone."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from page_looks import LOOKS
from studio_browser import fair, opened
from studio_projects import paint
from studio_server import StudioServer, studio_server

from assay.recipe import Recipe
from assay.studio.project import Project

CLASSES = 60
LONG_RUN = "run-" + "r" * 86
_PHONE = {"width": 390, "height": 800}


def class_name(number: int) -> str:
    """Return a long name without spaces for even numbers, else a short one."""
    return f"{number:02}" + ("w" * 88 if number % 2 == 0 else "-short")


def build(folder: Path, photos: int) -> Path:
    """Create a project of many classes with so many photos each; all names are long."""
    for number in range(CLASSES):
        colour = (4 * number, 250 - 4 * number, (37 * number) % 250)
        for photo in range(photos):
            paint(folder / f"{number:02}-{'x' * 90}-{photo}.png", colour, seed=photos * number + photo)
    project = Project.open(folder)
    for number in range(CLASSES):
        members = [photo.id for photo in project.photos.values() if photo.name.startswith(f"{number:02}-")]
        project.label(members, class_name(number), project.revision)
    return folder


def train(folder: Path, recipe: Recipe) -> None:
    from assay.pipeline import train_classifier  # noqa: PLC0415  it imports torch

    build(folder, photos=6)
    train_classifier(folder / "labels.csv", recipe, folder / "runs" / "run-1")


@pytest.fixture(scope="module")
def trained(
    build_once, tiny: Recipe, tmp_path_factory: pytest.TempPathFactory, eventually: Callable[..., None]
) -> Iterator[StudioServer]:
    """A studio whose pages all show something."""
    built = build_once("studio-many-classes", lambda place: train(place, tiny))
    folder = tmp_path_factory.mktemp("many") / ("p" * 90)
    shutil.copytree(built, folder)
    shutil.copytree(folder / "runs" / "run-1", folder / "runs" / LONG_RUN)
    with studio_server(folder) as running, running.client() as client:
        rule = {"run": LONG_RUN, "source": "v" * 90, "label": class_name(0), "confidence": "0.9", "seconds": "1"}
        client.post("/api/check", json={})
        client.post("/api/compare", json={"runs": ["run-1", LONG_RUN]})
        client.post("/api/export", json={"run": LONG_RUN, "format": ["onnx"]})
        client.post("/api/watch", json=rule)
        pages = (
            ("/check/live", "labelled photos of"),
            ("/train/live", "Comparison on the same photos"),
            ("/use/live?part=export", "Written to"),
            ("/use/live?part=rule", "failed"),
        )
        eventually(lambda: all(text in client.get(page).text for page, text in pages), 120)
        yield running


@LOOKS
def test_the_photos_page_and_its_dialogs_fit_a_phone(browser: Any, tmp_path: Path, width: int, scheme: str):
    with studio_server(build(tmp_path / ("p" * 90), photos=1)) as studio:
        for page in opened(browser, studio, viewport={"width": width, "height": 800}, color_scheme=scheme):
            page.locator(".tile.loaded").first.click()
            page.get_by_role("button", name=f"Label as {class_name(2)}").click()
            page.locator("#undo:enabled").wait_for()
            page.locator(".tile.loaded").first.click()
            fair(page)
            page.locator(".edit").first.click()
            page.locator("#class-dialog").wait_for()
            fair(page)
            page.keyboard.press("Escape")
            page.click("#add-photos")
            page.locator("#add-dialog").wait_for()
            fair(page)
            page.goto(f"{studio.url}/understand?run={LONG_RUN}")
            page.get_by_text("There is no run run-rrr").wait_for()
            fair(page)


def test_the_start_page_with_long_names_fits_a_phone(browser: Any, tmp_path: Path):
    home = tmp_path / ("h" * 90)
    for name in ("a" * 90, "b" * 90):
        paint(home / name / "photo.png")
    with studio_server(None, tmp_path / "state", home) as studio, studio.client() as client:
        client.post("/api/projects/open", json={"folder": str(home / ("a" * 90))})
        for page in opened(browser, studio, viewport=_PHONE):
            for address in (
                "/projects",
                f"/projects?at={home / ('b' * 90)}",
                "/projects?at=/etc",
                "/photos",
                "/absent",
            ):
                page.goto(f"{studio.url}{address}")
                page.locator("main").wait_for()
                fair(page)


@pytest.mark.slow
@pytest.mark.parametrize("step", ["photos", "check", "train", "understand", "try", "use"])
def test_nothing_scrolls_sideways_on_a_phone(browser: Any, trained: StudioServer, step: str, colours: Path):
    for page in opened(browser, trained, viewport=_PHONE):
        page.goto(f"{trained.url}/{step}")
        page.locator("main").wait_for()
        if step == "understand":
            page.locator(".cell.miss").first.click()
            page.locator("#cell-photos h3").wait_for()
        elif step == "try":
            page.set_input_files("#file", colours / "red" / "000.png")
            page.locator("#answer .answer").wait_for()
        page.evaluate("for (const item of document.querySelectorAll('details:not(.advanced)')) item.open = true")
        fair(page)
