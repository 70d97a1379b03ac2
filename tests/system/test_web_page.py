"""The web page in a real browser: all functions, and no external requests."""

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from page_looks import LOOKS
from studio_browser import fair

from assay.recipe import PreprocessSpec, ServeSpec
from assay.serving.auth.keys import KeyManager

HOSTILE = "<img src=x onerror=alert(1)>.png"


@pytest.fixture(scope="module")
def url(serve, make_bundle) -> str:
    """A server that classifies the upper half of photos and abstains below 0.9."""
    upper = PreprocessSpec(size=16, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), roi=(0, 0, 1, 0.5))
    address: str = serve(make_bundle(preprocess=upper, thresholds={"confidence": 0.9}), lifecycle__drain_delay=0).url
    return address


@pytest.fixture(params=[1280, 360], ids=["wide", "narrow"])
def page(browser: Any, url: str, request: pytest.FixtureRequest) -> Iterator[Any]:
    yield from _opened(browser, url, request.param)


@pytest.fixture
def wide(browser: Any, url: str) -> Iterator[Any]:
    yield from _opened(browser, url, 1280)


def _opened(browser: Any, url: str, width: int, scheme: str = "light") -> Iterator[Any]:
    """The page; afterwards check that it sent requests to this server only and logged no errors."""
    opened = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    requested: list[str] = []
    complaints: list[str] = []
    opened.on("request", lambda item: requested.append(item.url))
    opened.on("pageerror", lambda item: complaints.append(str(item)))
    opened.on("dialog", lambda item: (complaints.append(item.message), item.dismiss()))
    opened.on("console", lambda item: complaints.append(item.text))
    opened.goto(url)
    opened.get_by_text("Ready: 3 classes").wait_for()
    yield opened
    opened.close()
    assert [item for item in requested if not item.startswith((url, f"blob:{url}", "data:"))] == []
    assert [item for item in complaints if "status of 4" not in item] == []


def _file(photo: bytes, name: str = "photo.jpg") -> dict[str, Any]:
    return {"name": name, "mimeType": "image/jpeg", "buffer": photo}


def test_photo_is_classified_when_chosen(page: Any, painted: Callable[..., bytes]):
    fair(page)
    page.set_input_files("#photo-file", _file(painted((230, 20, 30), (64, 80))))
    answer = page.locator("#photo-answer .answer")
    answer.wait_for()
    assert answer.inner_text() == "red"
    assert page.locator("#photo-bars li").count() == 3
    assert page.locator("#photo-bars li").first.inner_text().startswith("red")
    box, frame = (
        page.locator("#photo-view .box").bounding_box(),
        page.locator("#photo-view img").bounding_box(),
    )
    # The upper half, cut to a square: 40 of 64 x 80 pixels a side, in the middle.
    assert box["x"] - frame["x"] == pytest.approx(12 / 64 * frame["width"], abs=1)
    assert (box["width"], box["height"]) == pytest.approx((frame["width"] * 40 / 64, frame["height"] / 2), abs=1)
    assert "31 % of the photo" in page.locator("#photo-view figcaption").inner_text()
    fair(page)

    page.get_by_role("img", name="Heat map of photo.jpg").wait_for()
    assert page.locator("#photo-view .box").is_visible()
    page.get_by_label("Show heat map").uncheck()
    assert not page.locator("#heat-view img").is_visible()
    page.get_by_label("Show heat map").check()
    page.get_by_role("img", name="Heat map of photo.jpg").wait_for()


@LOOKS
def test_every_view_is_accessible(browser: Any, url: str, painted: Callable[..., bytes], width: int, scheme: str):
    for opened in _opened(browser, url, width, scheme):
        opened.set_input_files("#photo-file", _file(painted((230, 20, 30), (64, 80))))
        opened.get_by_role("img", name="Heat map of photo.jpg").wait_for()
        for tab in ("Photo", "Live", "Batch", "History", "About"):
            opened.get_by_role("tab", name=tab).click()
            if tab == "About":
                opened.get_by_role("heading", name="Intended use").wait_for()
            fair(opened)
        opened.goto(f"{url}/relabel")
        opened.get_by_text("start the server with --keep-uncertain").wait_for()
        fair(opened)


def test_examples_are_classified_with_a_click(browser: Any, serve, make_bundle, painted, tmp_path: Path):
    photos = {"red": (230, 20, 30), "blue": (20, 20, 230)}
    for name, colour in photos.items():
        (tmp_path / f"{name}.jpg").write_bytes(painted(colour))
    server = serve(make_bundle(), "--example", tmp_path, lifecycle__drain_delay=0)
    for opened in _opened(browser, server.url, 1280):
        for name in photos:
            opened.get_by_role("button", name=f"Example {name}.jpg").click()
            opened.locator("#photo-answer .answer", has_text=name).wait_for()
            opened.get_by_role("img", name=f"Heat map of {name}.jpg").wait_for()
        assert opened.get_by_role("button", name="Example blue.jpg").get_attribute("aria-pressed") == "true"
        fair(opened)


