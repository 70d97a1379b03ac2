"""A bundle made ready to answer: photos in, predictions out.

The one way to a prediction for evaluation, the command line, the server and the camera alike. Never imports
torch.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Self, get_args, overload

import numpy as np

from assay.bundle import Bundle, BundleError, BundleInfo, Precision
from assay.errors import AssayError, UsageError
from assay.files import cache_folder
from assay.image import Preprocess
from assay.inference.abstain import Doubt, Limits
from assay.inference.ahead import Read, read_ahead
from assay.inference.cam import Cam, EvidenceMap, linear_head
from assay.inference.choice import Arithmetic, PrecisionChoice, choose_precision, held_precision
from assay.inference.engine import Engine, EngineError, Mode, Outputs
from assay.inference.engines import AUTO, create_engine
from assay.inference.explanation import SIDE, Explanation
from assay.inference.inputs import FORMS, Photo, read_photo, read_picture, source_of
from assay.inference.measured import measure_engine, remembered_engine
from assay.inference.novelty import Novelty
from assay.inference.prediction import Failure, Prediction, softmax
from assay.inference.self_check import check_engine, check_outputs
from assay.inference.shown import show_classifier
from assay.tables import listed

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
        limits: Limits | None = None,
        precision: Arithmetic = "fp32",
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
        mode: Mode = "latency",
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
        chosen = _precision(bundle, precision)
        held = held_precision(chosen)
        model, cache = bundle.model(held), cache_folder()
        try:
            if engine == AUTO and chosen != "bf16":
                engine = _remembered(model, threads, mode, measure=measure)
            ready = create_engine(
                engine, model, threads, mode=mode, cache=cache / "compiled", bf16=chosen == "bf16"
            )
            _check_signature(bundle, ready)
            check_engine(ready, bundle.info.preprocess.size, len(bundle.info.classes))
        except EngineError as error:
            raise BundleError(f"{path} cannot be run: {error}") from None
        limits = _limits(bundle, held) if abstain else None
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
        return show_classifier(self.info, self.runs)

    @overload  # A string is also an iterable of strings: the first form that fits is the one that happens.
    def predict(  # type: ignore[overload-overlap]
        self, photos: Photo, *, batch_size: int = BATCH_SIZE
    ) -> Prediction: ...

    @overload
    def predict(self, photos: Iterable[Photo], *, batch_size: int = BATCH_SIZE) -> list[Prediction]: ...

    def predict(
        self, photos: Photo | Iterable[Photo], *, batch_size: int = BATCH_SIZE
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
        if isinstance(photos, Photo):
            pixels = read_photo(photos, self.preprocess)
            if isinstance(pixels, Failure):
                raise AssayError(str(pixels))
            return self.predict_pixels(pixels[np.newaxis], [source_of(photos)])[0]
        if not isinstance(photos, Iterable):
            raise UsageError(f"a photo must be one of {FORMS}, not {type(photos).__name__}")
        answers = []
        for answer in self.stream(photos, batch_size=batch_size):
            if isinstance(answer, Failure):
                raise AssayError(str(answer))
            answers.append(answer)
        return answers

    def stream(
        self, photos: Iterable[Photo], *, batch_size: int = BATCH_SIZE
    ) -> Iterator[Prediction | Failure]:
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
        for batch in read_ahead(photos, self.preprocess, batch_size):
            yield from self._answer(batch)

    def predict_pixels(
        self, pixels: np.ndarray, sources: Sequence[str | None] | None = None
    ) -> list[Prediction]:
        """Classify photos that are preprocessed already.

        Args:
            pixels: uint8 [N, S, S, 3], as `preprocess` gives them.
            sources: what to put into the answers' `source`.

        Returns:
            N predictions.
        """
        return self._predictions(self.outputs(pixels), sources or [None] * len(pixels))

    def outputs(self, pixels: np.ndarray) -> Outputs:
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
            raise ValueError(
                f"pixels must be uint8 [N, {side}, {side}, 3], not {pixels.dtype} {list(pixels.shape)}"
            )
        parts = [self._run(pixels[start : start + BATCH_SIZE]) for start in range(0, len(pixels), BATCH_SIZE)]
        return (
            parts[0]
            if len(parts) == 1
            else Outputs(*(np.concatenate(part) for part in zip(*parts, strict=True)))
        )

    def _run(self, pixels: np.ndarray) -> Outputs:
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
        self, photo: Photo, label: str | None = None, *, evidence: EvidenceMap | None = None
    ) -> Explanation:
        """Tell which parts of a photo speak for a class.

        Args:
            photo: as for `predict`.
            label: the class to explain; none: the one that is predicted.
            evidence: how to map the evidence; none: the class activation map, which needs a head that is one
                linear layer. `assay.workflow.gradcam.GradCam` serves all heads, and needs torch.

        Raises:
            AssayError: the photo cannot be read, or the head has other layers and `evidence` is not given.
            BundleError: the head or the feature map does not fit the classes, or is not finite.
            UsageError: there is no such class.
        """
        if label is not None and label not in self.classes:
            raise UsageError(f"there is no class {label!r}: choose one of {listed(self.classes)}")
        pixels, picture = read_photo(photo, self.preprocess), read_picture(photo, SIDE)
        if isinstance(pixels, Failure):
            raise AssayError(str(pixels))
        if isinstance(picture, Failure):
            raise AssayError(str(picture))
        outputs = self.outputs(pixels[np.newaxis])
        (prediction,) = self._predictions(outputs, [source_of(photo)])
        explained = label or prediction.label
        evidence = evidence or self._cam(outputs)
        cells = evidence(pixels, outputs, self.classes.index(explained))
        if not np.isfinite(cells).all():
            raise self._contradiction("its evidence is not finite")
        shown, width, height = picture
        return Explanation(
            explained, prediction, evidence.method, cells, shown, width, height, self.preprocess
        )

    def _cam(self, outputs: Outputs) -> Cam:
        if self.head is None:
            raise AssayError(
                f"the head of {self.info.name} is no single linear layer, so its feature map alone explains "
                "nothing: use assay.workflow.explain, which needs pip install 'assay[train]'"
            )
        if self.head.shape != (shape := (len(self.classes), outputs.embedding.shape[1])):
            raise self._contradiction(f"its head is {list(self.head.shape)}, not {list(shape)}")
        if not np.isfinite(self.head).all():
            raise self._contradiction("its head is not finite")
        return Cam(self.head)

    def probabilities(self, outputs: Outputs) -> np.ndarray:
        """Return calibrated probabilities, float64 [N, C] in class order, of `outputs`."""
        return softmax(outputs.logits, self.info.temperature)

    def _answer(self, batch: list[Read]) -> Iterator[Prediction | Failure]:
        readable = [(source, pixels) for source, pixels in batch if not isinstance(pixels, Failure)]
        answers: Iterator[Prediction] = iter(())
        if readable:
            sources, squares = zip(*readable, strict=True)
            answers = iter(self.predict_pixels(np.stack(squares), sources))
        for _, pixels in batch:
            yield pixels if isinstance(pixels, Failure) else next(answers)

    def _predictions(self, outputs: Outputs, sources: Sequence[str | None]) -> list[Prediction]:
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

    def _doubts(self, probabilities: np.ndarray, outputs: Outputs) -> Sequence[Doubt | None]:
        if self.limits is None:
            return [None] * len(probabilities)
        try:
            return self.limits.doubts(probabilities.max(axis=1), outputs.embedding)
        except ValueError as error:
            raise self._contradiction(str(error)) from None

    def _contradiction(self, what: str) -> BundleError:
        where = self.info.name if self.bundle is None else self.bundle.path
        return BundleError(f"{where} contradicts itself: {what}")


def _precision(bundle: Bundle, asked: PrecisionChoice) -> Arithmetic:
    if asked not in get_args(PrecisionChoice):
        raise UsageError(f"there is no precision {asked!r}: choose auto, fp32, bf16 or int8")
    chosen = choose_precision(asked, bundle.info.precision, bundle.precisions)
    if held_precision(chosen) not in bundle.precisions:
        raise UsageError(
            f"{bundle.path} holds no int8 model: leave the precision at auto, or export it with int8"
        )
    return chosen


def _remembered(model: bytes, threads: int | None, mode: Mode, *, measure: bool) -> str:
    """Return the runtime that was measured to be fastest; auto where nobody measured."""
    folder = cache_folder() / "engines"
    known = remembered_engine(model, threads, mode, folder)
    if known is None and measure:
        return measure_engine(model, threads, mode, folder)
    return known or AUTO


def _limits(bundle: Bundle, precision: Precision) -> Limits | None:
    """Return where answers of a precision end, or None where the bundle has no limits."""
    confidence, tensors = bundle.info.at(precision).thresholds.get("confidence"), bundle.novelty()
    try:
        novelty = None if tensors is None else Novelty.from_tensors(tensors)
    except ValueError as error:
        raise BundleError(f"{bundle.path} cannot be used: its novelty is broken ({error})") from None
    other = bundle.info.others.get(precision)
    if novelty is not None and other is not None and other.novelty is not None:
        novelty = novelty.with_limit(other.novelty)
    return None if confidence is None and novelty is None else Limits(confidence, novelty)


def _check_signature(bundle: Bundle, engine: Engine) -> None:
    """Refuse a model that does not belong to what the bundle says of it."""
    images, logits = engine.signature
    size, classes = bundle.info.preprocess.size, len(bundle.info.classes)
    if images[1] not in (None, size):
        raise BundleError(
            f"{bundle.path} contradicts itself: photos of {size} pixels for a model of {images[1]}"
        )
    if logits[1] not in (None, classes):
        raise BundleError(f"{bundle.path} contradicts itself: {classes} classes for a model of {logits[1]}")
