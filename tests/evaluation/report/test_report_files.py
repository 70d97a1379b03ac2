"""The report: content, accessibility, escaping and size."""

import base64
import csv
import itertools
import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from assay.evaluation import Predictions, compute_metrics
from assay.evaluation.learning_curve import CurvePoint, LearningCurve
from assay.evaluation.report import REPORT_FILES, EpochRow, ReportContext, ReportFinding, write_report

Make = Callable[..., Predictions]

VOID = {"meta", "link", "img", "br", "hr", "input"}
CURVE = LearningCurve(
    "accuracy",
    (CurvePoint(50, 0.7, 0.6, 0.8), CurvePoint(1000, 0.8, 0.75, 0.85)),
    (CurvePoint(2000, 0.85, 0.8, 0.9), CurvePoint(4000, 0.875, 0.8, 0.94)),
)
HOSTILE = "<script>alert(1)</script>"


class Page(HTMLParser):
    """Collects what a page is made of, and notices tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        assert len({name for name, _ in attrs}) == len(attrs)
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.words))


def page_of(folder: Path, predictions: Predictions, context: ReportContext | None = None) -> Page:
    path = write_report(folder, predictions, compute_metrics(predictions), context)
    return Page(path.read_text("utf-8"))


@pytest.fixture
def full(photographed: Callable[..., Predictions]) -> tuple[Predictions, ReportContext]:
    """Predictions with a complete report context."""
    predictions = photographed(source_labels=tuple("ab"[k % 2] for k in range(60)))
    context = ReportContext(
        title="Pets and ships",
        split_name="test",
        warning="these photos taught the classifier",
        history=[EpochRow(1, 1.0, 0.5, 1.1, 0.4), EpochRow(2, 0.5, 0.8, 0.7, 0.7)],
        best_epoch=2,
        learning_curve=CURVE,
        temperature=1.5,
        training_predictions=photographed(),
        make_heatmap=lambda data, place: data if place == 1 else None,
        findings=[ReportFinding("warning", "3 copies stand in two parts", "Keep them together", 3)],
        split_counts={"train": {"cat": 100, "dog": 90, "ship": 80}, "test": {"cat": 20, "dog": 20, "ship": 20}},
        split_description="Shared out at random.",
        provenance={"Classifier": "pets 1a2b3c"},
        settings="train:\n  epochs: 2\n",
    )
    return predictions, context


def test_learning_curve_is_shown(full: tuple[Predictions, ReportContext], tmp_path: Path):
    page = page_of(tmp_path, *full)
    assert CURVE.sentence in page.text
    assert re.search(r"4,000 *87.5.%80.0 to 94.0.% *estimated", page.text)
    assert LearningCurve.from_dict(json.loads((tmp_path / "report.json").read_text("utf-8"))["learning_curve"]) == CURVE
    predictions, context = full
    page = page_of(tmp_path, predictions, replace(context, learning_curve=None))
    assert "linear classifier on the embeddings" not in page.text
    assert json.loads((tmp_path / "report.json").read_text("utf-8"))["learning_curve"] is None


def test_page_contains_everything(full: tuple[Predictions, ReportContext], tmp_path: Path):
    page = page_of(tmp_path, *full)
    for message in (
        "What does a photo show: “cat”, “dog” or “ship”?",
        "The classifier is correct on 48 of 60 test photos: 80.0 %",
        "Warning: these photos taught the classifier",
        "Rows are the actual classes",
        "predicted as",
        "before calibration",
        "Threshold",
        "Source label",
        "Possible label errors",
        "12 of 60, the most confident first.",
        "Nearest training photos",
        "weights of epoch 2 were kept",
        "Shared out at random.",
        "3 copies stand in two parts",
        "pets 1a2b3c",
        "epochs: 2",
    ):
        assert message in page.text.replace("\N{NO-BREAK SPACE}", " "), message
    alts = [item["alt"] for item in page.all("img")]
    assert sum("Heat map" in str(alt) for alt in alts) == 4  # one mistake in three was taken for a dog
    assert sum("Training photo" in str(alt) for alt in alts) == 3 * 12


def test_page_is_accessible(full: tuple[Predictions, ReportContext], tmp_path: Path):
    page = page_of(tmp_path, *full)
    assert page.all("html") == [{"lang": "en"}]
    assert all(item.get("alt") for item in page.all("img"))
    assert all(item.get("scope") in {"row", "col"} for item in page.all("th"))
    ids = [str(item["id"]) for _, item in page.tags if "id" in item]
    assert len(ids) == len(set(ids))
    linked = {str(item["href"])[1:] for item in page.all("a")}
    assert linked <= set(ids)
    assert {str(item["aria-labelledby"]) for item in page.all("section")} <= set(ids)
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_page_is_self_contained(full: tuple[Predictions, ReportContext], tmp_path: Path):
    page = page_of(tmp_path, *full)
    assert not page.all("script")
    for tag, attributes in page.tags:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            if name in attributes:
                assert str(attributes[name]).startswith(("#", "data:")), (tag, attributes)
        assert not [name for name in attributes if name.startswith("on")]
    text = (tmp_path / "report.html").read_text("utf-8")
    assert "default-src 'none'" in text
    assert not re.search(r"url\(|@import", text)


def test_malicious_names_are_escaped(photographed: Callable[..., Predictions], tmp_path: Path):
    names = (HOSTILE, '"><img src=x onerror=alert(1)>', "{{ 7 * 7 }}</style>")
    hostile = photographed(classes=names, source_labels=(HOSTILE, "b") * 30)
    hostile = Predictions(
        classes=hostile.classes,
        ids=tuple(f"{place}' onload='{HOSTILE}" for place in range(60)),
        paths=hostile.paths,
        actual=hostile.actual,
        probabilities=hostile.probabilities,
        embedding=hostile.embedding,
        source_labels=hostile.source_labels,
    )
    context = ReportContext(
        title=HOSTILE,
        split_name=HOSTILE,
        training_predictions=hostile,
        findings=[ReportFinding("error", HOSTILE, HOSTILE)],
        split_description=HOSTILE,
        split_counts={HOSTILE: {HOSTILE: 1}},
        provenance={HOSTILE: HOSTILE},
        settings=f"</pre>{HOSTILE}",
    )
    page = page_of(tmp_path, hostile, context)
    assert not page.all("script")
    assert all(str(item["src"]).startswith("data:") for item in page.all("img"))
    assert not [name for _, item in page.tags for name in item if name.startswith("on")]
    assert HOSTILE in page.text
    assert "{{ 7 * 7 }}" in page.text
    assert len(page.all("style")) == 1


def test_undecodable_names_are_written(photographed: Callable[..., Predictions], tmp_path: Path):
    page = page_of(tmp_path, photographed(classes=("caf\udce9", "tab\tline\n", "電池")))
    assert "電池" in page.text
    assert json.loads((tmp_path / "report.json").read_text("utf-8"))["metrics"]["count"] == 60


def test_json_and_tables_agree(full: tuple[Predictions, ReportContext], tmp_path: Path):
    predictions, context = full
    write_report(tmp_path, predictions, compute_metrics(predictions), context)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == sorted(REPORT_FILES.values())
    report = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert report["result"].startswith("The classifier is correct on 48 of 60 test photos")
    assert report["metrics"] == json.loads(json.dumps(compute_metrics(predictions).to_dict()))
    assert len(report["mistakes"]) == 12
    assert len(report["mistakes"][0]["nearest"]) == 3
    assert report["calibration"]["before"]["ece"] != report["calibration"]["after"]["ece"]
    assert [item["property"] for item in report["slices"]] == ["Source label", "Brightness"]
    assert report["findings"][0]["photos"] == 3
    assert report["history"][1] == context.history[1]._asdict()
    tables = {
        name: list(csv.DictReader((tmp_path / file).read_text("utf-8").splitlines()))
        for name, file in REPORT_FILES.items()
        if file.endswith(".csv")
    }
    assert sum(int(row["photos"]) for row in tables["slices"] if row["property"] == "Brightness") == 60
    assert [row["id"] for row in tables["label_issues"]] == [item["id"] for item in report["label_issues"]["photos"]]
    assert [float(row["threshold"]) for row in tables["thresholds"]][:2] == [0.5, 0.6]
    assert {row["calibration"] for row in tables["reliability"]} == {"before", "after"}


@pytest.mark.parametrize("labels", [[], [0], [1, 1]])
def test_few_photos(make: Make, labels: list[int], tmp_path: Path):
    page = page_of(tmp_path, make(labels, labels))
    linked = {str(item["href"])[1:] for item in page.all("a")}
    assert linked <= {str(item["id"]) for _, item in page.tags if "id" in item}
    assert ("no photos to evaluate" in page.text) == (not labels)
    assert ("None: every prediction matches the label." in page.text) == bool(labels)


def test_missing_images_are_reported(make: Make, tmp_path: Path):
    page = page_of(tmp_path, make([0, 1, 2], [1, 1, 2]))
    assert "the file is missing" in page.text


def test_same_predictions_give_the_same_page(full: tuple[Predictions, ReportContext], tmp_path: Path):
    predictions, context = full
    first, second = (
        write_report(tmp_path / name, predictions, compute_metrics(predictions), context).read_bytes() for name in "ab"
    )
    assert first == second


@pytest.mark.slow
def test_page_of_many_classes_and_mistakes_is_small(photographed: Callable[..., Predictions], tmp_path: Path):
    predictions = photographed(900, tuple(f"class {k}" for k in range(150)))
    context = ReportContext(training_predictions=predictions, make_heatmap=lambda data, _: data)
    page = page_of(tmp_path, predictions, context)
    assert (tmp_path / "report.html").stat().st_size < 15_000_000
    assert len(page.all("article")) == 160
    assert "The 30 classes with the lowest F1; all 150" in page.text
    assert "The 30 of 150 classes with the most mistakes" in page.text


def test_charts_have_no_titles(full: tuple[Predictions, ReportContext], tmp_path: Path):
    page = page_of(tmp_path, *full)
    drawn = [
        base64.b64decode(str(item["src"]).split(",", 1)[1]).decode()
        for item in page.all("img")
        if str(item["src"]).startswith("data:image/svg+xml")
    ]
    assert len(drawn) == 5  # reliability, threshold, loss, accuracy, learning curve
    assert all(text.lstrip().startswith("<?xml") and "</svg>" in text for text in drawn)
    assert not any("<script" in text for text in drawn)
