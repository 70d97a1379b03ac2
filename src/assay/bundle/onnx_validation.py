"""Check an ONNX model before a runtime loads it: a strict protobuf reader and an allow-list of operators."""

from collections.abc import Iterator, Sequence
from math import prod
from typing import NamedTuple

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

_WIDTH = {FIXED64: 8, FIXED32: 4}
_TAG_BITS, _SIZE_BITS, _VALUE_BITS = 32, 31, 64


class Field(NamedTuple):
    """One field of a message."""

    number: int
    wire: int
    """Wire type: one of the constants above."""
    value: int | memoryview
    """An int for a varint, otherwise the bytes."""


def iter_fields(message: memoryview) -> Iterator[Field]:
    """Yield the fields of one message in order; nested messages are returned as bytes.

    Raises:
        ValueError: the bytes are not a message in canonical form.
    """
    at = 0
    while at < len(message):
        tag, at = _varint(message, at, _TAG_BITS)
        number, wire = tag >> 3, tag & 7
        if number == 0:
            raise ValueError("a field has the number 0")
        if wire == VARINT:
            value, at = _varint(message, at, _VALUE_BITS)
            yield Field(number, wire, value)
            continue
        if wire == BYTES:
            size, at = _varint(message, at, _SIZE_BITS)
        elif wire in _WIDTH:
            size = _WIDTH[wire]
        else:
            raise ValueError(f"wire type {wire} is unknown")
        if at + size > len(message):
            raise ValueError("a field ends behind its message")
        yield Field(number, wire, message[at : at + size])
        at += size


