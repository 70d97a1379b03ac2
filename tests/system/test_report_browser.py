"""The report in a real browser: no requests, no errors, readable at any width."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assay.evaluation import Predictions, compute_metrics
from assay.evaluation.report import EpochRow, ReportContext, ReportFinding, write_report

HOSTILE = "<script>document.title = 'taken'; alert(1)</script>"

# All texts with their contrast to the background (WCAG 2.2, 1.4.3), lowest first.
CONTRASTS = """() => {
  const channel = v => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4 };
  const parse = text => text.match(/[\\d.]+/g).map(Number);
  const luminance = c => 0.2126 * channel(c[0]) + 0.7152 * channel(c[1]) + 0.0722 * channel(c[2]);
  const behind = node => {
    for (; node; node = node.parentElement) {
      const colour = parse(getComputedStyle(node).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = [];
  for (let node; (node = walker.nextNode()); ) {
    if (!node.data.trim() || !node.parentElement.getClientRects().length) continue;
    const holder = node.parentElement;
    const [a, b] = [luminance(parse(getComputedStyle(holder).color)), luminance(behind(holder))];
    found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), node.data.trim().slice(0, 60)]);
  }
  return found.sort((one, other) => one[0] - other[0]);
}"""

# What is wider than its place, where the page as a whole is wider than the window.
STICKING_OUT = """() => document.documentElement.scrollWidth <= innerWidth ? [] :
  [...document.querySelectorAll('*')]
    .filter(one => one.scrollWidth > one.clientWidth)
    .map(one => `${one.tagName}.${one.className} ${one.textContent.trim().slice(0, 60)}`)"""


@pytest.fixture(scope="module")
def report(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a report that has every section, and a class whose name is an attack."""
    paths = [*sorted((colours / "red").glob("0*.png")), *sorted((colours / "blue").glob("0*.png"))]
    count, rng = len(paths), np.random.default_rng(0)
    actual = np.arange(count) % 3
    odds = rng.dirichlet(np.ones(3), count) + 3 * np.eye(3)[(actual + (np.arange(count) % 5 == 0)) % 3]
    predictions = Predictions(
        classes=(HOSTILE, "ein sehr langer Klassenname_ohne_jede_Trennstelle_darin" * 2, "電池"),
        ids=tuple(path.name + path.parent.name + HOSTILE for path in paths),
        paths=tuple(map(str, paths)),
        actual=actual,
        probabilities=odds / odds.sum(axis=1, keepdims=True),
        embedding=rng.normal(size=(count, 4)),
        source_labels=tuple("ab"[row % 2] for row in range(count)),
    )
    context = ReportContext(
        title=HOSTILE,
        split_name="test",
        warning="a caution",
        history=[EpochRow(k, 1 / k, 1 - 1 / k, 1.2 / k, 1 - 1.2 / k) for k in range(1, 9)],
        best_epoch=7,
        temperature=1.4,
        training_predictions=predictions,
        make_heatmap=lambda data, _: data,
        findings=[
            ReportFinding("error", "wrong", "mend it"),
            ReportFinding("warning", HOSTILE),
            ReportFinding("note", "good"),
        ],
        split_counts={part: dict.fromkeys(predictions.classes, 20) for part in ("train", "val", "test")},
        split_description="By chance.",
        provenance={"File": "/a/very/long/path" * 12},
        settings="train:\n  epochs: 8\n" + "x" * 300,
    )
    return write_report(tmp_path_factory.mktemp("report"), predictions, compute_metrics(predictions), context)


@pytest.fixture(params=[1360, 360], ids=["wide", "narrow"])
def page(browser: Any, report: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    """The opened report; its requests and console messages are recorded."""
    opened = browser.new_page(viewport={"width": request.param, "height": 900})
    opened.asked, opened.complaints = [], []
    opened.on("request", lambda item: opened.asked.append(item.url))
    opened.on("console", lambda item: opened.complaints.append(item.text))
    opened.on("pageerror", lambda item: opened.complaints.append(str(item)))
    opened.on("dialog", lambda item: (opened.complaints.append(item.message), item.dismiss()))
    opened.goto(report.as_uri())
    yield opened
    opened.close()


def test_page_makes_no_request_and_logs_no_error(page: Any, report: Path):
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    page.wait_for_function("[...document.images].every(one => one.complete)")
    assert [url for url in page.asked if not url.startswith("data:")] == [report.as_uri()]
    assert page.complaints == []
    assert page.title() == f"{HOSTILE} – report"
    assert page.evaluate("document.scripts.length") == 0


def test_every_image_is_loaded(page: Any):
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    page.wait_for_function("[...document.images].every(one => one.complete)")
    sizes = page.evaluate("[...document.images].map(one => [one.naturalWidth, one.clientWidth, one.alt])")
    assert len(sizes) > 50
    assert all(natural > 0 and shown > 0 for natural, shown, _ in sizes)


def test_no_overflow_and_sufficient_contrast(page: Any):
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert page.evaluate(STICKING_OUT) == []
    poorest = page.evaluate(CONTRASTS)[:3]
    assert poorest[0][0] >= 4.5, poorest


def test_table_of_contents_links_work(page: Any):
    links = page.locator("nav a")
    assert links.count() == 12
    links.filter(has_text="Misclassified photos").click()
    assert page.evaluate("document.querySelector('#mistakes').getBoundingClientRect().top") < 900
    assert page.url.endswith("#mistakes")


def test_injected_scripts_cannot_run(page: Any):
    page.evaluate(
        "() => { const one = document.createElement('script'); one.textContent = 'window.ran = 1';"
        " document.body.append(one) }"
    )
    assert page.evaluate("window.ran") is None
    assert any("Content Security Policy" in text for text in page.complaints)


def test_print_hides_the_contents_and_keeps_tables_together(browser: Any, report: Path):
    opened = browser.new_page(viewport={"width": 700, "height": 900})
    opened.goto(report.as_uri())
    opened.emulate_media(media="print")
    assert not opened.locator("nav").is_visible()
    assert opened.locator("#verdict").is_visible()
    assert opened.pdf(format="A4").startswith(b"%PDF")
    opened.close()
