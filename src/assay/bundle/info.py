"""The schema of `assay.json` and its digests.

The digest in `assay.json` detects damage and accidental changes. It is not a signature: anyone who can change a bundle
can compute a new digest.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from assay.bundle.archive import MODEL, MODEL_INT8
from assay.recipe import LiveSpec, PreprocessSpec, ServeSpec
from assay.recipe.validation_text import describe_first

FORMAT_VERSION = 2
"""Version of the bundle format; incremented by every change that affects predictions."""

Precision = Literal["fp32", "int8"]
"""Number format of a model: 32-bit floating point, or mostly 8-bit integers."""
MODEL_MEMBERS: dict[Precision, str] = {"fp32": MODEL, "int8": MODEL_INT8}
"""The member with the model of each precision."""

Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _FrozenModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Provenance(_FrozenModel):
    """How the weights were trained, in enough detail to repeat the training."""

    recipe: dict[str, JsonValue] = {}
    """All settings of the run, as returned by `Recipe.model_dump(mode="json")`."""
    data: str = ""
    """Fingerprint of the photos and labels."""
    photos: dict[str, dict[str, int]] = {}
    """Number of photos by split and class: {"train": {"good": 120, "defect": 60}, ...}."""
    formats: dict[str, int] = {}
    """Number of training photos by image format, detected by content; arrays of pixels have none."""
    seed: int = 0
    """Seed of the run."""
    libraries: dict[str, str] = {}
    """Versions of the libraries used for training and export, by name."""
    created: str = ""
    """Time of writing, ISO 8601 with the offset to UTC."""


class PrecisionSettings(_FrozenModel):
    """Calibration and abstention of one precision."""

    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """Logits are divided by this before the softmax."""
    thresholds: dict[str, Annotated[float, Field(ge=0, le=1)]] = {}
    """Decision thresholds by name, as probabilities."""
    novelty: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Distance above which an image is out of distribution; None: the limit stored with the novelty detector."""


class BundleInfo(_FrozenModel):
    """Everything besides the weights that predictions depend on, and the measured metrics.

    `version`, `members` and `agreement` are filled in when the bundle is written.
    """

    format_version: int = FORMAT_VERSION
    """Version of the bundle format."""
    name: Annotated[str, Field(min_length=1, max_length=200)]
    """Name of the classifier."""
    version: str = ""
    """First 12 hexadecimal digits of a digest of everything that predictions depend on: weights, preprocessing,
    classes, temperature, thresholds, novelty detector and the int8 model. Bundles of the same version give the same
    predictions at the same precision."""
    description: str = ""
    """What the classifier is for, in one or two sentences."""
    classes: Annotated[tuple[str, ...], Field(min_length=2)]
    """Names of the classes in the order of the logits."""
    preprocess: PreprocessSpec
    """Preprocessing of decoded images; mean and std are set."""
    serve: ServeSpec = ServeSpec()
    """Field names of server responses, and limits of uploads."""
    live: LiveSpec = LiveSpec()
    """Settings for cameras."""
    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """Logits are divided by this before the softmax."""
    thresholds: dict[str, Annotated[float, Field(ge=0, le=1)]] = {}
    """Decision thresholds by name, as probabilities; `confidence`: below it the classifier answers unknown."""
    precision: Precision = "fp32"
    """The default precision, on processors that support it; temperature, thresholds and metrics are those of this
    precision."""
    others: dict[Precision, PrecisionSettings] = {}
    """Calibration and abstention of the other precisions."""
    metrics: dict[str, JsonValue] = {}
    """Metrics measured with this bundle on photos that were not used for training."""
    agreement: dict[str, float] = {}
    """Largest |Δlogit| between torch and each runtime on real photos, rounded up to one digit."""
    provenance: Provenance = Provenance()
    """How the weights were trained."""
    members: dict[str, Digest] = {}
    """SHA-256 of every other member of the bundle, by name."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("classes must differ from each other")
        if self.preprocess.mean is None or self.preprocess.std is None:
            raise ValueError("preprocess.mean and preprocess.std must be given")
        if self.members and MODEL_MEMBERS[self.precision] not in self.members:
            raise ValueError(f"precision is {self.precision} and there is no such model")
        return self

    def at(self, precision: Precision) -> Self:
        """Return a copy with the temperature and thresholds of another precision."""
        other = self.others.get(precision)
        if precision == self.precision or other is None:
            return self
        return self.model_copy(update={"temperature": other.temperature, "thresholds": other.thresholds})


def dump_info(info: BundleInfo) -> bytes:
    """Return `assay.json`: the settings with sorted keys and, under `digest`, the SHA-256 of all others.

    Numbers that are not finite become null.
    """
    values = _values(info)
    text = json.dumps({"digest": _digest(values), **values}, indent=2, sort_keys=True, ensure_ascii=False)
    return f"{text}\n".encode()


def parse_info(text: bytes) -> BundleInfo:
    """Parse and validate `assay.json`.

    Args:
        text: the member's bytes.

    Raises:
        ValueError: the text is not valid; the message is a reason without the name of the file.
    """
    values = _parse_object(text)
    newest = values.get("format_version")
    if not isinstance(newest, int) or isinstance(newest, bool) or newest < 1:
        raise ValueError("its assay.json gives no format version")
    if newest > FORMAT_VERSION:
        raise ValueError(f"it has format {newest} and this Assay reads up to {FORMAT_VERSION}: install a newer Assay")
    if newest < FORMAT_VERSION:
        raise ValueError(f"it has format {newest} of an earlier Assay: train it again")
    digest = values.pop("digest", None)
    if digest != _digest(values):
        raise ValueError("its assay.json was changed after it was written")
    try:
        return BundleInfo.model_validate(values)
    except ValidationError as error:
        problem = describe_first(error, "assay.json", json=True)
        raise ValueError(f"its assay.json does not fit format {newest}: {problem}") from None


def bundle_version(info: BundleInfo, weights: str, novelty: str | None = None, int8: str | None = None) -> str:
    """Return the version of a bundle.

    Args:
        info: metadata; only the parts that predictions depend on are used.
        weights: digest of the weights, 64 hexadecimal digits.
        novelty: digest of the novelty detector, if the bundle has one.
        int8: digest of the int8 model, if the bundle has one.
    """
    values = _values(info)
    decisive = {name: values[name] for name in ("classes", "preprocess", "temperature", "thresholds")}
    if novelty is not None:
        decisive["novelty"] = novelty
    if int8 is not None:
        decisive |= {"int8": int8, "precision": values["precision"], "others": values["others"]}
    return _digest({"weights": weights, **decisive})[:12]


def round_up(value: float) -> float:
    """Round a positive number up to one significant digit, so that it does not depend on rounding errors."""
    if value == 0 or not math.isfinite(value):
        return value
    step = 10.0 ** math.floor(math.log10(value))
    return float(f"{math.ceil(value / step) * step:.0e}")


def _values(info: BundleInfo) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(info.model_dump_json())
    return values


def _digest(values: Mapping[str, Any]) -> str:
    canonical = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


def _parse_object(text: bytes) -> dict[str, Any]:
    try:
        values = json.loads(text.decode("utf-8"), object_pairs_hook=_reject_duplicate_keys)
    except (ValueError, RecursionError):
        raise ValueError("its assay.json is not valid JSON") from None
    if not isinstance(values, dict):
        raise ValueError("its assay.json is not a JSON object")  # noqa: TRY004
    return values


def _reject_duplicate_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a name occurs twice")
    return values
