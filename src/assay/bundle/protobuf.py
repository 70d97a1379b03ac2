"""Just enough of the protobuf wire format to find weights that an ONNX file keeps in other files.

Opening a bundle must not make a runtime read whatever path a stranger wrote into it, and must not need the
`onnx` package either. Knows the field numbers of `onnx.proto` that lead to tensors, and nothing else of ONNX.

Source: Protocol Buffers, "Encoding" (2024); onnx/onnx.proto of ONNX 1.18 (2025).
"""

from collections.abc import Iterator

_DEPTH = 32
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

# Message: {field number: message it holds}. Only the ways that lead to a tensor.
_WAYS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14


def has_external_data(model: bytes) -> bool:
    """Tell whether any tensor of an ONNX model lies outside the model's bytes.

    Args:
        model: a serialised `ModelProto`.

    Raises:
        ValueError: the bytes are no protobuf message, or nested too deeply.
    """
    return _external(memoryview(model), "model", 0)


def _external(message: memoryview, kind: str, depth: int) -> bool:
    if depth > _DEPTH:
        raise ValueError("messages are nested too deeply")
    ways = _WAYS.get(kind, {})
    for field, value in _fields(message):
        if kind == "tensor" and (field == _EXTERNAL_DATA or (field == _DATA_LOCATION and value != 0)):
            return True
        inner = ways.get(field)
        if inner and isinstance(value, memoryview) and _external(value, inner, depth + 1):
            return True
    return False


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield (field number, value) of one message; the value of a fixed-size field is given as 0."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        if kind == _BYTES:
            size, at = _varint(message, at)
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {kind} is unknown")
        if at + size > len(message):
            raise ValueError("a field ends behind its message")
        yield key >> 3, message[at : at + size] if kind == _BYTES else 0
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for count in range(10):
        if at + count >= len(message):
            break
        byte = message[at + count]
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            return value, at + count + 1
    raise ValueError("a number does not end")
