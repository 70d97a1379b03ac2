"""The studio in a real browser: every view, by mouse and by keyboard, wide and narrow, light and dark."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from page_looks import LOOKS
from PIL import Image
from studio_browser import fair, opened
from studio_projects import build_trained_project, paint
from studio_server import StudioServer, studio_server

from assay.recipe import Recipe
from assay.studio.project import Project

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
    doubt(folder / "runs" / "run-2", "red-000.png", "red-001.png")
    with studio_server(folder) as running:
        check_and_compare(running, eventually)
        yield running


def doubt(run: Path, *names: str) -> None:
    """Add labels that may be wrong to the report of a run."""
    (path,) = run.glob("evaluation/test/report.json")
    report = json.loads(path.read_text())
    issues = [{"id": name, "label": "red", "suggested": "blue", "suggested_probability": 0.9} for name in names]
    report["label_issues"]["photos"] = issues
    path.write_text(json.dumps(report))


def check_and_compare(studio: StudioServer, eventually: Callable[..., None]) -> None:
    """Fill the pages Check and Train."""
    with studio.client() as client:
        client.post("/api/check", json={})
        client.post("/api/compare", json={"runs": ["run-1", "run-2"]})
        pages = (("/check/live", "labelled photos of"), ("/train/live", "Comparison on the same photos"))
        eventually(lambda: all(text in client.get(page).text for page, text in pages), 120)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[StudioServer, Path]]:
    """A studio that was started without a folder, and the user's home."""
    home = tmp_path_factory.mktemp("start") / "home"
    for name in ("cups", "mugs"):
        for number in range(6):
            paint(home / name / f"{number}.png", seed=number)
    with studio_server(None, home.parent / "state", home) as running:
        yield running, home


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
    command = [sys.executable, "-m", "assay", "check", colours, "--html", tmp_path / "check.html"]
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


def test_a_doubtful_label_is_corrected_and_that_undone(browser: Any, trained: StudioServer):
    for page in opened(browser, trained):
        page.goto(f"{trained.url}/understand?run=run-2")
        first, second = (page.locator(".suspects .group").nth(place) for place in (0, 1))
        first.get_by_text("labelled red, looks like blue (90 % probable)").wait_for()
        for group in (first, second):
            group.get_by_role("button", name="Label as blue").click()
            group.locator(".tag.good", has_text="done").wait_for()
        assert page.get_by_role("button", name="Undo").count() == 1
        fair(page)
        second.get_by_role("button", name="Undo").click()
        second.get_by_role("button", name="Label as blue").wait_for()
        page.reload()
        assert first.locator(".tag.good").is_visible()
        assert not second.locator(".tag.good").is_visible()


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
        page.locator("#start-server-reason").wait_for()
        assert page.evaluate("document.activeElement.id") == "start-server-reason"
        page.locator("#curl").wait_for()
        address = page.locator("a code", has_text="http://127.0.0.1").inner_text()
        key = page.locator("#api-key").inner_text()
        with page.context.expect_page() as served:
            page.locator("a", has_text=address).click()
        served.value.get_by_text("Ready: 2 classes").wait_for()
        served.value.close()
        assert page.locator("#start-server").is_disabled()
        page.get_by_text("A server is already running: stop it first").wait_for()
        other = page.context.new_page()
        other.goto(f"{trained.url}/train")
        other.get_by_role("link", name="Server runs").wait_for()
        other.goto(f"{trained.url}/use")
        assert other.locator("#start-server").is_disabled()
        photo = {"image": (colours / "red" / "001.png").read_bytes()}
        answer = httpx.post(f"{address}/classify", files=photo, headers={"Authorization": f"Bearer {key}"}, timeout=60)
        assert answer.status_code == 200
        assert httpx.post(f"{address}/classify", files=photo, timeout=60).status_code == 401
        fair(page)
        other.goto(f"{trained.url}/try")
        page.bring_to_front()
        page.click("#stop-server")
        page.locator("#curl").wait_for(state="detached")
        page.locator("#start-server:enabled").wait_for()
        other.bring_to_front()
        other.get_by_role("link", name="Server runs").wait_for(state="detached")
        other.close()


def test_the_steps_fit_a_phone_and_keep_their_names(browser: Any, trained: StudioServer):
    for width in (390, 360, 320):
        for page in opened(browser, trained, viewport={"width": width, "height": 800}):
            for view in _VIEWS:
                page.goto(f"{trained.url}/{view}")
                steps = page.locator(".top nav")
                assert steps.evaluate("nav => nav.scrollWidth <= nav.clientWidth")
                assert steps.get_by_role("link").count() == len(_VIEWS)
                shown = steps.get_by_role("link", name=view.capitalize(), exact=False)
                assert shown.get_attribute("aria-current") == "page"
                boxes = [item.bounding_box() for item in steps.locator("a").all()]
                assert all(box["width"] >= 24 and box["height"] >= 24 for box in boxes)
                assert len({box["y"] for box in boxes}) == 1
            fair(page)


