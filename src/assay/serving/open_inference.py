"""Parse requests and build responses of the Open Inference Protocol, version 2.

The body is untrusted: msgspec builds the few fields that are named here and skips all others, and elements
are counted in the text before any of them becomes a Python object.

Source: "Open Inference Protocol" (github.com/kserve/open-inference-protocol, 2023); Triton's "Binary Tensor
Data Extension" (2023).
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, TypeVar

import msgspec
import numpy as np

from assay.serving.errors import ApiError
from assay.serving.http_headers import parse_length
from assay.serving.results import ClassificationResult

PIXELS, PHOTOS = "images", "photos"
"""Inputs: squares of pixels as the network takes them, or encoded photos."""
_FEW = 4096
"""Characters of JSON that a list of a few values (a shape, the outputs) may take."""
_LONGEST_ID = 256
_SEGMENT = 2**21
"""Characters of pixels that are read at a time: each becomes a list of Python numbers first."""
_NUMBERS = b" \t\r\n+-.0123456789eE"

_T = TypeVar("_T")
_ABSENT = msgspec.Raw(b"null")


class _Parameters(msgspec.Struct):
    binary_data_size: int | None = None


class _Tensor(msgspec.Struct):
    name: str = ""
    datatype: str = ""
    shape: msgspec.Raw = _ABSENT
    data: msgspec.Raw = _ABSENT
    parameters: _Parameters | None = None


class _Output(msgspec.Struct):
    name: str


class _Request(msgspec.Struct):
    """The JSON of an infer request; what may be long is left as text."""

    inputs: tuple[_Tensor]
    id: str | None = None
    outputs: msgspec.Raw = _ABSENT


_OUTPUTS = ("label", "confidence", "probabilities", "unknown")


@dataclass(frozen=True, slots=True)
class InferRequest:
    """What is asked; one of `pixels` and `photos` is there."""

    id: str | None
    pixels: np.ndarray | None
    """uint8 [N, S, S, 3]."""
    photos: Sequence[bytes]
    outputs: tuple[str, ...]


def parse_request(body: bytes | bytearray, header_length: str | None, side: int, most: int) -> InferRequest:
    """Read the body of an infer request.

    Args:
        body: JSON, and binary data behind it.
        header_length: length of the JSON in bytes, as `Inference-Header-Content-Length` tells it; None: all.
        side: of the network's squares, in pixels.
        most: images that one request may hold.

    Raises:
        ApiError: it is none.
    """
    text, binary = _split(memoryview(body), header_length)
    request = _decode(text, _Request, "The body is no JSON of an infer request")
    if request.id is not None and len(request.id) > _LONGEST_ID:
        raise ApiError(400, f"id is longer than {_LONGEST_ID} characters")
    (tensor,) = request.inputs
    outputs = _outputs(request.outputs)
    kind = (tensor.name, tensor.datatype)
    if kind == (PIXELS, "UINT8"):
        return InferRequest(request.id, _pixels(tensor, binary, side, most), (), outputs)
    if kind == (PHOTOS, "BYTES"):
        return InferRequest(request.id, None, _photos(tensor, binary, most), outputs)
    raise ApiError(400, f"the input must be {PIXELS} of UINT8 or {PHOTOS} of BYTES")


def build_response(
    model: str, version: str, request: InferRequest, predictions: Sequence[ClassificationResult]
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


def model_metadata(name: str, version: str, side: int, classes: int) -> dict[str, Any]:
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


def _decode(text: msgspec.Raw | memoryview | bytes, kind: type[_T], wrong: str) -> _T:
    """Read JSON of one type.

    Raises:
        ApiError: 400; it is no JSON, or JSON of another type.
    """
    try:
        return msgspec.json.decode(text, type=kind)
    except RecursionError:
        raise ApiError(400, f"{wrong}: it is nested too deeply") from None
    except UnicodeDecodeError:
        raise ApiError(400, f"{wrong}: it is not UTF-8") from None
    except ValueError as error:
        raise ApiError(400, f"{wrong}: {error}") from None


def _split(body: memoryview, header_length: str | None) -> tuple[memoryview, memoryview]:
    length = len(body) if header_length is None else parse_length(header_length)
    if length is None or length > len(body):
        raise ApiError(400, "Inference-Header-Content-Length is no length within the body")
    return body[:length], body[length:]


def _few(values: msgspec.Raw, kind: type[_T], wrong: str) -> _T:
    """Read a value that takes few characters, whatever it is."""
    if len(memoryview(values)) > _FEW:
        raise ApiError(400, f"{wrong}: it is longer than {_FEW} characters")
    return _decode(values, kind, wrong)


def _outputs(asked: msgspec.Raw) -> tuple[str, ...]:
    outputs = _few(asked, list[_Output] | None, "outputs must be a list of objects")  # type: ignore[arg-type]
    if not outputs:
        return _OUTPUTS
    names = [one.name for one in outputs]
    if not all(name in _OUTPUTS for name in names):
        raise ApiError(400, f"outputs are {', '.join(_OUTPUTS)}")
    return tuple(names)


def _shape(tensor: _Tensor) -> list[int]:
    return _few(tensor.shape, list[int], f"the shape of {tensor.name} must be a list of whole numbers")


def _binary(tensor: _Tensor, binary: memoryview) -> memoryview | None:
    """Return a tensor's binary data, None where its data are JSON."""
    size = None if tensor.parameters is None else tensor.parameters.binary_data_size
    if size is None:
        return None
    if size != len(binary):
        raise ApiError(400, "binary_data_size is not the length of what is behind the JSON")
    return binary


