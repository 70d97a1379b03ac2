"""The model card."""

import re

import pytest

from assay.bundle import BundleInfo, Provenance, render_model_card


def test_card_contains_the_metadata(info: BundleInfo) -> None:
    card = render_model_card(info.model_copy(update={"version": "0123456789ab", "agreement": {"openvino": 2e-6}}))
    for text in (
        "# screws",
        "Tells good screws from bad ones.",
        "| good | 40 | 8 |",
        "| bent ü | 9 | 0 |",
        "81 photos: 69 in train, 12 in test.",
        "0 % to 100 % of the width, 0 % to 30 % of the height",
        "32 x 32 pixels, RGB",
        "mean 0.5, 0.4, 0.3 and std 0.25, 0.2, 0.3",
        "| accuracy | 0.9375 |",
        "| per\\_class · good · recall | 1 |",
        "One split has only 12 photos",
        "confidence is not calibrated",
        "| version | 0123456789ab |",
        "| created | 2026-01-02T03:04:05+00:00 |",
        "| torch | 2.13.0 |",
        "| largest logit difference, openvino | 2e-06 |",
    ):
        assert text in card


def test_sections_are_in_order(info: BundleInfo) -> None:
    assert re.findall("^## (.*)", render_model_card(info), re.MULTILINE) == [
        "Intended use",
        "Classes",
        "Preprocessing",
        "Training data",
        "Metrics",
        "Limits",
        "Provenance",
    ]


def test_unknown_values_are_stated(info: BundleInfo) -> None:
    card = render_model_card(info.model_copy(update={"metrics": {}, "provenance": Provenance()}))
    assert "Not measured" in card
    assert "Not recorded." in card


def test_confidence_metrics_take_few_rows(info: BundleInfo) -> None:
    part = {"before": {"ece": 0.08}, "after": {"ece": 0.02}, "threshold": 0.9}
    part |= {"answered": {"coverage": 0.75, "precision": 0.99, "count": 40}}
    metrics = {"confidence": {"calibration": {"temperature": 1.3}, "test": part}}
    card = render_model_card(info.model_copy(update={"metrics": metrics, "temperature": 1.3}))
    for row in (
        "| test · ECE at temperature 1 | 0.08 |",
        "| test · ECE at temperature 1.3 | 0.02 |",
        "| test · coverage at the threshold | 0.75 |",
        "| test · precision at the threshold | 0.99 |",
    ):
        assert row in card
    assert card.count("| test ·") == 4
    kept = render_model_card(info.model_copy(update={"metrics": metrics}))
    assert "temperature scaling did not help" in kept
    assert kept.count("ECE at") == 1


def test_calibrated_classifier_is_described_as_such(info: BundleInfo) -> None:
    assert "not calibrated" not in render_model_card(info.model_copy(update={"temperature": 1.3}))


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "a|b", "![x](http://example.org)", "a\n# b"])
def test_names_are_escaped(info: BundleInfo, name: str) -> None:
    harmless = render_model_card(info)
    card = render_model_card(info.model_copy(update={"name": name, "classes": (name, "b", "c")}))
    assert card.count("\n") == harmless.count("\n")
    assert not re.search(r"(?<!\\)[<\[!]{1,2}(script|\[)", card)
    table = [line for line in card.splitlines() if line.startswith("| a\\|b")]
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 4 for line in table)


def test_metrics_of_cross_validation_are_named(info: BundleInfo) -> None:
    measured = {"val": {"accuracy": 0.8, "interval": {"level": 0.95}}, "confidence": {"cross_validated": False}}
    card = render_model_card(info.model_copy(update={"metrics": measured}))
    assert "from cross-validation" not in card
    assert "level of the interval" in card
    crossed = {**measured, "confidence": {"cross_validated": True}}
    assert "from cross-validation" in render_model_card(info.model_copy(update={"metrics": crossed}))


@pytest.mark.parametrize(("of_fold", "expected"), [(False, "val"), (True, "network of the first fold")])
def test_it_is_named_which_network_was_measured_at_int8(info: BundleInfo, expected: str, *, of_fold: bool) -> None:
    by_precision = {"fp32": 0.9, "int8": 0.89}
    int8 = {"kept": True, "photos": 9, "accuracy": by_precision, "milliseconds": by_precision, "of_fold": of_fold}
    card = render_model_card(info.model_copy(update={"metrics": {"int8": int8}}))
    assert f"| {expected} · accuracy, fp32 / int8 | 0.9 / 0.89 |" in card
