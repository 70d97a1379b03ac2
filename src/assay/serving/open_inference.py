"""Parse requests and build responses of the Open Inference Protocol, version 2.

The body is untrusted: msgspec reads only the fields that are named here, and elements are counted in the text
before any of them becomes a Python object.

Source: "Open Inference Protocol" (github.com/kserve/open-inference-protocol, 2023); Triton's "Binary Tensor
Data Extension" (2023).
"""

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, TypeVar

import msgspec
import numpy as np

from assay.serving.errors import ApiError
from assay.serving.http_messages import parse_length
from assay.serving.results import ClassificationResult

PIXELS, FILES = "images", "photos"
"""Names of the inputs: preprocessed pixels, or encoded image files."""
_MAX_SHORT = 4096
"""Maximum characters of JSON for a short list (a shape, the outputs)."""
_MAX_ID = 256
_SEGMENT = 2**21
"""Characters of pixels that are parsed at a time, since they become a list of Python numbers first."""
_NUMBERS = b" \t\r\n+-.0123456789eE"

_T = TypeVar("_T")
_ABSENT = msgspec.Raw(b"null")
_PLACE = r"(?: - at `\$\.?([^`]*)`)?"
_WRONG_TYPE = re.compile(rf"Expected `([^`]+)`, got `([^`]+)`{_PLACE}")
_MISSING = re.compile(rf"Object missing required field `([^`]+)`{_PLACE}")
_WRONG_LENGTH = re.compile(rf"Expected `array` of length ([0-9]+){_PLACE}")
_KINDS = {
    "array": "a list",
    "bool": "true or false",
    "bytes": "text in base64",
    "float": "a number",
    "int": "a whole number",
    "object": "an object",
    "str": "text",
}
"""Types of JSON, by their names in messages of msgspec."""


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
    """The JSON of an infer request; values that may be long are kept as text."""

    inputs: tuple[_Tensor]
    id: str | None = None
    outputs: msgspec.Raw = _ABSENT


_OUTPUTS = ("label", "confidence", "probabilities", "unknown")


@dataclass(frozen=True, slots=True)
class InferRequest:
    """A parsed request; it has either `pixels` or `images`."""

    id: str | None
    pixels: np.ndarray | None
    """uint8 [N, S, S, 3]."""
    images: Sequence[bytes]
    """Encoded image files."""
    outputs: tuple[str, ...]


def parse_request(body: bytes | bytearray, header_length: str | None, side: int, max_images: int) -> InferRequest:
    """Parse the body of an infer request: JSON, optionally followed by binary data.

    `header_length` is the header `Inference-Header-Content-Length`, the length of the JSON in bytes; None: all.
    `side` is that of the preprocessed images, in pixels.

    Raises:
        ApiError: 400; the request is invalid.
    """
    text, binary = _split(memoryview(body), header_length)
    request = _decode(text, _Request, "The body is not the JSON of an infer request")
    if request.id is not None and len(request.id) > _MAX_ID:
        raise ApiError(400, f"id is longer than {_MAX_ID} characters")
    (tensor,) = request.inputs
    outputs = _requested_outputs(request.outputs)
    tensor_type = (tensor.name, tensor.datatype)
    if tensor_type == (PIXELS, "UINT8"):
        return InferRequest(request.id, _pixels(tensor, binary, side, max_images), (), outputs)
    if tensor_type == (FILES, "BYTES"):
        return InferRequest(request.id, None, _files(tensor, binary, max_images), outputs)
    raise ApiError(400, f"the input must be {PIXELS} of UINT8 or {FILES} of BYTES")


def build_response(
    model: str, version: str, request: InferRequest, results: Sequence[ClassificationResult]
) -> dict[str, Any]:
    """Return the response to an infer request, ready for JSON."""
    response: dict[str, Any] = {"model_name": model, "model_version": version}
    if request.id is not None:
        response["id"] = request.id
    count = len(results)
    values: dict[str, tuple[str, list[int], list[Any]]] = {
        "label": ("BYTES", [count], [result.label for result in results]),
        "confidence": ("FP32", [count], [result.confidence for result in results]),
        "probabilities": (
            "FP32",
            [count, len(results[0].probabilities)],
            [value for result in results for value in result.probabilities.values()],
        ),
        "unknown": ("BOOL", [count], [bool(result.unknown) for result in results]),
    }
    tensors = ((name, *values[name]) for name in request.outputs)
    response["outputs"] = [
        {"name": name, "datatype": datatype, "shape": shape, "data": data} for name, datatype, shape, data in tensors
    ]
    return response


def model_metadata(name: str, version: str, side: int, classes: int) -> dict[str, Any]:
    """Return a model's metadata."""
    return {
        "name": name,
        "versions": [version],
        "platform": "assay",
        "inputs": [
            {"name": PIXELS, "datatype": "UINT8", "shape": [-1, side, side, 3]},
            {"name": FILES, "datatype": "BYTES", "shape": [-1]},
        ],
        "outputs": [
            {"name": "label", "datatype": "BYTES", "shape": [-1]},
            {"name": "confidence", "datatype": "FP32", "shape": [-1]},
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, classes]},
            {"name": "unknown", "datatype": "BOOL", "shape": [-1]},
        ],
    }


def _decode(text: msgspec.Raw | memoryview | bytes, expected: type[_T], error_prefix: str) -> _T:
    """Parse JSON of one type; raise `ApiError` (400) for anything else."""
    try:
        return msgspec.json.decode(text, type=expected)
    except RecursionError:
        raise ApiError(400, f"{error_prefix}: it is nested too deeply") from None
    except UnicodeDecodeError:
        raise ApiError(400, f"{error_prefix}: it is not UTF-8") from None
    except ValueError as error:
        raise ApiError(400, f"{error_prefix}: {_in_words(str(error))}") from None