@pytest.fixture
def two_classifiers(build_once, colours: Path, tiny: Recipe, colour_bundle: Path, tmp_path: Path) -> Path:
    """A project whose run `run-1` knows blue and red, and `colours` also green."""
    built = build_once("studio-project", lambda folder: build_trained_project(folder, colours, tiny))
    project = tmp_path / "project"
    shutil.copytree(built, project)
    shutil.copytree(project / "runs" / "run-1", project / "runs" / "colours")
    shutil.copy(colour_bundle, project / "runs" / "colours" / "model.assay")
    return project


def test_a_rule_offers_videos_and_the_classes_of_the_chosen_run(browser: Any, two_classifiers: Path):
    (two_classifiers / "clip.avi").write_bytes(b"RIFF")
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
            page.fill("#rule [name=source]", "0")
            assert "runs/colours/model.assay 0 --on 'green>0.9" in page.locator("#rule-command").inner_text()
            chosen = page.locator("#rule-choice")
            assert chosen.locator("option", has_text="clip.avi").get_attribute("value") == "./clip.avi"
            chosen.select_option("./clip.avi")
            assert page.input_value("#rule [name=source]") == "./clip.avi"
            assert "./clip.avi --on" in page.locator("#rule-command").inner_text()
            page.set_input_files("#rule-file", {"name": "new.avi", "mimeType": "video/avi", "buffer": b"RIFF"})
            page.locator(".toast", has_text="new.avi is copied into the project").wait_for()
            assert chosen.input_value() == page.input_value("#rule [name=source]") == "./videos/new.avi"
            assert (two_classifiers / "videos" / "new.avi").read_bytes() == b"RIFF"
            page.fill("#rule [name=source]", "absent.avi")
            assert chosen.input_value() == ""
            page.click("#start-rule")
            page.get_by_text("failed", exact=True).wait_for()
            fair(page)
            page.get_by_role("button", name="Remove").click()
            page.get_by_text("failed", exact=True).wait_for(state="detached")


@pytest.fixture
def copies(tmp_path: Path, eventually: Callable[..., None]) -> Iterator[StudioServer]:
    """A checked project with more pairs of copies than a page shows, and photos of one colour, which are a grid."""
    folder = tmp_path / "project"
    for number in range(8):
        first = paint(folder / "red" / f"{number}.png", seed=number)
        shutil.copy(first, folder / "red" / f"copy-{number}.png")
        Image.new("RGB", (48, 48), (0, 0, 20 * number)).save(folder / "red" / f"plain-{number}.png")
        paint(folder / "blue" / f"{number}.png", (20, 20, 200), seed=100 + number)
    project = Project.open(folder)
    names = project.by_name()
    for label in ("red", "blue"):
        chosen = [photo.id for name, photo in names.items() if name.startswith(label)]
        project.label(chosen, label, project.revision)
    with studio_server(folder) as studio, studio.client() as client:
        client.post("/api/check", json={})
        eventually(lambda: "/check?finding=" in client.get("/check/live").text, 120)
        yield studio


def test_the_pages_of_a_finding_change_nothing_else(browser: Any, copies: StudioServer):
    for page in opened(browser, copies):
        page.goto(f"{copies.url}/check")
        page.evaluate("window.same = true")
        grid = page.locator(".finding", has=page.locator(".grid")).first
        pairs = page.locator(".finding", has=page.locator("a[data-within]")).first
        for finding in (grid, pairs):
            finding.locator("details").first.evaluate("item => { item.open = true; }")
        grid.locator(".tile").first.click()
        grid.get_by_text("1 selected").wait_for()
        pairs.get_by_role("link", name="Next").click()
        pairs.get_by_text("7 to 8 of 8").wait_for()
        assert page.evaluate("document.activeElement.id") == pairs.locator("h3").get_attribute("id")
        assert grid.get_by_text("1 selected").is_visible()
        assert (page.evaluate("window.same"), "page-" in page.url) == (True, True)
        pairs.get_by_role("button", name="Keep one", exact=False).last.click()
        pairs.locator(".group.resolved").first.wait_for()
        assert grid.get_by_text("1 selected").is_visible()
        pairs.get_by_text("7 to 8 of 8").wait_for()
        fair(page)
        page.reload()
        pairs.get_by_text("7 to 8 of 8").wait_for()
        pairs.get_by_role("link", name="Previous").click()
        pairs.get_by_text("1 to 6 of 8").wait_for()