def _varint(message: memoryview, at: int, bits: int) -> tuple[int, int]:
    """Decode a canonical varint of at most `bits` bits; return the number and the offset of its end."""
    value = 0
    for count in range(-(-bits // 7)):
        if at + count >= len(message):
            break
        byte = message[at + count]
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            if value >> bits:
                raise ValueError(f"a number has more than {bits} bits")
            if byte == 0 and count:
                raise ValueError("a number is written in more bytes than it needs")
            return value, at + count + 1
    raise ValueError("a number does not end")


_OPERATORS = """
    Abs Add And AveragePool BatchNormalization Cast Ceil Clip Concat Constant ConstantOfShape Conv
    ConvTranspose Cos CumSum DepthToSpace DequantizeLinear Div Einsum Elu Equal Erf Exp Expand
    Flatten Floor Gather GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalMaxPool Greater
    GreaterOrEqual GroupNormalization HardSigmoid HardSwish Identity InstanceNormalization
    LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax LpNormalization MatMul Max MaxPool
    Mean Min Mish Mod Mul Neg Not Or PRelu Pad Pow QuantizeLinear RMSNormalization Range Reciprocal
    ReduceL1 ReduceL2 ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu
    Reshape Resize Round ScatterElements ScatterND Selu Shape Sigmoid Sign Sin Size Slice Softmax
    Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Swish Tanh Tile TopK Transpose Trilu
    Unsqueeze Where
"""
OPERATORS = frozenset(_OPERATORS.split())
"""Operators that exported networks use, including those of timm: no loops, random numbers, strings or file access."""
MIN_OPSET, MAX_OPSET = 13, 32
"""Accepted versions of the default operator set."""

_DEFAULT_DOMAINS = ("", "ai.onnx")
_MAX_FIELDS = 5_000_000
"""Largest number of fields of a model; one with 10,000 layers has about a million."""
_MAX_DIMS = 64
"""Largest number of dimensions of a tensor, as in NumPy and the runtimes."""

# Message: {field number: type of the nested message}.
_INNER: dict[str, dict[int, str]] = {
    "model": {7: "graph", 8: "opset"},
    "graph": {1: "node", 5: "tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 10: "tensor"},
}
# Message: {field number: the feature that this field stands for}.
_REFUSED: dict[str, dict[int, str]] = {
    "model": {20: "training steps", 25: "functions of its own"},
    "graph": {15: "sparse tensors"},
    "attribute": {
        6: "subgraphs",
        11: "subgraphs",
        21: "functions of its own",
        22: "sparse tensors",
        23: "sparse tensors",
    },
    "tensor": {3: "parts of tensors", 6: "tensors of text", 13: "weights in other files"},
}
_NODE, _INITIALIZER, _GRAPH_INPUT = 1, 5, 11
_NODE_INPUT, _NODE_OUTPUT, _TENSOR_NAME, _VALUE_NAME = 1, 2, 8, 1
_DIMS, _DATA_TYPE, _RAW_DATA, _DATA_LOCATION = 1, 2, 9, 14
_TYPED_DATA = {4: 4, 5: 1, 7: 1, 10: 8, 11: 1}
"""Fields of a tensor with numbers, and the minimum bytes of a number; strings are in field 6, raw bytes in 9."""
_BITS = {
    **dict.fromkeys((2, 3, 9, 17, 18, 19, 20, 24), 8),
    **dict.fromkeys((4, 5, 10, 16), 16),
    **dict.fromkeys((1, 6, 12), 32),
    **dict.fromkeys((7, 11, 13, 14), 64),
    **dict.fromkeys((21, 22, 23), 4),
    **dict.fromkeys((25, 26), 2),
    15: 128,
}
"""Bits of an element of every tensor type (`TensorProto.DataType`) except strings (8)."""


def check_onnx(model: bytes) -> None:
    """Reject models with features that exported models do not have.

    Args:
        model: a serialised `ModelProto`.

    Raises:
        ValueError: the model is not valid ONNX or has such features; the message continues "its model.onnx ".
    """
    _ModelChecker().model(memoryview(model))


def operator_names(model: bytes) -> frozenset[str]:
    """Return the names of all operators of the main graph, those of other domains as DOMAIN::NAME.

    Raises:
        ValueError: the bytes are not a protobuf message.
    """
    found = set()
    for part in _submessages(memoryview(model), 7):
        for node in _submessages(part, 1):
            name, domain = _operator(node)
            found.add(_qualified_name(name, domain))
    return frozenset(found)


class _ModelChecker:
    """Checks one model in a single pass."""

    def __init__(self) -> None:
        self._left = _MAX_FIELDS

    def model(self, message: memoryview) -> None:
        """Check a model."""
        try:
            inner = self._message("model", message)
            _check_parts(inner)
        except _RefusedError:
            raise
        except ValueError as error:
            raise ValueError(f"is no ONNX model ({error})") from None

    def _message(self, kind: str, message: memoryview) -> list[tuple[str, memoryview]]:
        """Check a message and all nested ones; return the nested ones."""
        inner = []
        known, refused = _INNER.get(kind, {}), _REFUSED.get(kind, {})
        for field in self._fields(message):
            if field.number in refused:
                raise _RefusedError(refused[field.number])
            if (holds := known.get(field.number)) is not None:
                inner.append((holds, _bytes(field)))
                self._one(*inner[-1])
        return inner

    def _one(self, kind: str, message: memoryview) -> None:
        if kind == "tensor":
            self._tensor(message)
            return
        if kind == "opset":
            _check_opset(message)
            return
        if kind == "node":
            name, domain = _operator(message)
            if domain not in _DEFAULT_DOMAINS or name not in OPERATORS:
                raise _RefusedError(f"the operator {_qualified_name(name, domain)!r}")
        self._message(kind, message)

    def _tensor(self, message: memoryview) -> None:
        """Check that a tensor contains as many numbers as its shape says."""
        dims: list[int] = []
        kinds: set[int] = set()
        raw: list[memoryview] = []
        typed = 0
        for field in self._fields(message):
            number = field.number
            if number in _REFUSED["tensor"] or (number == _DATA_LOCATION and _integer(field) != 0):
                raise _RefusedError(_REFUSED["tensor"].get(number, "weights in other files"))
            if number == _DIMS:
                dims += _integers(field, _MAX_DIMS - len(dims))
            elif number == _DATA_TYPE:
                kinds.add(_integer(field))
            elif number == _RAW_DATA:
                raw.append(_bytes(field))
            elif number in _TYPED_DATA:
                size = len(field.value) if isinstance(field.value, memoryview) else 1
                typed += size // _TYPED_DATA[number]
        if len(kinds) != 1 or not kinds <= _BITS.keys() or any(dim >> 62 for dim in dims):
            raise ValueError("a tensor has no type or no shape")
        count, bits = prod(dims), _BITS[kinds.pop()]
        # Several numbers of less than eight bits are stored in one byte.
        room = typed * max(1, 8 // bits)
        if count > room if not raw else typed or len(raw) > 1 or len(raw[0]) != -(-count * bits // 8):
            raise ValueError("a tensor does not hold the numbers of its shape")

    def _fields(self, message: memoryview) -> Iterator[Field]:
        for field in iter_fields(message):
            self._left -= 1
            if self._left < 0:
                raise ValueError("it has too many parts")
            yield field


class _RefusedError(ValueError):
    """A model has a feature that exported models do not have."""

    def __init__(self, what: str) -> None:
        super().__init__(f"has {what}, which no model that Assay exports has")


def _operator(node: memoryview) -> tuple[str, str]:
    """Return an operator's name and domain."""
    result = {4: "", 7: ""}
    for field in iter_fields(node):
        if field.number in result:
            if result[field.number]:
                raise ValueError("an operator has two names")
            result[field.number] = _text(field)
    return result[4], result[7]


def _qualified_name(name: str, domain: str) -> str:
    return (name if domain in _DEFAULT_DOMAINS else f"{domain}::{name}")[:80]


def _check_parts(parts: Sequence[tuple[str, memoryview]]) -> None:
    """Check the parts of a model together."""
    graphs = [part for kind, part in parts if kind == "graph"]
    domains = [_opset_domain(part) for kind, part in parts if kind == "opset"]
    if len(graphs) != 1 or not domains:
        raise ValueError("it needs one graph and its operator set")
    if len(set(domains)) != len(domains):
        raise ValueError("it has two operator sets of one domain")
    _check_order(graphs[0])


def _opset_domain(message: memoryview) -> str:
    """Return the domain of an operator set; the default one has two names."""
    domain = "".join(_text(field) for field in iter_fields(message) if field.number == 1)
    return "" if domain in _DEFAULT_DOMAINS else domain


def _check_order(graph: memoryview) -> None:
    """Check that each value is defined once, before it is used.

    ONNX requires this, but OpenVINO does not check it and follows a cycle until the memory is full.

    Raises:
        ValueError: a value is defined twice, or used before it is defined.
    """
    nodes: list[tuple[list[bytes], list[bytes]]] = []
    made: set[bytes] = set()
    weights: set[bytes] = set()
    for field in iter_fields(graph):
        if field.number == _NODE:
            nodes.append(_inputs_and_outputs(_bytes(field)))
        elif field.number == _INITIALIZER:
            _define(weights, _names(field, _TENSOR_NAME))
        elif field.number == _GRAPH_INPUT:
            _define(made, _names(field, _VALUE_NAME))
    # An initializer may provide the default value of an input.
    made |= weights
    for inputs, outputs in nodes:
        if missing := [name for name in inputs if name and name not in made]:
            raise ValueError(f"{_quoted(missing[0])} is used before it is made")
        _define(made, outputs)


def _define(made: set[bytes], names: Sequence[bytes]) -> None:
    for name in filter(None, names):
        if name in made:
            raise ValueError(f"{_quoted(name)} is made twice")
        made.add(name)


def _inputs_and_outputs(node: memoryview) -> tuple[list[bytes], list[bytes]]:
    """Return the names of the inputs and of the outputs of a node."""
    inputs: list[bytes] = []
    outputs: list[bytes] = []
    for field in iter_fields(node):
        if field.number == _NODE_INPUT:
            inputs.append(bytes(_bytes(field)))
        elif field.number == _NODE_OUTPUT:
            outputs.append(bytes(_bytes(field)))
    return inputs, outputs


def _names(holder: Field, number: int) -> list[bytes]:
    return [bytes(part) for part in _submessages(_bytes(holder), number)]


def _quoted(name: bytes) -> str:
    return repr(name.decode("utf-8", "backslashreplace")[:80])


def _check_opset(message: memoryview) -> None:
    domain, version, versions = "", 0, 0
    for field in iter_fields(message):
        if field.number == 1:
            domain = _text(field)
        elif field.number == 2:
            version, versions = _integer(field), versions + 1
    if versions > 1 or (domain in _DEFAULT_DOMAINS and not MIN_OPSET <= version <= MAX_OPSET):
        raise _RefusedError(f"the operator set {version}")


def _submessages(message: memoryview, number: int) -> Iterator[memoryview]:
    return (_bytes(field) for field in iter_fields(message) if field.number == number)


def _bytes(field: Field) -> memoryview:
    if not isinstance(field.value, memoryview) or field.wire != BYTES:
        raise ValueError(f"field {field.number} has the wire type {field.wire}")
    return field.value


def _integer(field: Field) -> int:
    if not isinstance(field.value, int):
        raise ValueError(f"field {field.number} has the wire type {field.wire}")  # noqa: TRY004
    return field.value


def _integers(field: Field, most: int) -> list[int]:
    """Return the numbers of a repeated field, packed or not, if there are at most `most`."""
    packed = None if field.wire == VARINT else _bytes(field)
    # Checked first: a malicious tensor may have hundreds of millions of dimensions, whose product takes hours.
    if most < 1 or (packed is not None and len(packed) > 10 * most):
        raise ValueError("a tensor has too many dimensions")
    if packed is None:
        return [_integer(field)]
    # Packed numbers are consecutive varints: parse them as fields.
    tagged = bytearray()
    for byte in packed:
        if not tagged or tagged[-1] < 0x80:
            tagged.append(8)
        tagged.append(byte)
    return [_integer(item) for item in iter_fields(memoryview(tagged))]


def _text(field: Field) -> str:
    return bytes(_bytes(field)).decode("utf-8", "backslashreplace")
