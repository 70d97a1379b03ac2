"""The Open Inference Protocol, version 2: requests read, answers written.

Knows tensors and JSON; nothing of HTTP or models. Data come as JSON, or, as Triton's clients send them by
default, as bytes behind the JSON; answers are JSON.

Source: "Open Inference Protocol" (github.com/kserve/open-inference-protocol, 2023); Triton's "Binary Tensor
Data Extension" (2023).
"""

import base64
import binascii
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from assay.serving.answers import Result
from assay.serving.errors import ApiError

PIXELS, PHOTOS = "images", "photos"
"""Inputs: squares of pixels as the network takes them, or encoded photos."""
_OUTPUTS = ("label", "confidence", "probabilities", "unknown")


@dataclass(frozen=True, slots=True)
class InferRequest:
    """What is asked; one of `pixels` and `photos` is there."""

    id: str | None
    pixels: np.ndarray | None
    """uint8 [N, S, S, 3]."""
    photos: Sequence[bytes]
    outputs: tuple[str, ...]


def read_request(body: bytes, header_length: str | None, side: int, most: int) -> InferRequest:
    """Read the body of an infer request.

    Args:
        body: JSON, and binary data behind it.
        header_length: length of the JSON in bytes, as `Inference-Header-Content-Length` tells it; None: all.
        side: of the network's squares, in pixels.
        most: images that one request may hold.

    Raises:
        ApiError: it is none.
    """
    values, binary = _split(body, header_length)
    inputs = values.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise ApiError(400, f"inputs must be a list of one tensor, {PIXELS} or {PHOTOS}")
    tensor: dict[str, Any] = inputs[0]
    request_id = values.get("id")
    if request_id is not None and not isinstance(request_id, str):
        raise ApiError(400, "id must be a string")
    outputs = _outputs(values.get("outputs"))
    kind = (tensor.get("name"), tensor.get("datatype"))
    if kind == (PIXELS, "UINT8"):
        return InferRequest(request_id, _pixels(tensor, binary, side, most), (), outputs)
    if kind == (PHOTOS, "BYTES"):
        return InferRequest(request_id, None, _photos(tensor, binary, most), outputs)
    raise ApiError(400, f"the input must be {PIXELS} of UINT8 or {PHOTOS} of BYTES")


def write_answer(
    model: str, version: str, request: InferRequest, predictions: Sequence[Result]
) -> dict[str, Any]:
    """Return the answer to an infer request, ready for JSON."""
    answer: dict[str, Any] = {"model_name": model, "model_version": version}
    if request.id is not None:
        answer["id"] = request.id
    count = len(predictions)
    values: dict[str, tuple[str, list[int], list[Any]]] = {
        "label": ("BYTES", [count], [one.label for one in predictions]),
        "confidence": ("FP32", [count], [one.confidence for one in predictions]),
        "probabilities": (
            "FP32",
            [count, len(predictions[0].probabilities)],
            [value for one in predictions for value in one.probabilities.values()],
        ),
        "unknown": ("BOOL", [count], [bool(one.unknown) for one in predictions]),
    }
    tensors = ((name, *values[name]) for name in request.outputs)
    answer["outputs"] = [
        {"name": name, "datatype": kind, "shape": shape, "data": data} for name, kind, shape, data in tensors
    ]
    return answer


def metadata(name: str, version: str, side: int, classes: int) -> dict[str, Any]:
    """Return what is told of a model."""
    return {
        "name": name,
        "versions": [version],
        "platform": "assay",
        "inputs": [
            {"name": PIXELS, "datatype": "UINT8", "shape": [-1, side, side, 3]},
            {"name": PHOTOS, "datatype": "BYTES", "shape": [-1]},
        ],
        "outputs": [
            {"name": "label", "datatype": "BYTES", "shape": [-1]},
            {"name": "confidence", "datatype": "FP32", "shape": [-1]},
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, classes]},
            {"name": "unknown", "datatype": "BOOL", "shape": [-1]},
        ],
    }


