"""`Recipe`, all settings of a run; among them abstention, serving and the camera."""

from collections.abc import Collection
from typing import Annotated, Literal, Self, get_args

from pydantic import Field, model_validator

from assay.recipe.augmentation import AugmentSpec
from assay.recipe.base import Settings
from assay.recipe.data import DataSpec
from assay.recipe.network import NetSpec, check_known, has_published_weights
from assay.recipe.preprocess import PreprocessSpec
from assay.recipe.training import TrainSpec


class AbstainSpec(Settings):
    """When a classifier answers `unknown`: at low confidence, and for out-of-distribution photos.

    Both thresholds are chosen on validation photos and stored in the bundle. Label and confidence are
    returned in any case; a client may ignore `unknown`.
    """

    enabled: bool = True
    """Choose the thresholds and store them in the bundle; otherwise the classifier never answers unknown."""
    target_precision: Annotated[float, Field(gt=0, lt=1)] = 0.99
    """Required precision of the predictions that are not `unknown`. If there are too few validation photos to guarantee
    it, training reports the precision that can be guaranteed."""
    max_false_positive_rate: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """Largest share of in-distribution photos that may be reported as out of distribution."""


ImageFormat = Literal["jpeg", "png", "webp", "tiff", "bmp", "gif", "avif", "jpeg2000", "ppm"]
"""Format of an image file, detected from its content."""
_USUAL: tuple[ImageFormat, ...] = ("jpeg", "png")


class ServeSpec(Settings):
    """Field names of responses, limits of uploads, and int8 quantization; stored in the bundle."""

    service_name: str = "assay"
    """Name of the service in `GET /health`."""
    label_field: str = "label"
    """Name of the response field with the label."""
    confidence_field: str = "confidence"
    """Name of the response field with the confidence."""
    formats: tuple[ImageFormat, ...] | None = None
    """Accepted image formats, detected from the content; unset: JPEG, PNG, and those of the training
    photos."""
    int8: bool = True
    """Add an int8-quantized model to the bundle and use it, if its accuracy on the validation photos is
    within 0.5 points and it is faster on this machine."""
    max_megabytes: Annotated[float, Field(gt=0, le=4096)] = 16.0
    """Largest upload, in MiB."""
    max_side: Annotated[int, Field(ge=1, le=65_535)] = 4096
    """Largest width and height of an upload, in pixels."""

    def with_formats(self, trained_on: Collection[str]) -> Self:
        """Return a copy with `formats` resolved: those that are set, else JPEG, PNG and `trained_on`."""
        if self.formats is not None:
            return self
        known: tuple[ImageFormat, ...] = get_args(ImageFormat)
        accepted = tuple(name for name in known if name in _USUAL or name in trained_on)
        return self.model_copy(update={"formats": accepted})

    @property
    def accepted(self) -> tuple[ImageFormat, ...]:
        """The accepted formats."""
        return self.formats or _USUAL


class LiveSpec(Settings):
    """Classification of camera frames."""

    fps: Annotated[float, Field(gt=0, le=1000)] = 2.0
    """Frames to classify per second."""


class Recipe(Settings):
    """All settings of a run. Immutable."""

    name: Annotated[str, Field(pattern=r"^[^./\\\x00-\x1f][^/\\\x00-\x1f]*$", max_length=100)] = "default"
    """Name of the classifier and its run folders: without slashes, not starting with a dot."""
    description: str = ""
    """One or two sentences that help to choose a recipe."""
    data: DataSpec = DataSpec()
    preprocess: PreprocessSpec = PreprocessSpec()
    augment: AugmentSpec = AugmentSpec()
    net: NetSpec = NetSpec()
    train: TrainSpec = TrainSpec()
    abstain: AbstainSpec = AbstainSpec()
    serve: ServeSpec = ServeSpec()
    live: LiveSpec = LiveSpec()

    @model_validator(mode="after")
    def _check_auto(self) -> Self:
        if self.train.strategy != "auto":
            return self
        remedy = "choose another train.strategy"
        if self.net.weights == "none" or not has_published_weights(self.net.name):
            raise ValueError(f"train.strategy is auto, which needs pretrained weights: {remedy}, such as scratch")
        if self.net.head.hidden:
            raise ValueError(f"train.strategy is auto, which fits a linear head: set net.head.hidden=[], or {remedy}")
        for name in self.train.auto.backbones or ():
            check_known(name)
            if not has_published_weights(name):
                raise ValueError(f"train.auto.backbones names {name}, for which no pretrained weights exist: remove it")
        if self.train.balance != "none":
            raise ValueError(
                "train.strategy is auto, which ignores train.balance: set it to none (and "
                f"train.objective=balanced_accuracy if all classes are equally important), or {remedy}"
            )
        if self.train.freeze:
            raise ValueError(f"train.strategy is auto, which ignores train.freeze: set it to 0, or {remedy}")
        return self
