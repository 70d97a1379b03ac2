"""The model of Assay's own bundle for rival servers: int8, OpenVINO, all threads, draft decoding.

They are given what makes the answer quick, so that what is compared is the server.
"""

import io
import os
from copy import copy

import numpy as np
import openvino
from common import SIDE, THREADS, WORK
from PIL import Image


class Network:
    """The int8 model of the bundle, compiled."""

    def __init__(self, hint: str = "LATENCY") -> None:
        settings = {"PERFORMANCE_HINT": hint, "INFERENCE_NUM_THREADS": THREADS}
        if "ONEDNN_MAX_CPU_ISA" in os.environ:
            # OpenVINO would still take bfloat16 for what is not int8, and then fail.
            settings["INFERENCE_PRECISION_HINT"] = "f32"
        self.model = openvino.Core().compile_model(WORK / "model.int8.onnx", "CPU", settings)
        self.request = self.model.create_infer_request()

    def with_own_request(self) -> "Network":
        """Return the same network for another thread."""
        other = copy(self)
        other.request = self.model.create_infer_request()
        return other

    def answer(self, squares: list[np.ndarray]) -> list[dict[str, object]]:
        """Answer a batch of squares, uint8 [S, S, 3]."""
        self.request.infer([np.stack(squares)])
        logits = self.request.get_tensor(self.model.output("logits")).data
        powers = np.exp(logits - logits.max(1, keepdims=True))
        rows = powers / powers.sum(1, keepdims=True)
        return [{"label": f"class {row.argmax()}", "confidence": float(row.max())} for row in rows]


def decode(data: bytes) -> np.ndarray:
    """Return a photo's square, decoded no larger than needed."""
    with Image.open(io.BytesIO(data)) as image:
        image.draft("RGB", (SIDE, SIDE))
        return np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR))
