"""The whole path of a new user in a real browser: unlabelled photos to an answer by curl, over a killed studio."""

import shlex
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from services import find_program
from studio_server import studio_server

_PATIENCE_MS = 240_000


class Counted:
    """A page that counts what its user does."""

    def __init__(self, page: Any) -> None:
        self.page, self.actions = page, 0

    def click(self, target: str) -> None:
        self.actions += 1
        self.page.locator(target).first.click()

    def type(self, target: str, text: str) -> None:
        self.actions += 1
        self.page.fill(target, text)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_unlabelled_photos_to_a_served_classifier(browser: Any, colours: Path, tmp_path: Path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("red", "blue"):
        for path in sorted((colours / name).glob("[0-9]*.png")):
            shutil.copy(path, folder / f"{name}-{path.name}")
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(_PATIENCE_MS)
    user = Counted(page)
    with studio_server(folder) as first:
        page.goto(first.address)
        for name in ("red", "blue"):
            page.fill("#class-name", name)
            page.press("#class-name", "Enter")
            page.fill("#search", f"{name}-")
            page.locator("#shown", has_text="40 photos").wait_for()
            page.click("#select-all")
            page.get_by_role("button", name=f"Label as {name}").click()
            page.locator(".toast", has_text=f"40 photos labelled {name}").wait_for()
        user.click("a[href='/check']")
        user.click("#start-check")
        page.locator(".result").wait_for()
        user.click("a[href='/train']")
        user.type("[name=minutes]", "3")
        user.click("#start-training")
        page.locator("#stop-training").wait_for()
        first.process.send_signal(signal.SIGKILL)
        first.process.wait()
        page.locator("#connection", has_text="No connection").wait_for()
    with studio_server(folder) as second:
        assert second.url == first.url
        page.locator("#connection").wait_for(state="hidden")
        page.locator("#stop-training", has_text="keep the best").wait_for()
        page.reload()
        user.click("#stop-training")
        page.locator(".runs a", has_text="Understand").wait_for()
        page.locator("#stop-training").wait_for(state="detached")
        user.click("a[href='/understand']")
        page.locator(".verdict", has_text="The classifier is correct on").wait_for()
        user.click(".cell.right")
        page.locator("#cell-photos h3").wait_for()
        user.click("a[href='/use']")
        user.click("#start-server")
        command = shlex.split(page.locator("#curl").inner_text())
        assert command[0] == "curl"
        answer = subprocess.run(
            [find_program("curl"), "--silent", *command[1:]], cwd=folder, capture_output=True, text=True, check=True
        )
        assert '"label"' in answer.stdout
        user.click("#stop-server")
        page.locator("#curl").wait_for(state="detached")
    page.close()
    assert user.actions <= 25
