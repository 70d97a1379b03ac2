"""What a file costs before the network sees it, and what decoding less changes.

Run as `python benchmarks/decode.py`, with `ASSAY_DATA` the folder that holds `bottles.tar` (20 photos of
1080 x 1920). The baseline decodes in full with Pillow and resizes. All run in turns in this process, on one
thread; medians of the thread's processor time, which other programs disturb little. Give `--model` a bundle to also
count photos whose answer changes. `--decoders` compares decoders at a quarter of the size with the time of Huffman
decoding, which none can avoid; simplejpeg takes part if it is installed.
"""

import argparse
import contextlib
import importlib
import io
import os
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from assay.image import Preprocess, decode
from assay.inference import Classifier
from assay.recipe import PreprocessSpec

REPEATS = 5
CASES = {
    "whole photo, crop": PreprocessSpec(resize_mode="crop", size=224),
    "whole photo, stretch": PreprocessSpec(resize_mode="stretch", size=224),
    "top 30 %, stretch": PreprocessSpec(resize_mode="stretch", roi=(0, 0, 1, 0.3), size=224),
}


def plain(data: bytes, preprocess: Preprocess) -> np.ndarray:
    """Return the square as a tutorial makes it: everything decoded, cut out, resized."""
    with Image.open(io.BytesIO(data)) as image:
        picture = image.convert("RGB")
    box = preprocess.box(*picture.size)
    return np.asarray(picture.crop(box).resize((preprocess.size,) * 2, Image.Resampling.BILINEAR))


def milliseconds(files: Sequence[bytes], ways: dict[str, Callable[[bytes], object]]) -> dict[str, float]:
    """Return the median time of each way to read a file; the ways take turns."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(REPEATS + 1):
        for data in files:
            for name, way in ways.items():
                begin = time.thread_time()
                way(data)
                if turn:  # the first warms up
                    taken[name].append(time.thread_time() - begin)
    return {name: statistics.median(times) * 1e3 for name, times in taken.items()}


def photos() -> list[bytes]:
    """Return the bottle photos' files."""
    archive = Path(os.environ.get("ASSAY_DATA", "../shared/data")) / "bottles.tar"
    with tempfile.TemporaryDirectory() as scratch, tarfile.open(archive) as packed:
        packed.extractall(scratch, filter="data")
        return [path.read_bytes() for path in sorted(Path(scratch).rglob("*.jpg"))]


def decoders(files: Sequence[bytes]) -> dict[str, float]:
    """Return the milliseconds of each decoder at a quarter of the size, and of Huffman decoding."""

    def pillow(data: bytes, scale: int, mode: str = "RGB") -> np.ndarray:
        with Image.open(io.BytesIO(data)) as image:
            image.draft(mode, (image.width // scale, image.height // scale))
            return np.asarray(image)

    cv2.setNumThreads(1)
    preprocess = Preprocess(CASES["whole photo, stretch"])
    ways: dict[str, Callable[[bytes], object]] = {
        # libjpeg skips all but the first coefficient of a block, and the colours.
        "Huffman decoding": lambda data: pillow(data, 8, "L"),
        "Pillow, draft": lambda data: pillow(data, 4),
        "OpenCV, reduced": lambda data: cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_REDUCED_COLOR_4),
        "Assay, decode": lambda data: decode(data, min_side=270),
        "Assay, decode and resize": preprocess.read,
    }
    with contextlib.suppress(ImportError):
        simplejpeg = importlib.import_module("simplejpeg")
        ways["simplejpeg"] = lambda data: simplejpeg.decode_jpeg(
            data, "RGB", min_height=480, min_width=270, min_factor=4
        )
    return milliseconds(files, ways)


def difference(files: Sequence[bytes], preprocess: Preprocess) -> tuple[float, float]:
    """Return the mean difference from decoding in full, and what 99.9 % of the values stay within."""
    apart = [np.abs(preprocess.read(data).astype(int) - preprocess(decode(data))).astype(np.uint8) for data in files]
    values = np.stack(apart)
    return float(values.mean()), float(np.quantile(values, 0.999))


def agreement(model: Path, files: Sequence[bytes]) -> dict[str, float]:
    """Return how answers with reduced decoding differ from those with full decoding."""
    classifier = Classifier.load(model)
    whole = classifier.predict_pixels(np.stack([classifier.preprocess(decode(data)) for data in files]))
    less = classifier.predict_pixels(np.stack([classifier.preprocess.read(data) for data in files]))
    return {
        "photos": len(files),
        "other_label": sum(a.label != b.label for a, b in zip(whole, less, strict=True)),
        "max_confidence_difference": max(abs(a.confidence - b.confidence) for a, b in zip(whole, less, strict=True)),
    }


def measure(model: Path | None = None, files: Sequence[bytes] | None = None) -> dict[str, Any]:
    """Measure every case; return times in ms a photo, ratios and differences in levels of 255."""
    files = files or photos()
    found: dict[str, Any] = {}
    for name, spec in CASES.items():
        preprocess = Preprocess(spec)
        times = milliseconds(
            files,
            {
                "plain": lambda data, preprocess=preprocess: plain(data, preprocess),
                "scale": lambda data, preprocess=preprocess: preprocess(
                    decode(data, min_side=preprocess._min_side)  # noqa: SLF001 - the half of `read`
                ),
                "assay": preprocess.read,
            },
        )
        mean, quantile = difference(files, preprocess)
        found[name] = {
            **times,
            "ratio": times["plain"] / times["assay"],
            "mean": mean,
            "q999": quantile,
        }
    if model is not None:
        found["answers"] = agreement(model, files)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--decoders", action="store_true", help="compare decoders only")
    parser.add_argument("--photos", type=Path, help="folder of JPEG files; by default the bottles")
    wanted = parser.parse_args()
    files = [path.read_bytes() for path in sorted(wanted.photos.rglob("*.jpg"))] if wanted.photos else None
    if wanted.decoders:
        for name, value in decoders(files or photos()).items():
            print(f"{name:<28}{value:8.2f} ms")
        return
    found = measure(wanted.model, files)
    answers = found.pop("answers", None)
    print(f"{'ms a photo, decoded and 224 x 224':<36}   plain   scale   assay   ratio    mean   99.9 %")
    for name, row in found.items():
        cells = "".join(f"{row[key]:8.2f}" for key in ("plain", "scale", "assay", "ratio", "mean", "q999"))
        print(f"{name:<36}{cells}")
    if answers is not None:
        print(answers)


if __name__ == "__main__":
    main()