def _in_words(message: str) -> str:
    """Return a message of msgspec about a wrong type in the words of JSON: "inputs[0].name must be text, not null"."""
    if found := _WRONG_TYPE.fullmatch(message):
        expected, given, place = found.groups()
        kinds = [_KINDS.get(kind, kind) for kind in expected.split(" | ")]
        return f"{place or 'it'} must be {' or '.join(kinds)}, not {_KINDS.get(given, given)}"
    if found := _MISSING.fullmatch(message):
        return f"{found[2] + '.' if found[2] else ''}{found[1]} is missing"
    if found := _WRONG_LENGTH.fullmatch(message):
        return f"{found[2] or 'it'} must be a list of length {found[1]}"
    return message


def _split(body: memoryview, header_length: str | None) -> tuple[memoryview, memoryview]:
    length = len(body) if header_length is None else parse_length(header_length)
    if length is None or length > len(body):
        raise ApiError(400, "Inference-Header-Content-Length is not a length within the body")
    return body[:length], body[length:]


def _decode_short(values: msgspec.Raw, expected: type[_T], error_prefix: str) -> _T:
    """Parse a value that is short in any valid request."""
    if len(memoryview(values)) > _MAX_SHORT:
        raise ApiError(400, f"{error_prefix}: it is longer than {_MAX_SHORT} characters")
    return _decode(values, expected, error_prefix)


def _requested_outputs(requested: msgspec.Raw) -> tuple[str, ...]:
    outputs = _decode_short(requested, list[_Output] | None, "outputs must be a list of objects with a name")  # type: ignore[arg-type]
    if not outputs:
        return _OUTPUTS
    names = [output.name for output in outputs]
    if not all(name in _OUTPUTS for name in names):
        raise ApiError(400, f"outputs are {', '.join(_OUTPUTS)}")
    return tuple(names)


def _shape(tensor: _Tensor) -> list[int]:
    return _decode_short(tensor.shape, list[int], f"the shape of {tensor.name} must be a list of whole numbers")


def _binary(tensor: _Tensor, binary: memoryview) -> memoryview | None:
    """Return a tensor's binary data, None if its data are JSON."""
    size = None if tensor.parameters is None else tensor.parameters.binary_data_size
    if size is None:
        return None
    if size != len(binary):
        raise ApiError(400, "binary_data_size is not the length of what follows the JSON")
    return binary


def _pixels(tensor: _Tensor, binary: memoryview, side: int, max_images: int) -> np.ndarray:
    shape = _shape(tensor)
    if len(shape) != 4 or shape[1:] != [side, side, 3] or not 1 <= shape[0] <= max_images:
        raise ApiError(400, f"the shape of {PIXELS} must be [N, {side}, {side}, 3], N from 1 to {max_images}")
    raw = _binary(tensor, binary)
    if raw is None:
        return _numbers(bytes(tensor.data), shape)
    if len(raw) != prod(shape):
        raise ApiError(400, f"the data of {PIXELS} do not fill their shape")
    return np.frombuffer(raw, np.uint8).reshape(shape).copy()


def _numbers(text: bytes, shape: list[int]) -> np.ndarray:
    """Parse whole numbers from 0 to 255, flat or nested like their shape, from valid JSON."""
    if text.count(b",") + 1 != prod(shape):
        raise ApiError(400, f"the data of {PIXELS} do not fill their shape")
    form = text.translate(None, _NUMBERS)
    if form == _nested(shape):
        text = text.translate(None, b"[]")
    elif form == b"[" + b"," * (prod(shape) - 1) + b"]":
        text = text.strip()[1:-1]
    else:
        raise ApiError(400, f"the data of {PIXELS} must be numbers, in one list or nested as in their shape")
    del form
    values = np.empty(prod(shape), np.uint8)
    offset = 0
    try:
        for segment in _segments(text):
            numbers = bytes(msgspec.json.decode(b"[" + segment + b"]", type=list[int]))
            values[offset : offset + len(numbers)] = np.frombuffer(numbers, np.uint8)
            offset += len(numbers)
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
    """Split a text at commas into pieces of about two million characters."""
    start = 0
    while (end := text.find(b",", start + _SEGMENT)) >= 0:
        yield text[start:end]
        start = end + 1
    yield text[start:]


def _files(tensor: _Tensor, binary: memoryview, max_images: int) -> list[bytes]:
    raw = _binary(tensor, binary)
    files = _from_json(tensor.data, max_images) if raw is None else _from_bytes(raw, max_images)
    if _shape(tensor) not in ([len(files)], [len(files), 1]) or not 1 <= len(files) <= max_images:
        raise _wrong_count(max_images)
    return files


def _wrong_count(max_images: int) -> ApiError:
    return ApiError(400, f"the shape of {FILES} must be [N], N from 1 to {max_images}, and its data N images")


def _from_json(data: msgspec.Raw, max_images: int) -> list[bytes]:
    if bytes(data).count(b",") >= max_images:
        raise _wrong_count(max_images)
    return _decode(data, list[bytes], f"the data of {FILES} must be a list of images in base64")


def _from_bytes(raw: memoryview, max_images: int) -> list[bytes]:
    """Split elements that are each preceded by their length, in four bytes, little-endian."""
    files: list[bytes] = []
    offset = 0
    while offset < len(raw):
        if len(files) == max_images:
            raise _wrong_count(max_images)
        if offset + 4 > len(raw):
            raise ApiError(400, f"the binary data of {FILES} are cut off")
        (length,) = struct.unpack_from("<I", raw, offset)
        offset += 4
        if offset + length > len(raw):
            raise ApiError(400, f"the binary data of {FILES} are cut off")
        files.append(bytes(raw[offset : offset + length]))
        offset += length
    return files
