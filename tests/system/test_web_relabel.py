"""The labelling page in a real browser: label by click or key, undo, skip."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from axe_playwright_python.sync_playwright import Axe


class Site(NamedTuple):
    """A server with four unsure photos."""

    url: str
    labels: Path


@pytest.fixture(scope="module")
def shared_site(
    serve, make_bundle, painted: Callable[..., bytes], tmp_path_factory: pytest.TempPathFactory, eventually
) -> Site:
    folder = tmp_path_factory.mktemp("uncertain")
    server = serve(make_bundle(), "--keep-uncertain", folder, lifecycle__drain_delay=0)
    with server.client() as client:
        for number in range(4):
            client.post("/classify", files={"image": painted((130 + number, 100, 100), kind="PNG")})
        eventually(lambda: len(client.get("/relabel/photos").json()["photos"]) == 4)
    return Site(server.url, folder / "labels.csv")


@pytest.fixture
def site(shared_site: Site) -> Site:
    """A server with stored photos and no labels."""
    shared_site.labels.unlink(missing_ok=True)
    return shared_site


def _labels(site: Site) -> list[str]:
    with site.labels.open(encoding="utf-8", newline="") as stream:
        return [row["label"] for row in csv.DictReader(stream)]


@pytest.mark.parametrize("width", [1280, 360])
def test_labelling_by_key_and_click(browser: Any, site: Site, width: int):
    page = browser.new_page(viewport={"width": width, "height": 800})
    complaints: list[str] = []
    page.on("console", lambda item: complaints.append(item.text))
    page.on("pageerror", lambda item: complaints.append(str(item)))
    page.goto(f"{site.url}/relabel")
    page.get_by_text("0 of 4 labelled").wait_for()
    page.locator("#picture[src^=blob]").wait_for()
    page.evaluate("document.querySelector('#picture').decode()")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert Axe().run(page).response["violations"] == []

    page.keyboard.press("2")
    page.get_by_text("1 of 4 labelled").wait_for()
    page.get_by_role("button", name="blue").click()
    page.get_by_text("2 of 4 labelled").wait_for()
    assert _labels(site) == ["green", "blue"]
    page.keyboard.press("u")
    page.get_by_text("1 of 4 labelled").wait_for()
    assert _labels(site) == ["green"]
    page.keyboard.press("s")
    page.keyboard.press("1")
    page.get_by_text("2 of 4 labelled").wait_for()
    assert _labels(site) == ["green", "red"]
    page.keyboard.press("9")
    page.keyboard.press("3")
    page.get_by_text("No more photos").wait_for()
    assert _labels(site) == ["green", "red", "blue"]
    assert Axe().run(page).response["violations"] == []

    page.reload()
    page.get_by_text("3 of 4 labelled").wait_for()
    assert complaints == []
    page.close()


def test_label_that_cannot_be_written_is_reported_and_not_counted(browser: Any, site: Site):
    page = browser.new_page()
    page.goto(f"{site.url}/relabel")
    page.get_by_text("0 of 4 labelled").wait_for()
    site.labels.write_text("something else\n", encoding="utf-8")
    page.keyboard.press("1")
    page.locator("#error", has_text="has no column path or label").wait_for()
    assert page.locator("#progress").inner_text() == "0 of 4 labelled"
    page.close()
