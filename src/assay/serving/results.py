"""Classification results: serialized for the cache.

As JSON responses with the field names that the bundle defines.
"""

import base64
import json
from dataclasses import asdict, dataclass
from typing import Any, Self

from assay.bundle import BundleInfo
from assay.image import Preprocess
from assay.inference import Prediction
from assay.serving.request_record import ImageMetadata


@dataclass(frozen=True, slots=True)
class ClassificationResult:
    """Everything that depends on photo, model and options alone; it can be kept and given again."""

    image: ImageMetadata
    label: str
    confidence: float
    """Calibrated, 0-1."""
    probabilities: dict[str, float]
    unknown: bool | None
    reason: str | None
    novelty: float | None
    heat_map: str | None = None
    """PNG, base64."""

    @classmethod
    def of(cls, image: ImageMetadata, prediction: Prediction, heat_map: bytes | None = None) -> Self:
        """Take over what a classifier says."""
        drawn = None if heat_map is None else base64.b64encode(heat_map).decode()
        return cls(
            image,
            prediction.label,
            prediction.confidence,
            prediction.probabilities,
            prediction.unknown,
            prediction.reason,
            prediction.novelty,
            drawn,
        )

    def dump(self) -> bytes:
        """Return bytes for a cache."""
        # asdict would copy all of it first.
        values = {name: getattr(self, name) for name in self.__slots__}
        values["image"] = {name: getattr(self.image, name) for name in self.image.__slots__}
        return json.dumps(values, separators=(",", ":")).encode()

    @classmethod
    def load(cls, content: bytes) -> Self:
        """Read what `json_bytes` wrote.

        Raises:
            ValueError: it wrote something else.
        """
        try:
            values = json.loads(content)
            image = values.pop("image")
            size = image["dimensions"]
            facts = ImageMetadata(image["size"], image["format"], None if size is None else (size[0], size[1]))
            return cls(facts, **values)
        except (TypeError, KeyError, IndexError, AttributeError) as error:
            raise ValueError(f"no kept answer: {error}") from None


@dataclass(frozen=True, slots=True)
class StageTimings:
    """Seconds of the phases; None where there was no such phase."""

    queue: float | None = None
    decode: float | None = None
    inference: float | None = None


def response_fields(info: BundleInfo, result: ClassificationResult) -> dict[str, Any]:
    """Return the short answer, its fields named by the bundle."""
    return {info.serve.label_field: result.label, info.serve.confidence_field: result.confidence}


def detail_fields(
    info: BundleInfo, result: ClassificationResult, timings: StageTimings, *, cached: bool, total: float
) -> dict[str, Any]:
    """Return what `?detail=1` adds; times in milliseconds, `crop_box` in pixels of the upright photo."""
    size = result.image.dimensions
    phases = {**asdict(timings), "total": total}
    return {
        "probabilities": result.probabilities,
        "calibrated_confidence": result.confidence,
        "unknown": result.unknown,
        "reason": result.reason,
        "novelty": result.novelty,
        "size": size,
        "crop_box": None if size is None else Preprocess(info.preprocess).box(*size),
        "model": info.name,
        "model_version": info.version,
        "cached": cached,
        "timings_ms": {name: None if seconds is None else round(1000 * seconds, 3) for name, seconds in phases.items()},
    }


def json_bytes(value: object) -> bytes:
    """Return a value as compact JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
