"""Classification results, serialized for the cache and as JSON responses with the bundle's field names."""

import base64
import json
from dataclasses import asdict, dataclass
from typing import Any, Self

from starlette.responses import Response

from assay.bundle import BundleInfo
from assay.image import Preprocess
from assay.inference import Prediction
from assay.serving.request_record import ImageMetadata


@dataclass(frozen=True, slots=True)
class ClassificationResult:
    """The part of a result that depends only on image, model and options, so that it can be cached."""

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
    def from_prediction(cls, image: ImageMetadata, prediction: Prediction, heat_map: bytes | None = None) -> Self:
        """Convert a prediction; `heat_map` is a PNG."""
        encoded = None if heat_map is None else base64.b64encode(heat_map).decode()
        return cls(
            image,
            prediction.label,
            prediction.confidence,
            prediction.probabilities,
            prediction.unknown,
            prediction.reason,
            prediction.novelty,
            encoded,
        )

    def to_json(self) -> bytes:
        """Return JSON for the cache."""
        # asdict would copy every value first.
        values = {name: getattr(self, name) for name in self.__slots__}
        values["image"] = self.image.to_dict()
        return json.dumps(values, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, content: bytes) -> Self:
        """Parse what `to_json` returned; raise `ValueError` for anything else."""
        try:
            values = json.loads(content)
            image = ImageMetadata.from_dict(values.pop("image"))
            return cls(image, **values)
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"not a cached result: {error}") from None


@dataclass(frozen=True, slots=True)
class StageTimings:
    """Seconds of each stage; None if it was skipped."""

    queue: float | None = None
    decode: float | None = None
    inference: float | None = None


def response_fields(info: BundleInfo, result: ClassificationResult) -> dict[str, Any]:
    """Return the label and confidence, under the field names that the bundle defines."""
    return {info.serve.label_field: result.label, info.serve.confidence_field: result.confidence}


def detail_fields(
    info: BundleInfo, result: ClassificationResult, timings: StageTimings, *, cached: bool, total: float
) -> dict[str, Any]:
    """Return what `?detail=1` adds: times in milliseconds, `crop_box` in pixels of the upright image."""
    size = result.image.dimensions
    stages = {**asdict(timings), "total": total}
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
        "timings_ms": {name: None if seconds is None else round(1000 * seconds, 3) for name, seconds in stages.items()},
    }


def json_bytes(value: object) -> bytes:
    """Return a value as compact JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def json_response(value: object, status: int = 200) -> Response:
    """Return a response with a value as JSON."""
    return Response(json_bytes(value), status, media_type="application/json")