def test_unknown_result_shows_the_label_of_the_api(wide: Any, url: str, painted: Callable[..., bytes]):
    """In the tabs for one photo and several, in the table and the history."""
    photo = _file(painted((120, 110, 100)), "doubtful.jpg")
    answer = httpx.post(
        f"{url}/classify?detail=1", files={"image": photo["buffer"]}, trust_env=False, timeout=30
    ).json()
    label, sure = answer["label"], f"{100 * answer['confidence']:.1f} %"
    assert answer["unknown"]
    wide.set_input_files("#photo-file", photo)
    wide.locator("#photo-answer .answer.unknown").wait_for()
    assert wide.locator("#photo-answer .answer").inner_text() == f"{label} (uncertain)"
    assert (
        wide.locator("#photo-answer .explanation")
        .inner_text()
        .startswith(f"Confidence {sure}. The confidence is below the threshold")
    )

    wide.get_by_role("tab", name="Batch").click()
    wide.set_input_files("#batch-file", [photo, _file(painted((240, 10, 10)), "sure.jpg")])
    wide.get_by_text("Done: 2 of 2 photos").wait_for()
    rows = wide.locator("#batch-table tbody tr")
    assert rows.nth(0).inner_text().split("\t") == ["doubtful.jpg", f"{label} (uncertain)", sure]
    assert rows.nth(1).inner_text().split("\t")[1] == "red"
    with wide.expect_download() as download:
        wide.click("#batch-save")
    with Path(download.value.path()).open(encoding="utf-8", newline="") as stream:
        doubtful, certain = csv.DictReader(stream)
    assert (doubtful["label"], doubtful["unknown"], doubtful["reason"]) == (label, "true", "low_confidence")
    assert (certain["label"], certain["unknown"], certain["reason"]) == ("red", "false", "")
    assert float(doubtful["confidence"]) == pytest.approx(answer["confidence"])
    wide.get_by_role("tab", name="History").click()
    assert f"{label} (uncertain) {sure}" in wide.locator("#history-list").inner_text()


def test_unknown_result_in_the_live_tab(browser: Any, serve, make_bundle):
    server = serve(make_bundle(thresholds={"confidence": 0.999999}), lifecycle__drain_delay=0)
    for opened in _opened(browser, server.url, 1280):
        opened.get_by_role("tab", name="Live").click()
        opened.click("#live-toggle")
        opened.locator("#live-answer .answer.unknown", has_text="green (uncertain)").wait_for()
        opened.locator("#live-label", has_text="green (uncertain)").wait_for(state="attached")


def test_file_dialog_offers_the_accepted_formats(browser: Any, serve, make_bundle, wide: Any):
    usual = ".jpg,.jpeg,image/jpeg,.png,image/png"
    for chooser in ("#photo-file", "#batch-file"):
        assert wide.get_attribute(chooser, "accept") == usual
    bundle = make_bundle(serve=ServeSpec(formats=("png", "tiff")))
    server = serve(f"a={make_bundle()}", f"b={bundle}", lifecycle__drain_delay=0)
    for opened in _opened(browser, server.url, 1280):
        assert opened.get_attribute("#photo-file", "accept") == usual
        opened.select_option("#model", "b")
        assert opened.get_attribute("#photo-file", "accept") == ".png,image/png,.tif,.tiff,image/tiff"


def test_invalid_file_shows_an_error_with_its_name_escaped(page: Any):
    page.set_input_files("#photo-file", _file(b"no photo", HOSTILE))
    error = page.locator("#photo-error:not(:empty)")
    error.wait_for()
    assert error.inner_text() == f"{HOSTILE}: Invalid image format. Allowed formats: jpg, jpeg, png"
    fair(page)


def test_too_large_photo_is_not_sent(wide: Any, tmp_path: Path):
    (tmp_path / "large.jpg").write_bytes(bytes(17 * 2**20))
    wide.set_input_files("#photo-file", tmp_path / "large.jpg")
    wide.locator("#photo-error:not(:empty)").wait_for()
    assert "accepts up to 16 MB" in wide.locator("#photo-error").inner_text()


def test_button_clipboard_and_camera(wide: Any, painted: Callable[..., bytes]):
    assert wide.locator("#classify").is_disabled()
    wide.uncheck("#at-once")
    wide.set_input_files("#photo-file", _file(painted((20, 20, 230))))
    assert not wide.locator("#photo-answer .answer").count()
    wide.click("#classify")
    wide.locator("#photo-answer .answer", has_text="blue").wait_for()
    wide.check("#at-once")
    wide.evaluate(
        """bytes => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], 'pasted.jpg', {type: 'image/jpeg'}));
            document.dispatchEvent(new ClipboardEvent('paste', {clipboardData: data}));
        }""",
        list(painted((230, 20, 30))),
    )
    wide.locator("#photo-answer .answer", has_text="red").wait_for()
    wide.click("#camera-open")
    wide.click("#camera-take")
    # The fake camera shows a green picture.
    wide.locator("#photo-answer .answer", has_text="green").wait_for()
    assert not wide.locator("#camera").is_visible()


