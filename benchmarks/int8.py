"""How fast ResNet-18 answers with 8-bit integers: against the processor's peak, and against plain PyTorch.

The peak is measured, not read from a data sheet: the fastest of some large matrix products and convolutions
of 8-bit integers that OpenVINO (oneDNN) runs on the same processors in the same process. ResNet-18's
operations are those of its convolutions and its head, two a multiplication. Weights are random: speed does
not depend on them.

    python benchmarks/int8.py [FILE.json]
"""

import json
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from assay.bundle.onnx_export import export_onnx, frozen_copy
from assay.bundle.quantization import Quantizer
from assay.core.cpu import cpu_count
from assay.inference import create_engine
from assay.inference.openvino_engine import openvino_core
from assay.nets import create_classifier
from assay.recipe import NetSpec

SIDE = 224
BATCH = 16
REPEATS = 15

Run = Callable[[], object]


def measure() -> dict[str, Any]:
    """Return milliseconds an image, operations a second, and the two ratios."""
    torch.manual_seed(0)
    torch.set_num_threads(cpu_count())
    network = frozen_copy(
        create_classifier(NetSpec(name="resnet18", weights="none"), 10, mean=(0.5,) * 3, std=(0.25,) * 3, size=SIDE)
    )
    coarse = np.random.default_rng(0).integers(0, 256, (BATCH, 28, 28, 3), dtype=np.uint8)
    images = coarse.repeat(8, axis=1).repeat(8, axis=2)
    exact = export_onnx(network, SIDE)
    rounded = Quantizer.observe(exact, [images], cpu_count()).model()
    batches = {batch: images[:batch] for batch in (1, BATCH)}
    runs: dict[str, tuple[int, Run]] = {}
    # Threads of one library that wait for work harm the next one: those that take turns share a library.
    eager = {f"torch eager, batch {batch}": (batch, _eager(network, part)) for batch, part in batches.items()}
    seconds = _interleaved(eager)
    runs |= eager
    ideals = _ideals()
    modern = _engines("openvino", {"fp32": exact, "int8": rounded}, batches)
    modern |= _streams(rounded, images)
    seconds |= _interleaved(modern | ideals)
    runs |= modern
    other = _engines("onnxruntime", {"fp32": exact, "int8": rounded}, batches)
    seconds |= _interleaved(other)
    runs |= other
    milliseconds = {name: 1000 * seconds[name] / batch for name, (batch, _) in runs.items()}
    peaks = {name: operations / seconds[name] / 1e9 for name, (operations, _) in ideals.items()}
    best = max(peaks.values())
    operations = _operations(exact)
    reached = operations / 1e6 / milliseconds[f"openvino int8, batch {BATCH}"]
    base = milliseconds["torch eager, batch 1"]
    return {
        "threads": cpu_count(),
        "load": os.getloadavg()[0],
        "milliseconds_an_image": milliseconds,
        "peak_gops": peaks,
        "resnet18_gop": operations / 1e9,
        "resnet18_int8_gops": reached,
        "share_of_peak": reached / best,
        "speedup_fp32_batch_1": base / milliseconds["openvino fp32, batch 1"],
        "speedup_int8_batch_1": base / milliseconds["openvino int8, batch 1"],
    }


def _engines(name: str, models: dict[str, bytes], batches: dict[int, np.ndarray]) -> dict[str, tuple[int, Run]]:
    found: dict[str, tuple[int, Run]] = {}
    for precision, model in models.items():
        engine = create_engine(name, model)
        for batch, part in batches.items():
            found[f"{name} {precision}, batch {batch}"] = (batch, partial(engine.run, part))
    return found


def _streams(model: bytes, images: np.ndarray) -> dict[str, tuple[int, Run]]:
    """Return a run of one batch per processor at a time, each in a stream of its own."""
    count = cpu_count()
    engine, pool = create_engine("openvino", model, streams=count), ThreadPoolExecutor(count)
    name = f"openvino int8, {count} streams, batch {len(images)}"
    return {name: (count * len(images), lambda: list(pool.map(engine.run, [images] * count)))}


def _eager(network: torch.nn.Module, images: np.ndarray) -> Run:
    batch = torch.from_numpy(images.copy())

    def run() -> object:
        with torch.no_grad():
            return network(batch)

    return run


