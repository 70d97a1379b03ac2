"""Pages of the studio in a real browser, and what every page must fulfil."""

from collections.abc import Iterator
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from studio_server import StudioServer


def opened(browser: Any, studio: StudioServer, **options: Any) -> Iterator[Any]:
    """A page with the cookie; afterwards check that it spoke to the studio only and logged no errors."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
    page = context.new_page()
    page.set_default_timeout(60_000)
    requested: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda item: requested.append(item.url))
    page.on("pageerror", lambda item: complaints.append(str(item)))
    page.on("dialog", lambda item: (complaints.append(item.message), item.dismiss()))
    page.on("console", lambda item: complaints.append(item.text))
    page.goto(studio.address)
    yield page
    context.close()
    assert [item for item in requested if not item.startswith((studio.url, f"blob:{studio.url}", "data:"))] == []
    assert [item for item in complaints if "status of 4" not in item] == []


def fair(page: Any) -> None:
    """Nothing sticks out, and axe finds nothing at all."""
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    found = Axe().run(page).response["violations"]
    assert [(item["impact"], item["id"], item["nodes"][0]["html"]) for item in found] == []
