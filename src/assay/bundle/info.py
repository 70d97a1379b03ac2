"""The schema of `assay.json` and the digests that guard it.

The digest in `assay.json` detects accidents and careless edits; it is not a signature: anyone who can
change a bundle can compute a new digest.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from assay.bundle.container import MODEL, MODEL_INT8
from assay.recipe import LiveSpec, PreprocessSpec, ServeSpec

FORMAT_VERSION = 2
"""The format written here, and the newest that can be read. Anything that changes an answer raises it."""

Precision = Literal["fp32", "int8"]
"""How finely a model calculates: with 32-bit floating point, or with 8-bit integers where it can."""
MODEL_MEMBERS: dict[Precision, str] = {"fp32": MODEL, "int8": MODEL_INT8}
"""The member that holds the model of each precision."""

Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _FrozenModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Provenance(_FrozenModel):
    """Where the weights come from: enough to train them again."""

    recipe: dict[str, JsonValue] = {}
    """Every setting of the run, as `Recipe.model_dump(mode="json")` gives them."""
    data: str = ""
    """Fingerprint of the photos and labels."""
    photos: dict[str, dict[str, int]] = {}
    """How many photos of every class each part held: {"train": {"good": 120, "defect": 60}, ...}."""
    formats: dict[str, int] = {}
    """How many training photos had which image format, by content; arrays of pixels have none."""
    seed: int = 0
    """Seed of the run."""
    libraries: dict[str, str] = {}
    """Versions of the libraries that trained and exported, by name."""
    created: str = ""
    """Moment of writing, ISO 8601 with its offset to UTC."""


class PrecisionSettings(_FrozenModel):
    """How sure one precision may be, and where its answers end."""

    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """Logits are divided by this before the softmax."""
    thresholds: dict[str, Annotated[float, Field(ge=0, le=1)]] = {}
    """Decision thresholds by name, as probabilities."""
    novelty: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Distance from which on a photo is unfamiliar; none: the one that lies with the embeddings."""


class BundleInfo(_FrozenModel):
    """Everything a prediction depends on besides the weights, and how good they are.

    A draft handed to `write_bundle` leaves `version`, `members` and `agreement` as they are: writing fills
    them in.
    """

    format_version: int = FORMAT_VERSION
    """Version of the bundle format."""
    name: Annotated[str, Field(min_length=1, max_length=200)]
    """What the classifier is called."""
    version: str = ""
    """First 12 hexadecimal digits of a digest over all that decides an answer: weights, preprocessing,
    classes, temperature, thresholds, novelty and the int8 model. Two bundles of one version give the same
    answers at one precision."""
    description: str = ""
    """What the classifier is for, in one or two sentences."""
    classes: Annotated[tuple[str, ...], Field(min_length=2)]
    """Names of the classes in the order of the logits."""
    preprocess: PreprocessSpec
    """From a decoded photo to the network's pixels; mean and std are given."""
    serve: ServeSpec = ServeSpec()
    """Names in the server's answers and limits of uploads."""
    live: LiveSpec = LiveSpec()
    """How a camera is watched."""
    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """Logits are divided by this before the softmax."""
    thresholds: dict[str, Annotated[float, Field(ge=0, le=1)]] = {}
    """Decision thresholds by name, as probabilities; `confidence`: what an answer needs not to be unknown."""
    precision: Precision = "fp32"
    """The precision that answers where nothing else is asked for and the processor is made for it;
    temperature, thresholds and figures are this one's."""
    others: dict[Precision, PrecisionSettings] = {}
    """Temperature and limits of the other precisions."""
    metrics: dict[str, JsonValue] = {}
    """Figures measured with this very file, on photos that taught it nothing."""
    agreement: dict[str, float] = {}
    """Largest |Δlogit| between torch and every runtime on real photos when written, rounded up to one
    digit."""
    provenance: Provenance = Provenance()
    """Where the weights come from."""
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
        """Return the same with the temperature and thresholds of another precision."""
        other = self.others.get(precision)
        if precision == self.precision or other is None:
            return self
        return self.model_copy(update={"temperature": other.temperature, "thresholds": other.thresholds})


def dump_info(info: BundleInfo) -> bytes:
    """Return `assay.json`: the settings with sorted keys and, under `digest`, the SHA-256 of all others.

    Numbers that are not finite, which JSON does not know, become null.
    """
    values = _values(info)
    text = json.dumps({"digest": _digest(values), **values}, indent=2, sort_keys=True, ensure_ascii=False)
    return f"{text}\n".encode()


def parse_info(text: bytes) -> BundleInfo:
    """Check and read `assay.json`.

    Args:
        text: the member's bytes.

    Raises:
        ValueError: the text is not what `dump_info` writes; the message is a reason without the file's name.
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
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "assay.json"
        raise ValueError(f"its assay.json does not fit format {newest}: {where}: {first['msg']}") from None


def bundle_version(info: BundleInfo, weights: str, novelty: str | None = None, int8: str | None = None) -> str:
    """Return the version of a bundle.

    Args:
        info: what decides an answer besides the weights.
        weights: digest of the weights, 64 hexadecimal digits.
        novelty: digest of what familiar embeddings look like, if the bundle holds it.
        int8: digest of the int8 model, if the bundle holds one.
    """
    values = _values(info)
    decisive = {name: values[name] for name in ("classes", "preprocess", "temperature", "thresholds")}
    if novelty is not None:
        decisive["novelty"] = novelty
    if int8 is not None:
        decisive |= {"int8": int8, "precision": values["precision"], "others": values["others"]}
    return _digest({"weights": weights, **decisive})[:12]


def round_up(value: float) -> float:
    """Round a positive figure up to one significant digit, so that its last bits do not show."""
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
