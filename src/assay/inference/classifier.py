"""`Classifier`: loads a bundle and predicts and explains images."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Self, get_args, overload

import numpy as np

from assay.bundle import Bundle, BundleError, BundleInfo
from assay.core.errors import AssayError, UsageError
from assay.core.files import cache_folder
from assay.core.text_layout import join_names
from assay.image import Preprocess
from assay.inference.abstention import Abstention, AbstentionPolicy, load_abstention_policy
from assay.inference.cam import Cam, EvidenceMap, linear_head
from assay.inference.engine import Engine, EngineError, EngineMode, ModelOutputs, check_engine, check_outputs
from assay.inference.engine_selection import (
    AUTO,
    ComputePrecision,
    PrecisionChoice,
    choose_precision,
    create_engine,
    fastest_engine,
    stored_precision,
)
from assay.inference.explanation import MAX_SIDE, Explanation
from assay.inference.inputs import (
    INPUT_FORMS,
    ImageInput,
    PreparedImage,
    input_path,
    prefetch,
    read_input,
    read_thumbnail,
)
from assay.inference.prediction import Failure, Prediction, classifier_html, softmax

BATCH_SIZE = 16
"""Images per engine call: large enough for full throughput, small enough for constant memory."""


class Classifier:
    """A trained classifier, loaded with `Classifier.load` (also `assay.load`). Thread-safe.

    Attributes:
        info: metadata of the bundle.
        preprocess: converts a decoded image to the network's input.
        engine: the inference engine.
        bundle: the bundle; None for a classifier assembled in code.
        abstention: when predictions are `unknown`; None: never.
        precision: arithmetic of the engine.
    """

    def __init__(
        self,
        info: BundleInfo,
        engine: Engine,
        bundle: Bundle | None = None,
        abstention: AbstentionPolicy | None = None,
        precision: ComputePrecision = "fp32",
    ) -> None:
        self.info = info
        self.preprocess = Preprocess(info.preprocess)
        self.engine = engine
        self.bundle = bundle
        self.abstention = abstention
        self.precision = precision

    @classmethod
    def load(
        cls,
        path: str | Path,
        engine: str = AUTO,
        *,
        precision: PrecisionChoice = "auto",
        mode: EngineMode = "latency",
        threads: int | None = None,
        abstain: bool = True,
        measure: bool = False,
    ) -> Self:
        """Load a bundle, verify it and create its engine.

        Args:
            path: the `.assay` file.
            engine: openvino, onnxruntime, cuda, or auto: the engine measured to be fastest on this machine, or, without
                a measurement, the one that is usually fastest.
            precision: fp32; bf16 (the fp32 model in bfloat16, on CPUs that support it); int8, if the bundle contains
                an int8 model; or auto: the bundle's default if the CPU supports it. Each model has its own
                temperature and thresholds.
            mode: latency, for single images, or throughput, for many.
            threads: CPU threads; None: all available.
            abstain: mark predictions as `unknown` if the bundle has thresholds for that. Label and confidence are
                not affected.
            measure: with engine auto, measure which engine is fastest unless that is known. Takes about a second,
                once per model and machine.

        Raises:
            BundleError: the file is not an intact bundle of a supported version, or its model cannot be run.
            UsageError: there is no such engine, precision or mode, or the bundle contains no int8 model.
        """
        bundle = Bundle.open(path)
        chosen = _choose_precision(bundle, precision)
        stored = stored_precision(chosen)
        model, cache = bundle.model(stored), cache_folder()
        try:
            if engine == AUTO and chosen != "bf16":
                engine = fastest_engine(model, threads, mode, cache / "engines", measure=measure)
            loaded = create_engine(engine, model, threads, mode=mode, cache=cache / "compiled", bf16=chosen == "bf16")
            _check_signature(bundle, loaded)
            check_engine(loaded, bundle.info.preprocess.size, len(bundle.info.classes))
        except EngineError as error:
            raise BundleError(f"{path} cannot be run: {error}") from None
        abstention = load_abstention_policy(bundle, stored) if abstain else None
        return cls(bundle.info.at(stored), loaded, bundle, abstention, chosen)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the logits."""
        return self.info.classes

    @property
    def runtime(self) -> str:
        """Engine and precision, e.g. `openvino, int8`."""
        return f"{self.engine.name}, {self.precision}"

    def _repr_html_(self) -> str:
        return classifier_html(self.info, self.runtime)

    @overload  # A string is also an iterable of strings: the first matching overload applies.
    def predict(  # type: ignore[overload-overlap]
        self, photos: ImageInput, *, batch_size: int = BATCH_SIZE
    ) -> Prediction: ...

    @overload
    def predict(self, photos: Iterable[ImageInput], *, batch_size: int = BATCH_SIZE) -> list[Prediction]: ...

    def predict(
        self, photos: ImageInput | Iterable[ImageInput], *, batch_size: int = BATCH_SIZE
    ) -> Prediction | list[Prediction]:
        """Classify one image, or an iterable of images; return a prediction, or a list of predictions.

        `photos` is a path, the bytes of a file, a Pillow image or an upright RGB array (uint8 [H, W, 3]); or an
        iterable of those, such as an array [N, H, W, 3]. Raises `AssayError` if an image cannot be read; `stream`
        continues instead.
        """
        if isinstance(photos, np.ndarray) and photos.ndim == 4:
            photos = list(photos)
        if isinstance(photos, ImageInput):
            pixels = read_input(photos, self.preprocess)
            if isinstance(pixels, Failure):
                raise AssayError(str(pixels))
            return self.predict_pixels(pixels[np.newaxis], [input_path(photos)])[0]
        if not isinstance(photos, Iterable):
            raise UsageError(f"a photo must be one of {INPUT_FORMS}, not {type(photos).__name__}")
        predictions = []
        for prediction in self.stream(photos, batch_size=batch_size):
            if isinstance(prediction, Failure):
                raise AssayError(str(prediction))
            predictions.append(prediction)
        return predictions

    def stream(self, photos: Iterable[ImageInput], *, batch_size: int = BATCH_SIZE) -> Iterator[Prediction | Failure]:
        """Classify any number of images in constant memory; yields a prediction or failure for each, in order.

        Threads read and decode images while the engine works. The iterable is consumed in the caller's thread, a
        few batches ahead of the predictions. Raises `UsageError` if `batch_size` is below 1.
        """
        if batch_size < 1:
            raise UsageError(f"batch_size is {batch_size}: give 1 or more")

        def prepare(photo: ImageInput, index: int) -> PreparedImage:
            return input_path(photo), read_input(photo, self.preprocess, index)

        for batch in prefetch(photos, prepare, batch_size):
            yield from self.predict_prepared(batch)

    def predict_pixels(self, pixels: np.ndarray, sources: Sequence[str | None] | None = None) -> list[Prediction]:
        """Classify preprocessed images, uint8 [N, S, S, 3]; `sources` are the values of `Prediction.source`."""
        return self._predictions(self.outputs(pixels), sources or [None] * len(pixels))

    def outputs(self, pixels: np.ndarray) -> ModelOutputs:
        """Run the network only, on the output of `preprocess`, uint8 [N, S, S, 3], N ≥ 1.

        Returns float32 outputs of all N images; the feature maps need much memory.

        Raises:
            BundleError: the engine fails or its outputs are invalid.
            ValueError: `pixels` has another shape or type.
        """
        side = self.preprocess.size
        if pixels.dtype != np.uint8 or pixels.shape[1:] != (side, side, 3) or not len(pixels):
            raise ValueError(f"pixels must be uint8 [N, {side}, {side}, 3], not {pixels.dtype} {list(pixels.shape)}")
        batches = [self._run(pixels[start : start + BATCH_SIZE]) for start in range(0, len(pixels), BATCH_SIZE)]
        if len(batches) == 1:
            return batches[0]
        return ModelOutputs(*map(np.concatenate, zip(*batches, strict=True)))

    def _run(self, pixels: np.ndarray) -> ModelOutputs:
        try:
            outputs = self.engine.run(pixels)
            check_outputs(outputs, len(pixels), len(self.classes))
        except EngineError as error:
            where = self.info.name if self.bundle is None else self.bundle.path
            raise BundleError(f"{where} cannot predict: {error}") from None
        return outputs

    @cached_property
    def head(self) -> np.ndarray | None:
        """Weights of the head, float32 [C, D]; None unless the head is a single linear layer on pooled features.

        Read on first access; raises `BundleError` if the bundle file has changed since it was opened.
        """
        return None if self.bundle is None else linear_head(self.bundle.weights())

    def explain(
        self, photo: ImageInput, label: str | None = None, *, evidence: EvidenceMap | None = None
    ) -> Explanation:
        """Explain a prediction by the evidence for a class in each part of the image.

        Args:
            photo: as for `predict`.
            label: class to explain; None: the predicted one.
            evidence: how to compute the evidence; None: class activation map, which needs a head that is a single
                linear layer. `assay.pipeline.grad_cam.GradCam` supports all heads and needs torch.

        Raises:
            AssayError: the image cannot be read, or the head has other layers and `evidence` is None.
            BundleError: the head or the feature map does not match the classes, or is not finite.
            UsageError: there is no such class.
        """
        if label is not None and label not in self.classes:
            raise UsageError(f"there is no class {label!r}: choose one of {join_names(self.classes)}")
        pixels, thumbnail = read_input(photo, self.preprocess), read_thumbnail(photo, MAX_SIDE)
        if isinstance(pixels, Failure):
            raise AssayError(str(pixels))
        if isinstance(thumbnail, Failure):
            raise AssayError(str(thumbnail))
        outputs = self.outputs(pixels[np.newaxis])
        (prediction,) = self._predictions(outputs, [input_path(photo)])
        explained = label or prediction.label
        evidence = evidence or self._cam(outputs)
        cells = evidence(pixels, outputs, self.classes.index(explained))
        if not np.isfinite(cells).all():
            raise self._inconsistent("its evidence is not finite")
        return Explanation(explained, prediction, evidence.method, cells, *thumbnail, self.preprocess)

    def _cam(self, outputs: ModelOutputs) -> Cam:
        if self.head is None:
            raise AssayError(
                f"the head of {self.info.name} is not a single linear layer, so there is no class activation map: "
                'use assay.pipeline.grad_cam, which needs pip install "assay[train]"'
            )
        if self.head.shape != (shape := (len(self.classes), outputs.embedding.shape[1])):
            raise self._inconsistent(f"its head is {list(self.head.shape)}, not {list(shape)}")
        if not np.isfinite(self.head).all():
            raise self._inconsistent("its head is not finite")
        return Cam(self.head)

    def probabilities(self, outputs: ModelOutputs) -> np.ndarray:
        """Return the calibrated probabilities for `outputs`, float64 [N, C] in class order."""
        return softmax(outputs.logits, self.info.temperature)

    def predict_prepared(self, batch: Sequence[PreparedImage]) -> Iterator[Prediction | Failure]:
        """Classify a batch of preprocessed images; yield a prediction or failure for each, in order.

        The last digits of a prediction can depend on the other images of its batch.
        """
        readable = [(source, pixels) for source, pixels in batch if not isinstance(pixels, Failure)]
        predictions: Iterator[Prediction] = iter(())
        if readable:
            sources, inputs = zip(*readable, strict=True)
            predictions = iter(self.predict_pixels(np.stack(inputs), sources))
        for _, pixels in batch:
            yield pixels if isinstance(pixels, Failure) else next(predictions)

    def _predictions(self, outputs: ModelOutputs, sources: Sequence[str | None]) -> list[Prediction]:
        rows = self.probabilities(outputs)
        predictions = []
        for row, source, abstention in zip(rows, sources, self._abstentions(rows, outputs), strict=True):
            values, best = row.tolist(), int(row.argmax())
            by_class = dict(zip(self.classes, values, strict=True))
            if abstention is None:
                predictions.append(Prediction(self.classes[best], values[best], by_class, source))
            else:
                unknown = abstention.reason is not None
                predictions.append(Prediction(self.classes[best], values[best], by_class, source, unknown, *abstention))
        return predictions

    def _abstentions(self, probabilities: np.ndarray, outputs: ModelOutputs) -> Sequence[Abstention | None]:
        if self.abstention is None:
            return [None] * len(probabilities)
        try:
            return self.abstention.decide(probabilities.max(axis=1), outputs.embedding)
        except ValueError as error:
            raise self._inconsistent(str(error)) from None

    def _inconsistent(self, what: str) -> BundleError:
        where = self.info.name if self.bundle is None else self.bundle.path
        return BundleError(f"{where} is inconsistent: {what}")


def _choose_precision(bundle: Bundle, requested: PrecisionChoice) -> ComputePrecision:
    if requested not in get_args(PrecisionChoice):
        raise UsageError(f"unknown precision {requested!r}: choose auto, fp32, bf16 or int8")
    chosen = choose_precision(requested, bundle.info.precision, bundle.precisions)
    if stored_precision(chosen) not in bundle.precisions:
        raise UsageError(f"{bundle.path} contains no int8 model: use precision auto, or export it with int8")
    return chosen


def _check_signature(bundle: Bundle, engine: Engine) -> None:
    images, logits = engine.signature
    size, classes = bundle.info.preprocess.size, len(bundle.info.classes)
    if images[1] not in (None, size):
        raise BundleError(f"{bundle.path} is inconsistent: input of {size} pixels for a model of {images[1]}")
    if logits[1] not in (None, classes):
        raise BundleError(f"{bundle.path} is inconsistent: {classes} classes for a model of {logits[1]}")