def _pixels(tensor: _Tensor, binary: memoryview, side: int, most: int) -> np.ndarray:
    shape = _shape(tensor)
    if len(shape) != 4 or shape[1:] != [side, side, 3] or not 1 <= shape[0] <= most:
        raise ApiError(400, f"the shape of {PIXELS} must be [N, {side}, {side}, 3], N from 1 to {most}")
    raw = _binary(tensor, binary)
    if raw is None:
        return _numbers(bytes(tensor.data), shape)
    if len(raw) != prod(shape):
        raise ApiError(400, f"the data of {PIXELS} do not fill their shape")
    return np.frombuffer(raw, np.uint8).reshape(shape).copy()


def _numbers(text: bytes, shape: list[int]) -> np.ndarray:
    """Read whole numbers from 0 to 255, flat or nested as their shape has it, from valid JSON."""
    if text.count(b",") + 1 != prod(shape):
        raise ApiError(400, f"the data of {PIXELS} do not fill their shape")
    form = text.translate(None, _NUMBERS)
    if form == _nested(shape):
        text = text.translate(None, b"[]")
    elif form == b"[" + b"," * (prod(shape) - 1) + b"]":
        text = text.strip()[1:-1]
    else:
        raise ApiError(400, f"the data of {PIXELS} must be numbers, in one list or nested as their shape is")
    del form
    values = np.empty(prod(shape), np.uint8)
    place = 0
    try:
        for segment in _segments(text):
            numbers = bytes(msgspec.json.decode(b"[" + segment + b"]", type=list[int]))
            values[place : place + len(numbers)] = np.frombuffer(numbers, np.uint8)
            place += len(numbers)
    except ValueError:
        raise ApiError(400, f"the data of {PIXELS} must be whole numbers from 0 to 255") from None
    return values.reshape(shape)


def _nested(shape: Sequence[int]) -> bytes:
    """Return the brackets and commas of nested lists."""
    form = b""
    for length in reversed(shape):
        form = b"[" + b",".join([form] * length) + b"]"
    return form


def _segments(text: bytes) -> Iterator[bytes]:
    """Cut a text at commas into pieces of about two million characters."""
    start = 0
    while (end := text.find(b",", start + _SEGMENT)) >= 0:
        yield text[start:end]
        start = end + 1
    yield text[start:]


def _photos(tensor: _Tensor, binary: memoryview, most: int) -> list[bytes]:
    raw = _binary(tensor, binary)
    photos = _from_json(tensor.data, most) if raw is None else _from_bytes(raw, most)
    if _shape(tensor) not in ([len(photos)], [len(photos), 1]) or not 1 <= len(photos) <= most:
        raise _wrong_count(most)
    return photos


def _wrong_count(most: int) -> ApiError:
    return ApiError(400, f"the shape of {PHOTOS} must be [N], N from 1 to {most}, and its data N photos")


def _from_json(data: msgspec.Raw, most: int) -> list[bytes]:
    if bytes(data).count(b",") >= most:
        raise _wrong_count(most)
    return _decode(data, list[bytes], f"the data of {PHOTOS} must be a list of photos in base64")


def _from_bytes(raw: memoryview, most: int) -> list[bytes]:
    """Read elements that each have their length in front, four bytes, the least first."""
    photos: list[bytes] = []
    place = 0
    while place < len(raw):
        if len(photos) == most:
            raise _wrong_count(most)
        if place + 4 > len(raw):
            raise ApiError(400, f"the binary data of {PHOTOS} are cut off")
        (length,) = struct.unpack_from("<I", raw, place)
        place += 4
        if place + length > len(raw):
            raise ApiError(400, f"the binary data of {PHOTOS} are cut off")
        photos.append(bytes(raw[place : place + length]))
        place += length
    return photos