def _interleaved(runs: dict[str, tuple[int, Run]]) -> dict[str, float]:
    """Return the median seconds of each; all take turns, so that a busy machine harms all alike."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(REPEATS + 2):
        for name, (_, run) in runs.items():
            run()  # What ran before has left its data in the caches.
            start = perf_counter()
            run()
            if repeat > 1:
                taken[name].append(perf_counter() - start)
    return {name: median(values) for name, values in taken.items()}


def _operations(model: bytes) -> int:
    """Count two operations for every multiplication of convolutions and products, for one image."""
    graph = onnx.shape_inference.infer_shapes(onnx.load_from_string(model)).graph
    weights = {item.name: list(item.dims) for item in graph.initializer}
    shapes = {
        item.name: [dim.dim_value for dim in item.type.tensor_type.shape.dim]
        for item in [*graph.value_info, *graph.output]
    }
    total = 0
    for node in graph.node:
        if node.op_type == "Conv":
            _, inner, height, width = weights[node.input[1]]
            _, channels, rows, columns = shapes[node.output[0]]
            total += 2 * inner * height * width * channels * rows * columns
        elif node.op_type == "Gemm":
            total += 2 * int(np.prod(weights[node.input[1]]))
    return total


def _ideals() -> dict[str, tuple[int, Run]]:
    """Return work that suits the processor best: operations and a run, by name."""
    made: dict[str, tuple[int, Run]] = {}
    for side in (512, 1024, 2048):
        made[f"matrix product of {side}"] = (2 * side**3, _compiled(_product(side), (side, side)))
    for channels, side in ((256, 28), (512, 14), (512, 28)):
        shape = (BATCH, channels, side, side)
        operations = 2 * BATCH * channels * channels * 9 * side * side
        made[f"3x3 convolution, {channels} channels, {side}x{side}"] = (
            operations,
            _compiled(_convolution(channels, shape), shape),
        )
    return made


def _compiled(model: bytes, shape: tuple[int, ...]) -> Run:
    core = openvino_core()
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": cpu_count(),
        "ENABLE_CPU_PINNING": False,
    }
    request = core.compile_model(core.read_model(model), "CPU", settings).create_infer_request()
    data = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    return lambda: request.infer([data])


def _product(side: int) -> bytes:
    weight = np.random.default_rng(0).integers(-127, 128, (side, side), dtype=np.int8)
    return _quantised(weight, helper.make_node("MatMul", ["x", "w"], ["y"]), [side, side], axis=1)


def _convolution(channels: int, shape: tuple[int, ...]) -> bytes:
    weight = np.random.default_rng(0).integers(-127, 128, (channels, channels, 3, 3), dtype=np.int8)
    return _quantised(weight, helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1]), list(shape), axis=0)


def _quantised(weight: np.ndarray, node: onnx.NodeProto, shape: list[int], axis: int) -> bytes:
    """Return a model of one layer whose input, weights and output have 8 bits."""
    count = weight.shape[axis]
    constants = {
        "scale": np.array(0.02, np.float32),
        "zero": np.array(0, np.uint8),
        "coarse": np.array(4.0, np.float32),
        "wq": weight,
        "ws": np.full(count, 0.01, np.float32),
        "wz": np.zeros(count, np.int8),
    }
    nodes = [
        helper.make_node("DequantizeLinear", ["images", "scale", "zero"], ["x"]),
        helper.make_node("DequantizeLinear", ["wq", "ws", "wz"], ["w"], axis=axis),
        node,
        helper.make_node("QuantizeLinear", ["y", "coarse", "zero"], ["out"]),
    ]
    graph = helper.make_graph(
        nodes,
        "ideal",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("out", TensorProto.UINT8, shape)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    content: bytes = model.SerializeToString()
    return content


def main() -> None:
    result = measure()
    print(f"{result['threads']} threads, load {result['load']:.1f}\n\nms an image")
    for name, value in result["milliseconds_an_image"].items():
        print(f"  {name:<40}{value:8.2f}")
    print("\n8-bit operations a second, in thousands of millions")
    for name, value in result["peak_gops"].items():
        print(f"  {name:<40}{value:8.0f}")
    print(f"  {f'ResNet-18, batch {BATCH}':<40}{result['resnet18_int8_gops']:8.0f}")
    print(f"\nResNet-18 against the peak                {result['share_of_peak']:8.2f}")
    for precision in ("fp32", "int8"):
        print(f"against eager torch, batch 1, {precision}        {result[f'speedup_{precision}_batch_1']:8.2f}")
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