def _split(body: bytes, header_length: str | None) -> tuple[dict[str, Any], bytes]:
    if header_length is None:
        length = len(body)
    elif header_length.isascii() and header_length.isdigit() and int(header_length) <= len(body):
        length = int(header_length)
    else:
        raise ApiError(400, "Inference-Header-Content-Length is no length within the body")
    try:
        values = json.loads(body[:length])
    except (ValueError, RecursionError):
        raise ApiError(400, "The body is not JSON") from None
    if not isinstance(values, dict):
        raise ApiError(400, "The body must be a JSON object")
    return values, body[length:]


def _outputs(asked: object) -> tuple[str, ...]:
    if asked is None or asked == []:
        return _OUTPUTS
    if not isinstance(asked, list) or not all(isinstance(one, dict) for one in asked):
        raise ApiError(400, "outputs must be a list of objects")
    names = [one.get("name") for one in asked]
    if not all(name in _OUTPUTS for name in names):
        raise ApiError(400, f"outputs are {', '.join(_OUTPUTS)}")
    return tuple(names)


def _binary(tensor: Mapping[str, Any], binary: bytes) -> bytes | None:
    """Return a tensor's binary data, None where its data are JSON."""
    parameters = tensor.get("parameters")
    size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    if size is None:
        return None
    if size != len(binary):
        raise ApiError(400, "binary_data_size is not the length of what is behind the JSON")
    return binary


def _pixels(tensor: Mapping[str, Any], binary: bytes, side: int, most: int) -> np.ndarray:
    shape = tensor.get("shape")
    good = isinstance(shape, list) and len(shape) == 4 and all(type(length) is int for length in shape)
    if not good or not isinstance(shape, list) or shape[1:] != [side, side, 3] or not 1 <= shape[0] <= most:
        raise ApiError(400, f"the shape of {PIXELS} must be [N, {side}, {side}, 3], N from 1 to {most}")
    raw = _binary(tensor, binary)
    try:
        values = np.array(tensor.get("data")) if raw is None else np.frombuffer(raw, np.uint8)
    except (ValueError, OverflowError, RecursionError):
        raise ApiError(400, f"the data of {PIXELS} have no even shape") from None
    if values.size != np.prod(shape):
        raise ApiError(400, f"the data of {PIXELS} do not fill their shape")
    if values.dtype.kind not in "iu" or values.min() < 0 or values.max() > 255:
        raise ApiError(400, f"the data of {PIXELS} must be whole numbers from 0 to 255")
    return values.reshape(shape).astype(np.uint8)


def _photos(tensor: Mapping[str, Any], binary: bytes, most: int) -> list[bytes]:
    raw = _binary(tensor, binary)
    photos = _from_json(tensor.get("data")) if raw is None else _from_bytes(raw)
    if tensor.get("shape") not in ([len(photos)], [len(photos), 1]) or not 1 <= len(photos) <= most:
        raise ApiError(400, f"the shape of {PHOTOS} must be [N], N from 1 to {most}, and its data N photos")
    return photos


def _from_json(data: object) -> list[bytes]:
    wrong = ApiError(400, f"the data of {PHOTOS} must be a list of photos in base64")
    if not isinstance(data, list) or not all(isinstance(one, str) for one in data):
        raise wrong
    try:
        return [base64.b64decode(one, validate=True) for one in data]
    except (binascii.Error, ValueError):
        raise wrong from None


def _from_bytes(raw: bytes) -> list[bytes]:
    """Read elements that each have their length in front, four bytes, the least first."""
    photos, place = [], 0
    while place < len(raw):
        if place + 4 > len(raw):
            raise ApiError(400, f"the binary data of {PHOTOS} are cut off")
        (length,) = struct.unpack_from("<I", raw, place)
        place += 4
        if place + length > len(raw):
            raise ApiError(400, f"the binary data of {PHOTOS} are cut off")
        photos.append(raw[place : place + length])
        place += length
    return photos