def test_live_tab(page: Any):
    page.get_by_role("tab", name="Live").click()
    with page.expect_response(lambda item: "/classify" in item.url):
        page.click("#live-toggle")
    page.locator("#live-label", has_text="green").wait_for(state="attached")
    assert page.locator("#live-view .box").is_visible()
    fair(page)
    page.get_by_role("tab", name="Photo").click()
    assert page.evaluate("document.querySelector('#live-view video').srcObject") is None


def test_batch_tab_and_history(page: Any, painted: Callable[..., bytes]):
    page.get_by_role("tab", name="Batch").click()
    photos = [_file(painted((230, 20, 30), number=number), f"{number}.jpg") for number in range(5)]
    page.set_input_files("#batch-file", [*photos, _file(b"none", "=cmd.jpg")])
    page.get_by_text("Done: 6 of 6 photos, 1 failed").wait_for()
    with page.expect_download() as download:
        page.click("#batch-save")
    lines = Path(download.value.path()).read_text(encoding="utf-8").splitlines()
    assert lines[0] == "photo,label,confidence,unknown,reason,error,red,green,blue"
    assert [line.split(",")[0] for line in lines[1:]] == [
        *(f"{number}.jpg" for number in range(5)),
        "'=cmd.jpg",
    ]
    fair(page)
    page.get_by_role("tab", name="History").click()
    page.locator("#history-list img").nth(4).wait_for()
    assert page.locator("#history-list li").count() == 5
    fair(page)
    page.click("#history-clear")
    assert page.locator("#history-empty").is_visible()


def test_health_and_model_card(page: Any):
    page.get_by_role("tab", name="About").click()
    page.get_by_role("heading", name="Intended use").wait_for()
    result = page.locator("#health").inner_text()
    assert "healthy" in result
    assert "colours, version" in result
    assert page.locator("#card table").count() >= 1
    fair(page)


def test_keyboard_only(wide: Any):
    reached = []
    for _ in range(5):
        wide.keyboard.press("Tab")
        reached.append(wide.evaluate("document.activeElement.id || document.activeElement.tagName"))
    assert reached == ["SUMMARY", "tab-photo", "photo-file", "camera-open", "at-once"]
    wide.focus("#tab-photo")
    for key, tab in (
        ("ArrowRight", "live"),
        ("End", "about"),
        ("ArrowRight", "photo"),
        ("ArrowLeft", "about"),
    ):
        wide.keyboard.press(key)
        assert wide.evaluate("document.activeElement.id") == f"tab-{tab}"
        assert wide.locator(f"#{tab}").is_visible()


def test_api_key_form(browser: Any, serve, make_bundle, painted: Callable[..., bytes], tmp_path: Path):
    manager = KeyManager(tmp_path / "keys")
    key = manager.token(manager.create("a visitor", "bronze", ("classify",)))
    server = serve(make_bundle(), "--keys", tmp_path / "keys", lifecycle__drain_delay=0)
    page = browser.new_page()
    page.goto(server.url)
    page.get_by_text("This server requires an API key").wait_for()
    page.set_input_files("#photo-file", _file(painted()))
    page.locator("#photo-error", has_text="requires an API key").wait_for()
    page.get_by_label("API key of this server").fill(key)
    page.get_by_role("button", name="Use key").click()
    page.get_by_text("Ready: 3 classes").wait_for()
    page.click("#classify")
    page.locator("#photo-answer .answer", has_text="red").wait_for()
    page.close()


def test_a_link_with_the_key_opens_the_page_with_it(browser: Any, serve, make_bundle, tmp_path: Path):
    manager = KeyManager(tmp_path / "keys")
    key = manager.token(manager.create("a visitor", "bronze", ("classify",)))
    server = serve(make_bundle(), "--keys", tmp_path / "keys", lifecycle__drain_delay=0)
    page = browser.new_page()
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    page.goto(f"{server.url}/?tab=photo#key={key}")
    page.get_by_text("Ready: 3 classes").wait_for()
    assert page.url == f"{server.url}/?tab=photo"
    assert not any(key in url.partition("#")[0] for url in requested)
    page.reload()
    page.get_by_text("Ready: 3 classes").wait_for()
    page.close()


def test_labelling_page_without_stored_photos(browser: Any, url: str):
    page = browser.new_page()
    page.goto(f"{url}/relabel")
    page.get_by_text("start the server with --keep-uncertain").wait_for()
    page.close()
