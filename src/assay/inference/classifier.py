"""A bundle made ready to answer: photos in, predictions out.

The one way to a prediction for evaluation, the command line, the server and the camera alike. Never imports
torch.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Self, overload

import numpy as np

from assay.bundle import Bundle, BundleError, BundleInfo, Precision
from assay.errors import AssayError, UsageError
from assay.image import Preprocess
from assay.inference.ahead import Read, read_ahead
from assay.inference.engine import Engine, EngineError, Outputs
from assay.inference.engines import AUTO, create_engine
from assay.inference.inputs import FORMS, Photo, read_photo, source_of
from assay.inference.prediction import Failure, Prediction, softmax

BATCH_SIZE = 16
"""Photos that a runtime is given at a time: enough for its best rate, few enough for steady memory."""


class Classifier:
    """A trained classifier. Make it with `Classifier.load`, or `assay.load`; many threads may use it at once.

    Attributes:
        info: what the bundle says about itself.
        preprocess: from a decoded photo to the network's pixels.
        engine: the runtime that answers.
    """

    def __init__(self, info: BundleInfo, engine: Engine) -> None:
        self.info = info
        self.preprocess = Preprocess(info.preprocess)
        self.engine = engine

    @classmethod
    def load(
        cls,
        path: str | Path,
        engine: str = AUTO,
        *,
        precision: Precision = "fp32",
        threads: int | None = None,
    ) -> Self:
        """Open a bundle, check it and make it ready.

        Args:
            path: the `.assay` file.
            engine: openvino, onnxruntime, or auto: the first of them that is installed.
            precision: fp32, or int8 where the bundle holds such a model.
            threads: processors to use; none: all that this process may.

        Raises:
            BundleError: the file is no whole, unchanged bundle that this Assay can read, or its model cannot
                be run.
            UsageError: there is no such engine.
        """
        bundle = Bundle.open(path)
        try:
            ready = create_engine(engine, bundle.model(precision), threads)
        except EngineError as error:
            raise BundleError(f"{path} cannot be run: {error}") from None
        _check_signature(bundle, ready)
        return cls(bundle.info, ready)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes in the order of the logits."""
        return self.info.classes

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
        rows = self.probabilities(self.outputs(pixels))
        return [
            self._prediction(row, source)
            for row, source in zip(rows, sources or [None] * len(rows), strict=True)
        ]

    def outputs(self, pixels: np.ndarray) -> Outputs:
        """Run the network and nothing else.

        Args:
            pixels: uint8 [N, S, S, 3], N ≥ 1, as `preprocess` gives them.

        Returns:
            Logits, embedding and feature map, all float32, of all N photos at once: mind the memory.

        Raises:
            ValueError: `pixels` has another shape or type.
        """
        side = self.preprocess.size
        if pixels.dtype != np.uint8 or pixels.shape[1:] != (side, side, 3) or not len(pixels):
            raise ValueError(
                f"pixels must be uint8 [N, {side}, {side}, 3], not {pixels.dtype} {list(pixels.shape)}"
            )
        parts = [
            self.engine.run(pixels[start : start + BATCH_SIZE]) for start in range(0, len(pixels), BATCH_SIZE)
        ]
        return (
            parts[0]
            if len(parts) == 1
            else Outputs(*(np.concatenate(part) for part in zip(*parts, strict=True)))
        )

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

    def _prediction(self, probabilities: np.ndarray, source: str | None) -> Prediction:
        values = probabilities.tolist()
        best = int(probabilities.argmax())
        return Prediction(
            self.classes[best], values[best], dict(zip(self.classes, values, strict=True)), source
        )


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
