"""`Classifier`: loads a bundle and predicts and explains images."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Literal, Self, overload

import numpy as np

from assay.bundle import Bundle, BundleError, BundleInfo
from assay.core.cpu import cpu_count
from assay.core.errors import AssayError, UsageError
from assay.core.text_layout import join_names
from assay.image import Preprocess
from assay.inference.abstention import Abstention, AbstentionPolicy, load_abstention_policy
from assay.inference.cam import Cam, EvidenceMap, linear_head
from assay.inference.engine import Engine, EngineError, ModelOutputs, check_outputs
from assay.inference.engine_selection import AUTO, ComputePrecision, PrecisionChoice
from assay.inference.explanation import MAX_SIDE, Explanation
from assay.inference.inputs import (
    INPUT_FORMS,
    ImageInput,
    PreparedImage,
    input_path,
    prefetch,
    read_input,
    read_thumbnail,
    run_streams,
)
from assay.inference.model_loader import ModelLoader
from assay.inference.notebook_views import classifier_html
from assay.inference.prediction import Failure, Prediction, softmax
from assay.inference.workload import EngineSetup, Workload, check_workload, default_setup
from assay.inference.workload_measurement import TRIALS, WorkloadBenchmark

BATCH_SIZE = 16
"""Images per engine call: large enough for full throughput, small enough for constant memory."""

SetupSource = Literal["rule", "measured"]
"""Whether engine settings are those of the rule, or were measured to be fastest."""


class Classifier:
    """A trained classifier, loaded with `Classifier.load` (also `assay.load`). Thread-safe.

    Attributes:
        info: metadata of the bundle.
        preprocess: converts a decoded image to the network's input.
        engine: the inference engine.
        bundle: the bundle; None for a classifier assembled in code.
        abstention: when predictions are `unknown`; None: never.
        precision: arithmetic of the engine.
        setup: how the engine is run.
        setup_source: why it is run like that.
    """

    def __init__(
        self,
        info: BundleInfo,
        engine: Engine,
        bundle: Bundle | None = None,
        abstention: AbstentionPolicy | None = None,
        precision: ComputePrecision = "fp32",
        *,
        setup: EngineSetup | None = None,
        setup_source: SetupSource = "rule",
    ) -> None:
        self.info = info
        self.preprocess = Preprocess(info.preprocess)
        self.engine = engine
        self.bundle = bundle
        self.abstention = abstention
        self.precision = precision
        self.setup = replace(setup or default_setup("latency", AUTO, cpu_count()), engine=engine.name)
        self.setup_source = setup_source

    @classmethod
    def load(
        cls,
        path: str | Path,
        engine: str = AUTO,
        *,
        precision: PrecisionChoice = "auto",
        workload: Workload = "latency",
        threads: int | None = None,
        abstain: bool = True,
        measure: bool = False,
    ) -> Self:
        """Load a bundle, verify it and create its engine.

        Args:
            path: the `.assay` file.
            engine: openvino, onnxruntime, cuda, or auto: the engine measured to be fastest for the workload on this
                machine, or, without a measurement, the one that is usually fastest.
            precision: fp32; bf16 (the fp32 model in bfloat16, on CPUs that support it); int8, if the bundle contains
                an int8 model; or auto: the bundle's default if the CPU supports it. Each model has its own
                temperature and thresholds.
            workload: latency, for one photo at a time; throughput, for `stream` on many photos; or server, for calls
                from several threads.
            threads: CPU threads; None: all available.
            abstain: mark predictions as `unknown` if the bundle has thresholds for that. Label and confidence are
                not affected.
            measure: measure which engine settings are fastest unless that is known. Takes a few seconds, once per
                model, workload and machine. Has no effect for the workload server, which `assay serve` measures.

        Raises:
            BundleError: the file is not an intact bundle of a supported version, or its model cannot be run.
            UsageError: there is no such engine, precision or workload, or the bundle contains no int8 model.
        """
        check_workload(workload)
        loader = ModelLoader(path, engine, precision=precision, threads=threads)
        if measure and workload in TRIALS and loader.measurement(workload) is None:
            benchmark = WorkloadBenchmark(lambda setup: cls.from_setup(loader, setup), TRIALS[workload])
            loader.save(workload, benchmark.run(loader.candidate_setups(workload)))
        return cls.from_loader(loader, workload, abstain=abstain)

    @classmethod
    def from_loader(cls, loader: ModelLoader, workload: Workload, *, abstain: bool = True) -> Self:
        """Create a classifier with the settings measured to be fastest for a workload, else those of the rule.

        Raises:
            BundleError: the model cannot be run.
            UsageError: there is no such engine.
        """
        measured = loader.measurement(workload)
        if measured is not None:
            # For example, the memory may not suffice for this engine.
            with suppress(BundleError):
                return cls.from_setup(loader, measured.setup, "measured", abstain=abstain)
        return cls.from_setup(loader, loader.default_setup(workload), abstain=abstain)

    @classmethod
    def from_setup(
        cls, loader: ModelLoader, setup: EngineSetup, source: SetupSource = "rule", *, abstain: bool = True
    ) -> Self:
        """Create a classifier whose engine is run as given; errors are those of `from_loader`."""
        bundle, engine = loader.bundle, loader.create(setup)
        abstention = load_abstention_policy(bundle, loader.stored) if abstain else None
        return cls(
            bundle.info.at(loader.stored),
            engine,
            bundle,
            abstention,
            loader.precision,
            setup=setup,
            setup_source=source,
        )

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

        A thread per CPU reads, decodes and classifies. The iterable is consumed in the caller's thread, a
        few batches ahead of the predictions. Raises `UsageError` if `batch_size` is below 1.
        """
        if batch_size < 1:
            raise UsageError(f"batch_size is {batch_size}: give 1 or more")

        def prepare(photo: ImageInput, index: int) -> PreparedImage:
            return input_path(photo), read_input(photo, self.preprocess, index)

        # The same threads decode and classify, so that the two do not compete for the CPUs.
        with ThreadPoolExecutor(cpu_count(), thread_name_prefix="assay-stream") as pool:
            batches = prefetch(photos, prepare, batch_size, pool)
            for predictions in run_streams(self.predict_prepared, batches, self.setup.streams, pool):
                yield from predictions

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
        return None if self.bundle is None else linear_head(self.bundle.weights(), len(self.classes))

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
                f"{self.info.name} has hidden layers in its head, or adds the probabilities of labels "
                "(train.source_labels): `assay explain` explains such a classifier"
            )
        if self.head.shape != (shape := (len(self.classes), outputs.embedding.shape[1])):
            raise self._inconsistent(f"its head is {list(self.head.shape)}, not {list(shape)}")
        if not np.isfinite(self.head).all():
            raise self._inconsistent("its head is not finite")
        return Cam(self.head)

    def probabilities(self, outputs: ModelOutputs) -> np.ndarray:
        """Return the calibrated probabilities for `outputs`, float64 [N, C] in class order."""
        return softmax(outputs.logits, self.info.temperature)

    def predict_prepared(self, batch: Sequence[PreparedImage]) -> list[Prediction | Failure]:
        """Classify a batch of preprocessed images; return a prediction or failure for each, in order.

        The last digits of a prediction can depend on the other images of its batch.
        """
        readable = [(source, pixels) for source, pixels in batch if not isinstance(pixels, Failure)]
        predictions: Iterator[Prediction] = iter(())
        if readable:
            sources, inputs = zip(*readable, strict=True)
            predictions = iter(self.predict_pixels(np.stack(inputs), sources))
        return [pixels if isinstance(pixels, Failure) else next(predictions) for _, pixels in batch]

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
