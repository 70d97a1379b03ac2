"""A model with validation metrics, and records of its predictions."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from assay.bundle import BundleInfo
from assay.recipe import PreprocessSpec
from assay.serving.request_record import ImageMetadata, RequestRecord

MakeRecord = Callable[..., RequestRecord]
FIGURES: dict[str, Any] = {
    "val": {"classes": [{"name": "closed", "predicted": 60}, {"name": "open", "predicted": 40}]},
    "confidence": {"val": {"histogram": {"edges": [0.8, 0.95], "counts": [20, 30, 50]}}},
}


@pytest.fixture
def info() -> BundleInfo:
    """A model of bottles: 60 of 100 validation photos were taken for closed ones."""
    pixels = PreprocessSpec(mean=(0, 0, 0), std=(1, 1, 1))
    return BundleInfo(name="bottle", version="v1", classes=("closed", "open"), preprocess=pixels, metrics=FIGURES)


@pytest.fixture
def make_record() -> MakeRecord:
    """Make a record of a good answer, with other fields where they are given."""

    def make(**fields: Any) -> RequestRecord:
        values: dict[str, Any] = {
            "request_id": "r1",
            "timestamp": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
            "client_id": "line-3",
            "image": ImageMetadata(12_345, "jpeg", (1080, 1920)),
            "result": "open",
            "confidence": 0.9,
            "unknown": False,
            "processing_time": 0.0123,
            "model": "bottle",
            "model_version": "v1",
            "cache_hit": False,
            "status": 200,
        }
        return RequestRecord(**{**values, **fields})

    return make
