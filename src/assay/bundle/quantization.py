"""Static int8 quantization of an ONNX model from activation ranges observed on images.

Inputs and outputs stay the same, so a quantized model replaces the fp32 model anywhere. Needs `onnx`, which
`assay.bundle` never imports.

Sources: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference" (2018); Krishnamoorthi, "Quantizing deep convolutional networks for efficient inference" (2018),
for scales per channel.
"""

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
import onnx
import onnxruntime
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx.checker import ValidationError
from onnx.shape_inference import InferenceError
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.calibrate import MinMaxCalibrater, TensorsData, save_tensors_data
from onnxruntime.quantization.shape_inference import quant_pre_process

from assay.bundle.archive import BundleError
from assay.core.files import temporary_folder

_INPUT_NAME = "images"
_QUANTIZED_OPERATORS = ("Conv", "Add", "MaxPool", "Relu", "Clip")
"""Not the head: it is a thousandth of the work, and its rounding errors go straight to the logits."""
_QUANTIZATION_ERRORS = (
    ValueError,
    RuntimeError,
    DecodeError,
    InferenceError,
    ValidationError,
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)
"""What onnx and ONNX Runtime raise for models that they cannot handle."""
_ERRORS_ONLY = 3


class Quantizer:
    """A model and the ranges of its activations, from which int8 models are made. Create it with `observe`."""

    def __init__(self, model: onnx.ModelProto, ranges: TensorsData, threads: int) -> None:
        self._model = model
        self._ranges = ranges
        self._threads = threads

    @classmethod
    def observe(cls, model: bytes, batches: Iterable[np.ndarray], threads: int = 0) -> Self:
        """Prepare a model and observe the ranges of its activations.

        A range is the minimum and maximum of all values. Narrower ranges (means of the images' extremes) were
        tried: networks with activations that end at 6 lose far more by clipping than by a coarser step.

        Args:
            model: serialized ONNX model, `images` uint8 [N, S, S, 3] to `logits`, `embedding`, `featuremap`.
            batches: typical images, uint8 [n, S, S, 3]; a few hundred suffice.
            threads: CPU threads; 0: all.

        Raises:
            BundleError: the model cannot be quantized.
            ValueError: there are no images.
        """
        with _suppress_log(), temporary_folder("assay-int8") as folder:
            source, prepared = folder / "model.onnx", folder / "prepared.onnx"
            source.write_bytes(model)
            try:
                # All shapes are static except the batch size.
                quant_pre_process(source, prepared, skip_symbolic_shape=True)
                loaded = onnx.load(prepared)
            except _QUANTIZATION_ERRORS as error:
                raise BundleError(f"the model cannot be quantized: {_first_line(error)}") from None
            return cls(loaded, _observe_ranges(prepared, batches, threads), threads)

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the quantized layers, in the order in which they run."""
        return tuple(node.name for node in self._model.graph.node if node.op_type in {"Conv", "Add"})

    def model(self, fp32_layers: Collection[str] = ()) -> bytes:
        """Return the quantized model, serialized; the same ranges always give the same bytes.

        Args:
            fp32_layers: names of layers that are not quantized.
        """
        return self._quantize(exclude=fp32_layers)

    def sensitive_layers(
        self, images: np.ndarray, *, max_seconds: float = 30.0, clock: Callable[[], float] = time.monotonic
    ) -> list[str]:
        """Rank the layers by the error of the logits when that layer alone is quantized, largest first.

        Errors of single activations are cheaper to measure and were tried: they miss the layers that matter,
        since later layers compensate some errors and not others.

        Args:
            images: uint8 [n, S, S, 3], a few dozen.
            max_seconds: after this time the remaining layers, the last ones to run, are not tried.
            clock: returns the time in seconds.
        """
        until = clock() + max_seconds
        exact = _logits(self._model, images, self._threads)
        errors = {}
        for name in self.layers:
            if clock() > until:
                break
            quantized = onnx.load_from_string(self._quantize(only=[name]))
            errors[name] = float(np.square(_logits(quantized, images, self._threads) - exact).mean())
        return sorted(errors, key=lambda name: -errors[name])

    def _quantize(self, *, only: Collection[str] = (), exclude: Collection[str] = ()) -> bytes:
        with _suppress_log(), temporary_folder("assay-int8") as folder:
            prepared, result = folder / "prepared.onnx", folder / "model.onnx"
            ranges = folder / "ranges.json"
            onnx.save(self._model, prepared)
            save_tensors_data(self._ranges, ranges)
            try:
                quantize_static(
                    prepared,
                    result,
                    calibration_cache_path=ranges,
                    quant_format=QuantFormat.QDQ,
                    op_types_to_quantize=list(_QUANTIZED_OPERATORS),
                    nodes_to_quantize=sorted(only),
                    nodes_to_exclude=sorted(exclude),
                    per_channel=True,
                    activation_type=QuantType.QUInt8,
                    weight_type=QuantType.QInt8,
                )
            except _QUANTIZATION_ERRORS as error:
                raise BundleError(f"the model cannot be quantized: {_first_line(error)}") from None
            quantized = onnx.load(result)
        del quantized.metadata_props[:]
        content: bytes = quantized.SerializeToString(deterministic=True)
        return content


class _ImageReader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, batches: Iterable[np.ndarray]) -> None:
        self._batches = iter(batches)
        self.batches_read = 0

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self._batches, None)
        if batch is None:
            return None
        self.batches_read += 1
        return {_INPUT_NAME: np.ascontiguousarray(batch)}


def _observe_ranges(model: Path, batches: Iterable[np.ndarray], threads: int) -> TensorsData:
    """Run a model and return the extremes of every quantized activation over all images."""
    calibrator = MinMaxCalibrater(
        model, list(_QUANTIZED_OPERATORS), augmented_model_path=str(model.with_suffix(".ranges.onnx"))
    )
    calibrator.augment_graph()
    # Its own session ignores the number of threads and optimizes nothing, which takes 1.4 times as long.
    calibrator.infer_session = _session(calibrator.model, threads)
    reader = _ImageReader(batches)
    try:
        calibrator.collect_data(reader)
    except ValueError:
        if reader.batches_read:
            raise
        raise ValueError("there are no photos to observe the activations on") from None
    return calibrator.compute_data()


def _logits(model: onnx.ModelProto, images: np.ndarray, threads: int) -> np.ndarray:
    logits: np.ndarray = _session(model, threads).run(["logits"], {_INPUT_NAME: np.ascontiguousarray(images)})[0]
    return logits


def _session(model: onnx.ModelProto, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = _ERRORS_ONLY
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


@contextmanager
def _suppress_log() -> Iterator[None]:
    """Hide the advice that the quantizer logs."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
