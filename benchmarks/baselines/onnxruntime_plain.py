"""ONNX Runtime as its first page shows it: the exported float32 model, a session, Pillow and NumPy before it.

Usage: onnxruntime_plain.py SECONDS
"""

from pathlib import Path

import numpy as np
import onnxruntime
from common import MEAN, STD, THREADS, WORK, photos, report, squeezed, top
from PIL import Image


def prepare(path: Path, *, region: bool = False) -> np.ndarray:
    """Return a photo as the network wants it, float32 [1, 3, S, S]."""
    with Image.open(path) as image:
        pixels = np.asarray(squeezed(top(image) if region else image), np.float32) / 255
    normal = (pixels - np.float32(MEAN)) / np.float32(STD)
    return np.ascontiguousarray(normal.transpose(2, 0, 1)[np.newaxis])


def main() -> None:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(str(WORK / "plain.onnx"), options, providers=["CPUExecutionProvider"])
    tensor = prepare(photos()[0])

    def run(images: np.ndarray) -> int:
        return int(session.run(None, {"images": images})[0].argmax())

    report(
        {
            "forward": lambda _: run(tensor),
            "whole": lambda path: run(prepare(path)),
            "region": lambda path: run(prepare(path, region=True)),
        }
    )


if __name__ == "__main__":
    main()
