"""Watching a film of 30 frames a second at 1280 x 720: in time, how far behind, and how a label flickers.

Run as `python benchmarks/watch.py [--model M.assay] [--seconds 16]`; prints JSON. Without a model it is
ResNet-18 at 224 pixels with 8-bit integers and random weights: speed does not depend on them. `ASSAY_DATA` is
the folder that holds `cifar10.tar.xz`: the film is made of its photos, enlarged, moved about and made noisy,
four seconds each, with OpenCV (mp4v). Two processors are used. Every frame is classified, in three ways:
printing lines, drawing on every frame as a window would, and recording. Flicker is counted on a stream of
probabilities whose truth changes every 20 seconds under heavy noise.
"""

import argparse
import json
import os
import tarfile
import tempfile
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from safetensors.numpy import save

from assay.bundle import BundleInfo, pack_bundle
from assay.bundle.onnx_export import export_onnx, frozen_copy
from assay.bundle.quantization import Quantizer
from assay.inference import Classifier, Prediction
from assay.live import FrameResult, FrameSink, PredictionSmoother, SmoothingConfig, parse_source, watch_source
from assay.live.display import draw_result
from assay.live.recorders import VideoRecorder
from assay.nets import create_classifier
from assay.recipe import NetSpec, PreprocessSpec

FPS = 30
SIZE = (1280, 720)
SIDE = 224
EACH = 4


def photos(folder: Path, count: int) -> list[Path]:
    """Return test photos, vehicles and animals in turn."""
    archive = Path(os.environ.get("ASSAY_DATA", "../shared/data")) / "cifar10.tar.xz"
    kinds: dict[str, list[Path]] = {"automobile": [], "deer": [], "truck": [], "horse": []}
    with tarfile.open(archive) as packed:
        for member in packed:
            kind = Path(member.name).parent.name
            if member.isfile() and "/test/" in f"/{member.name}" and len(kinds.get(kind, [0] * count)) < count:
                packed.extract(member, folder, filter="data")
                kinds[kind].append(folder / member.name)
            if all(len(found) == count for found in kinds.values()):
                break
    return [found for turn in zip(*kinds.values(), strict=True) for found in turn][:count]


def make_film(path: Path, pictures: list[Path], seconds: float) -> None:
    """Write a film of photos that drift, with the noise of a camera."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FPS, SIZE)
    noise = np.random.default_rng(0).normal(0, 6, (SIZE[1], SIZE[0], 3)).astype(np.int16)
    for number in range(round(seconds * FPS)):
        if number % (EACH * FPS) == 0:
            photo = cv2.imread(str(pictures[number // (EACH * FPS) % len(pictures)]))
            large = cv2.resize(photo, (1400, 800), interpolation=cv2.INTER_CUBIC).astype(np.int16)
        x, y = round(60 + 50 * np.sin(number / 20)), round(40 + 30 * np.cos(number / 17))
        frame = large[y : y + SIZE[1], x : x + SIZE[0]] + np.roll(noise, number * 37, axis=1)
        writer.write(frame.clip(0, 255).astype(np.uint8))
    writer.release()


def watched(classifier: Classifier, film: Path, folder: Path, way: str) -> dict[str, Any]:
    """Watch the film once, in its own time."""
    with ExitStack() as stack:
        sinks: list[FrameSink] = []
        if way == "drawn":

            def draw(view: FrameResult) -> None:
                draw_result(view, classifier.preprocess)

            sinks.append(draw)
        if way == "recorded":
            sinks.append(stack.enter_context(VideoRecorder(folder / "record.mp4", classifier.preprocess, FPS)))
        result: list[str] = []
        summary = watch_source(
            classifier,
            parse_source(str(film), FPS),
            sinks,
            fps=FPS,
            smoothing=SmoothingConfig(),
            notify=result.append,
        )
    (folder / "record.mp4").unlink(missing_ok=True)
    return {name: round(value, 3) for name, value in asdict(summary).items()}


def flicker(fps: int = 10, seconds: int = 600) -> dict[str, Any]:
    """Count changes of the label with and without smoothing, and the delay of real changes."""
    rng = np.random.default_rng(0)
    truth = (np.arange(seconds * fps) // (20 * fps)) % 2 == 0
    shares = np.clip(np.where(truth, 0.65, 0.35) + rng.normal(0, 0.25, len(truth)), 0, 1).tolist()
    real = np.arange(20, seconds, 20)
    counted: dict[str, Any] = {"true changes": len(real), "stated delay, s": round(SmoothingConfig().delay, 2)}
    for name, steadiness in (("plain", SmoothingConfig(0, 0, 0)), ("smoothed", SmoothingConfig())):
        steady, times = PredictionSmoother(steadiness), []
        for number, share in enumerate(shares):
            label, best = ("a", share) if share >= 0.5 else ("b", 1 - share)
            if steady.update(Prediction(label, best, {"a": share, "b": 1 - share}), number / fps).changed:
                times.append(number / fps)
        counted[f"changes, {name}"] = len(times) - 1
    late = [min((time - change for time in times if time >= change), default=np.inf) for change in real]
    counted["delay under noise, s"] = {"median": float(np.median(late)), "worst": float(np.max(late))}
    return counted


def random_bundle(path: Path) -> Path:
    """Write a bundle of ResNet-18 with random weights and 8-bit integers."""
    mean, std = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
    network = frozen_copy(
        create_classifier(NetSpec(name="resnet18", weights="none"), 10, mean=mean, std=std, size=SIDE)
    )
    exact = export_onnx(network, SIDE)
    images = np.random.default_rng(0).integers(0, 256, (16, SIDE, SIDE, 3), dtype=np.uint8)
    members = {
        "model.onnx": exact,
        "model.int8.onnx": Quantizer.observe(exact, [images], 2).model(),
        "weights.safetensors": save({"none": np.zeros(1, np.float32)}),
    }
    spec = PreprocessSpec(size=SIDE, mean=mean, std=std)
    classes = tuple(f"class {number}" for number in range(10))
    pack_bundle(path, BundleInfo(name="random", classes=classes, preprocess=spec, precision="int8"), members)
    return path


def measure(model: Path | None = None, seconds: float = 16, repeats: int = 1) -> dict[str, Any]:
    """Return the figures of every way, and of flicker.

    Args:
        model: a bundle; none: see above.
        seconds: length of the film.
        repeats: how often each way is measured, in turns.
    """
    ways: dict[str, list[dict[str, Any]]] = {"lines": [], "drawn": [], "recorded": []}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        classifier = Classifier.load(model or random_bundle(folder / "random.assay"), threads=2)
        make_film(folder / "film.mp4", photos(folder, 4), seconds)
        for _ in range(repeats):
            for way, runs in ways.items():
                runs.append(watched(classifier, folder / "film.mp4", folder, way))
    runs = {"runs": classifier.runtime, "size": classifier.preprocess.size, "load": os.getloadavg()[0]}
    return {**runs, "film, s": seconds, "watched": ways, "flicker": flicker()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--seconds", type=float, default=16)
    parser.add_argument("--repeats", type=int, default=1)
    chosen = parser.parse_args()
    print(json.dumps(measure(chosen.model, chosen.seconds, chosen.repeats), indent=2))
