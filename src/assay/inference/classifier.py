"""`Classifier`: loads a bundle and predicts and explains images."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Self, get_args, overload

import numpy as np

from assay.bundle import Bundle, BundleError, BundleInfo, Precision
from assay.core.errors import AssayError, UsageError
from assay.core.files import cache_folder
from assay.core.tables import join_names
from assay.image import Preprocess
from assay.inference.abstention import Abstention, AbstentionPolicy, NoveltyDetector
from assay.inference.cam import Cam, EvidenceMap, linear_head
from assay.inference.engine import Engine, EngineError, EngineMode, ModelOutputs, check_engine, check_outputs
from assay.inference.engine_selection import (
    AUTO,
    ComputePrecision,
    PrecisionChoice,
    benchmark_engines,
    cached_fastest_engine,
    choose_precision,
    create_engine,
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
from assay.inference.notebook import classifier_html
from assay.inference.prediction import Failure, Prediction, softmax

BATCH_SIZE = 16
"""Photos that a runtime is given at a time: enough for its best rate, few enough for steady memory."""


class Classifier:
    """A trained classifier. Make it with `Classifier.load`, or `assay.load`; many threads may use it at once.

    Attributes:
        info: what the bundle says about itself.
        preprocess: from a decoded photo to the network's pixels.
        engine: the runtime that answers.
        bundle: where the model is from; none for a classifier that was put together by hand.
        limits: beyond which answers are `unknown`; none: nobody asks.
        precision: how finely the model calculates.
    """

    def __init__(
        self,
        info: BundleInfo,
        engine: Engine,
        bundle: Bundle | None = None,
        limits: AbstentionPolicy | None = None,
        precision: ComputePrecision = "fp32",
    ) -> None:
        self.info = info
        self.preprocess = Preprocess(info.preprocess)
        self.engine = engine
        self.bundle = bundle
        self.limits = limits
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
        """Open a bundle, check it and make it ready.

        Args:
            path: the `.assay` file.
            engine: openvino, onnxruntime, cuda, or auto: the one that was measured to be fastest here, else
                the one that usually is.
            precision: fp32; bf16, which is fp32 rounded where the processor can; int8 where the bundle holds
                such a model; or auto: what the bundle is meant to answer with if the processor is made for
                it. Temperature and limits are the model's own.
            mode: latency, for single photos, or throughput, for many at a time.
            threads: processors to use; none: all that this process may.
            abstain: say of every answer whether it is `unknown`, if the bundle has limits for that. Label and
                confidence are the same either way.
            measure: with engine auto, take the time to measure which runtime is fastest (about a second, once
                for a model and machine): worth it before many photos.

        Raises:
            BundleError: the file is no whole, unchanged bundle that this Assay can read, or its model cannot
                be run.
            UsageError: there is no such engine, precision or mode, or the bundle holds no int8 model.
        """
        bundle = Bundle.open(path)
        chosen = _choose_precision(bundle, precision)
        held = stored_precision(chosen)
        model, cache = bundle.model(held), cache_folder()
        try:
            if engine == AUTO and chosen != "bf16":
                engine = _fastest_engine(model, threads, mode, measure=measure)
            ready = create_engine(engine, model, threads, mode=mode, cache=cache / "compiled", bf16=chosen == "bf16")
            _check_signature(bundle, ready)
            check_engine(ready, bundle.info.preprocess.size, len(bundle.info.classes))
        except EngineError as error:
            raise BundleError(f"{path} cannot be run: {error}") from None
        limits = _abstention_policy(bundle, held) if abstain else None
        return cls(bundle.info.at(held), ready, bundle, limits, chosen)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes in the order of the logits."""
        return self.info.classes

    @property
    def runs(self) -> str:
        """What answers, in a few words: `openvino, int8`."""
        return f"{self.engine.name}, {self.precision}"

    def _repr_html_(self) -> str:
        return classifier_html(self.info, self.runs)

    @overload  # A string is also an iterable of strings: the first form that fits is the one that happens.
    def predict(  # type: ignore[overload-overlap]
        self, photos: ImageInput, *, batch_size: int = BATCH_SIZE
    ) -> Prediction: ...

    @overload
    def predict(self, photos: Iterable[ImageInput], *, batch_size: int = BATCH_SIZE) -> list[Prediction]: ...

    def predict(
        self, photos: ImageInput | Iterable[ImageInput], *, batch_size: int = BATCH_SIZE
    ) -> Prediction | list[Prediction]:
        """Classify one photo or many.

        Args:
            photos: a path, a file's bytes, a Pillow image or an RGB array (uint8 [H, W, 3], upright); or an
                iterable of those, an array [N, H, W, 3] among them.
            batch_size: photos that the network sees at a time.

        Returns:
            One prediction for one photo, otherwise a list in the order of the photos.

        Raises:
            AssayError: a photo cannot be read; the message names it. Use `stream` to go on with the others.
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
        answers = []
        for answer in self.stream(photos, batch_size=batch_size):
            if isinstance(answer, Failure):
                raise AssayError(str(answer))
            answers.append(answer)
        return answers

    def stream(self, photos: Iterable[ImageInput], *, batch_size: int = BATCH_SIZE) -> Iterator[Prediction | Failure]:
        """Classify photos as they come, however many there are: memory stays the same.

        Threads read and decode photos ahead while the network works. The iterable is read in the caller's
        thread, at most a few batches ahead of the answers.

        Args:
            photos: as for `predict`.
            batch_size: photos that the network sees at a time.

        Yields:
            An answer for every photo, in the same order: a prediction, or why it could not be read.

        Raises:
            UsageError: `batch_size` is below 1.
        """
        if batch_size < 1:
            raise UsageError(f"batch_size is {batch_size}: give 1 or more")
        for batch in prefetch(photos, self.preprocess, batch_size):
            yield from self._answer(batch)

    def predict_pixels(self, pixels: np.ndarray, sources: Sequence[str | None] | None = None) -> list[Prediction]:
        """Classify photos that are preprocessed already.

        Args:
            pixels: uint8 [N, S, S, 3], as `preprocess` gives them.
            sources: what to put into the answers' `source`.

        Returns:
            N predictions.
        """
        return self._predictions(self.outputs(pixels), sources or [None] * len(pixels))

    def outputs(self, pixels: np.ndarray) -> ModelOutputs:
        """Run the network and nothing else.

        Args:
            pixels: uint8 [N, S, S, 3], N ≥ 1, as `preprocess` gives them.

        Returns:
            Logits, embedding and feature map, all float32, of all N photos at once: mind the memory.

        Raises:
            BundleError: the runtime fails, or what it gives is no answer for N photos.
            ValueError: `pixels` has another shape or type.
        """
        side = self.preprocess.size
        if pixels.dtype != np.uint8 or pixels.shape[1:] != (side, side, 3) or not len(pixels):
            raise ValueError(f"pixels must be uint8 [N, {side}, {side}, 3], not {pixels.dtype} {list(pixels.shape)}")
        parts = [self._run(pixels[start : start + BATCH_SIZE]) for start in range(0, len(pixels), BATCH_SIZE)]
        return (
            parts[0] if len(parts) == 1 else ModelOutputs(*(np.concatenate(part) for part in zip(*parts, strict=True)))
        )

    def _run(self, pixels: np.ndarray) -> ModelOutputs:
        try:
            outputs = self.engine.run(pixels)
            check_outputs(outputs, len(pixels), len(self.classes))
        except EngineError as error:
            where = self.info.name if self.bundle is None else self.bundle.path
            raise BundleError(f"{where} cannot answer: {error}") from None
        return outputs

    @cached_property
    def head(self) -> np.ndarray | None:
        """Weights of the head, float32 [C, D]; none if it is more than one linear layer on pooled features.

        Read from the bundle when first asked for.

        Raises:
            BundleError: the bundle has changed since it was opened.
        """
        return None if self.bundle is None else linear_head(self.bundle.weights())

    def explain(
        self, photo: ImageInput, label: str | None = None, *, evidence: EvidenceMap | None = None
    ) -> Explanation:
        """Tell which parts of a photo speak for a class.

        Args:
            photo: as for `predict`.
            label: the class to explain; none: the one that is predicted.
            evidence: how to map the evidence; none: the class activation map, which needs a head that is one
                linear layer. `assay.pipeline.grad_cam.GradCam` serves all heads, and needs torch.

        Raises:
            AssayError: the photo cannot be read, or the head has other layers and `evidence` is not given.
            BundleError: the head or the feature map does not fit the classes, or is not finite.
            UsageError: there is no such class.
        """
        if label is not None and label not in self.classes:
            raise UsageError(f"there is no class {label!r}: choose one of {join_names(self.classes)}")
        pixels, picture = read_input(photo, self.preprocess), read_thumbnail(photo, MAX_SIDE)
        if isinstance(pixels, Failure):
            raise AssayError(str(pixels))
        if isinstance(picture, Failure):
            raise AssayError(str(picture))
        outputs = self.outputs(pixels[np.newaxis])
        (prediction,) = self._predictions(outputs, [input_path(photo)])
        explained = label or prediction.label
        evidence = evidence or self._cam(outputs)
        cells = evidence(pixels, outputs, self.classes.index(explained))
        if not np.isfinite(cells).all():
            raise self._contradiction("its evidence is not finite")
        shown, width, height = picture
        return Explanation(explained, prediction, evidence.method, cells, shown, width, height, self.preprocess)

    def _cam(self, outputs: ModelOutputs) -> Cam:
        if self.head is None:
            raise AssayError(
                f"the head of {self.info.name} is no single linear layer, so its feature map alone explains "
                'nothing: use assay.pipeline.explain, which needs pip install "assay[train]"'
            )
        if self.head.shape != (shape := (len(self.classes), outputs.embedding.shape[1])):
            raise self._contradiction(f"its head is {list(self.head.shape)}, not {list(shape)}")
        if not np.isfinite(self.head).all():
            raise self._contradiction("its head is not finite")
        return Cam(self.head)

    def probabilities(self, outputs: ModelOutputs) -> np.ndarray:
        """Return calibrated probabilities, float64 [N, C] in class order, of `outputs`."""
        return softmax(outputs.logits, self.info.temperature)

    def _answer(self, batch: list[PreparedImage]) -> Iterator[Prediction | Failure]:
        readable = [(source, pixels) for source, pixels in batch if not isinstance(pixels, Failure)]
        answers: Iterator[Prediction] = iter(())
        if readable:
            sources, squares = zip(*readable, strict=True)
            answers = iter(self.predict_pixels(np.stack(squares), sources))
        for _, pixels in batch:
            yield pixels if isinstance(pixels, Failure) else next(answers)

    def _predictions(self, outputs: ModelOutputs, sources: Sequence[str | None]) -> list[Prediction]:
        rows = self.probabilities(outputs)
        answers = []
        for row, source, doubt in zip(rows, sources, self._doubts(rows, outputs), strict=True):
            values, best = row.tolist(), int(row.argmax())
            told = dict(zip(self.classes, values, strict=True))
            if doubt is None:
                answers.append(Prediction(self.classes[best], values[best], told, source))
            else:
                unknown = doubt.reason is not None
                answers.append(Prediction(self.classes[best], values[best], told, source, unknown, *doubt))
        return answers

    def _doubts(self, probabilities: np.ndarray, outputs: ModelOutputs) -> Sequence[Abstention | None]:
        if self.limits is None:
            return [None] * len(probabilities)
        try:
            return self.limits.doubts(probabilities.max(axis=1), outputs.embedding)
        except ValueError as error:
            raise self._contradiction(str(error)) from None

    def _contradiction(self, what: str) -> BundleError:
        where = self.info.name if self.bundle is None else self.bundle.path
        return BundleError(f"{where} contradicts itself: {what}")


def _choose_precision(bundle: Bundle, asked: PrecisionChoice) -> ComputePrecision:
    if asked not in get_args(PrecisionChoice):
        raise UsageError(f"there is no precision {asked!r}: choose auto, fp32, bf16 or int8")
    chosen = choose_precision(asked, bundle.info.precision, bundle.precisions)
    if stored_precision(chosen) not in bundle.precisions:
        raise UsageError(f"{bundle.path} holds no int8 model: leave the precision at auto, or export it with int8")
    return chosen


def _fastest_engine(model: bytes, threads: int | None, mode: EngineMode, *, measure: bool) -> str:
    """Return the runtime that was measured to be fastest; auto where nobody measured."""
    folder = cache_folder() / "engines"
    known = cached_fastest_engine(model, threads, mode, folder)
    if known is None and measure:
        return benchmark_engines(model, threads, mode, folder)
    return known or AUTO


def _abstention_policy(bundle: Bundle, precision: Precision) -> AbstentionPolicy | None:
    """Return where answers of a precision end, or None where the bundle has no limits."""
    confidence, tensors = bundle.info.at(precision).thresholds.get("confidence"), bundle.novelty()
    try:
        novelty = None if tensors is None else NoveltyDetector.from_tensors(tensors)
    except ValueError as error:
        raise BundleError(f"{bundle.path} cannot be used: its novelty is broken ({error})") from None
    other = bundle.info.others.get(precision)
    if novelty is not None and other is not None and other.novelty is not None:
        novelty = novelty.with_limit(other.novelty)
    return None if confidence is None and novelty is None else AbstentionPolicy(confidence, novelty)


def _check_signature(bundle: Bundle, engine: Engine) -> None:
    """Refuse a model that does not belong to what the bundle says of it."""
    images, logits = engine.signature
    size, classes = bundle.info.preprocess.size, len(bundle.info.classes)
    if images[1] not in (None, size):
        raise BundleError(f"{bundle.path} contradicts itself: photos of {size} pixels for a model of {images[1]}")
    if logits[1] not in (None, classes):
        raise BundleError(f"{bundle.path} contradicts itself: {classes} classes for a model of {logits[1]}")
