"""`assay.json`: schema, digests and the version of a bundle."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from assay.bundle import FORMAT_VERSION, BundleInfo
from assay.bundle.info import bundle_version, dump_info, parse_info, round_up
from assay.recipe import PreprocessSpec

WEIGHTS = "a" * 64


def test_metadata_survives_a_round_trip(info: BundleInfo) -> None:
    text = dump_info(info)
    again = parse_info(text)
    assert dump_info(again) == text
    assert again == info.model_copy(update={"metrics": {**info.metrics, "roc_auc": None}})


def test_nonfinite_metrics_become_null(info: BundleInfo) -> None:
    assert parse_info(dump_info(info)).metrics["roc_auc"] is None


@pytest.mark.parametrize(
    "change",
    [
        {"classes": ("one",)},
        {"classes": ("same", "same")},
        {"preprocess": PreprocessSpec(size=32)},
        {"temperature": 0.0},
        {"temperature": float("inf")},
        {"thresholds": {"good": 1.5}},
        {"members": {"model.onnx": "no digest"}},
        {"name": ""},
        {"unknown": 1},
    ],
)
def test_invalid_metadata_raises(info: BundleInfo, change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        BundleInfo.model_validate({**dict(info), **change})


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"temperature": 2.0}, False),
        ({"thresholds": {"good": 0.5}}, False),
        ({"classes": ("good", "bent ü", "scratched")}, False),
        ({"name": "bolts"}, True),
        ({"metrics": {}}, True),
    ],
)
def test_version_depends_on_what_affects_predictions(info: BundleInfo, change: dict[str, Any], same: bool) -> None:
    assert (bundle_version(info.model_copy(update=change), WEIGHTS) == bundle_version(info, WEIGHTS)) is same


def test_version_depends_on_weights_and_preprocessing(info: BundleInfo) -> None:
    smaller = info.preprocess.model_copy(update={"size": 64})
    versions = {
        bundle_version(info, WEIGHTS),
        bundle_version(info, "b" * 64),
        bundle_version(info.model_copy(update={"preprocess": smaller}), WEIGHTS),
    }
    assert len(versions) == 3
    assert all(len(version) == 12 for version in versions)


@pytest.mark.parametrize("field", ["classes", "temperature", "metrics", "provenance", "preprocess", "version"])
def test_edited_text_raises(info: BundleInfo, field: str) -> None:
    values = json.loads(dump_info(info))
    values[field] = {"temperature": 3.0, "classes": ["a", "b"], "version": "x"}.get(field, {})
    with pytest.raises(ValueError, match="was changed after it was written"):
        parse_info(json.dumps(values).encode())


def test_newer_format_is_named_whatever_its_content() -> None:
    text = json.dumps({"format_version": FORMAT_VERSION + 1, "entirely": "different"}).encode()
    with pytest.raises(ValueError, match=r"format 3 .* reads up to 2: install a newer Assay"):
        parse_info(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b'{"a": 1, "a": 2}', "not valid JSON"),
        (b'{"format_version": ' + b"9" * 5000 + b"}", "not valid JSON"),
        (b"[]", "not a JSON object"),
        (b"{}", "no format version"),
        (b'{"format_version": "1"}', "no format version"),
        (b'{"format_version": true}', "no format version"),
        (b'{"format_version": 0}', "no format version"),
        (b'{"format_version": 2, "name": "\\ud800"}', "was changed"),
        (b'{"format_version": 1}', "format 1 of an earlier Assay: train it again"),
    ],
)
def test_other_text_raises_with_a_reason(text: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_info(text)


def test_valid_digest_does_not_hide_invalid_metadata(info: BundleInfo) -> None:
    forged = dump_info(info.model_copy(update={"temperature": -1.0}))
    with pytest.raises(ValueError, match=r"does not fit format 2: temperature: .*greater than 0"):
        parse_info(forged)


@given(st.floats(min_value=1e-12, max_value=1e6))
def test_round_up_is_close_and_never_lower(value: float) -> None:
    rounded = round_up(value)
    assert value * (1 - 1e-9) <= rounded <= 2.0001 * value
    assert float(f"{rounded:.0e}") == rounded


def test_zero_rounds_to_zero() -> None:
    assert round_up(0.0) == 0.0
