"""ONNX models with features that exports never have are rejected, in any encoding."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from assay.bundle.onnx_validation import check_onnx, operator_names

Place = Callable[[onnx.TensorProto], onnx.ModelProto]


def inside() -> onnx.TensorProto:
    return numpy_helper.from_array(np.ones((2, 2), np.float32), "w")


def outside() -> onnx.TensorProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2, 2])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    return tensor


def model_of(graph: onnx.GraphProto, **more: Any) -> onnx.ModelProto:
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10, **more)


def graph_of(*nodes: onnx.NodeProto, tensors: tuple[onnx.TensorProto, ...] = ()) -> onnx.GraphProto:
    taken = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N"])
    return helper.make_graph(nodes, "g", [taken], [], tensors)


def refusal(content: bytes) -> str:
    with pytest.raises(ValueError, match=r"^(is no ONNX model|has )") as caught:
        check_onnx(content)
    return str(caught.value)


def in_initializer(tensor: onnx.TensorProto) -> onnx.ModelProto:
    return model_of(graph_of(tensors=(tensor,)))


def in_constant(tensor: onnx.TensorProto) -> onnx.ModelProto:
    return model_of(graph_of(helper.make_node("Constant", [], ["c"], value=tensor)))


def in_tensors_of_an_attribute(tensor: onnx.TensorProto) -> onnx.ModelProto:
    node = helper.make_node("Identity", ["x"], ["y"])
    node.attribute.add(name="all", type=onnx.AttributeProto.TENSORS).tensors.append(tensor)
    return model_of(graph_of(node))


def in_branch(tensor: onnx.TensorProto) -> onnx.ModelProto:
    branch = graph_of(tensors=(tensor,))
    return model_of(graph_of(helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=graph_of())))


def in_graphs_of_an_allowed_operator(tensor: onnx.TensorProto) -> onnx.ModelProto:
    node = helper.make_node("Identity", ["x"], ["y"])
    node.attribute.add(name="g", type=onnx.AttributeProto.GRAPHS).graphs.append(graph_of(tensors=(tensor,)))
    return model_of(graph_of(node))


def in_sparse_initializer(tensor: onnx.TensorProto) -> onnx.ModelProto:
    graph = graph_of()
    graph.sparse_initializer.add(values=tensor, dims=[4])
    return model_of(graph)


def in_sparse_constant(tensor: onnx.TensorProto) -> onnx.ModelProto:
    sparse = onnx.SparseTensorProto(values=tensor, indices=tensor, dims=[4])
    node = helper.make_node("Constant", [], ["c"])
    node.attribute.add(name="sparse_value", type=onnx.AttributeProto.SPARSE_TENSOR).sparse_tensor.CopyFrom(sparse)
    return model_of(graph_of(node))


def in_function(tensor: onnx.TensorProto) -> onnx.ModelProto:
    node = helper.make_node("Constant", [], ["c"], value=tensor)
    function = helper.make_function("own", "f", [], ["c"], [node], [helper.make_opsetid("", 18)])
    return model_of(graph_of(), functions=[function])


def in_training(tensor: onnx.TensorProto) -> onnx.ModelProto:
    model = model_of(graph_of())
    model.training_info.add(algorithm=graph_of(tensors=(tensor,)))
    return model


PLAIN = [in_initializer, in_constant, in_tensors_of_an_attribute]
NEVER = [
    in_branch,
    in_graphs_of_an_allowed_operator,
    in_sparse_initializer,
    in_sparse_constant,
    in_function,
    in_training,
]


@pytest.mark.parametrize("place", PLAIN)
def test_external_weights_are_rejected(place: Place) -> None:
    check_onnx(place(inside()).SerializeToString())
    assert "weights in other files" in refusal(place(outside()).SerializeToString())


@pytest.mark.parametrize("place", NEVER)
def test_features_of_no_export_are_rejected(place: Place) -> None:
    for tensor in (inside(), outside()):
        assert "which no model that Assay exports has" in refusal(place(tensor).SerializeToString())


def test_location_or_flag_of_external_data_is_enough() -> None:
    for cleared in ("data_location", "external_data"):
        tensor = outside()
        tensor.ClearField(cleared)
        assert "weights in other files" in refusal(in_initializer(tensor).SerializeToString())


def number(value: int, length: int = 0) -> bytes:
    """A varint, padded to `length` bytes."""
    parts = []
    while value > 0x7F or len(parts) + 1 < length:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def field(tag: bytes, content: bytes) -> bytes:
    return tag + number(len(content)) + content


LOCATION = outside().external_data[0].SerializeToString()
EXTERNAL, FLAG = 13 << 3 | 2, 14 << 3


@pytest.mark.parametrize("place", PLAIN)
@pytest.mark.parametrize(
    "hidden",
    [
        *(field(number(EXTERNAL + (high << 32)), LOCATION) for high in (1, 2, 5, 7)),
        *(number(FLAG + (high << 32)) + b"\1" for high in (1, 4, 7)),
        *(field(number(EXTERNAL, length), LOCATION) for length in (2, 3, 5, 10)),
        number(FLAG) + number(1, 2),
        number(FLAG) + number((1 << 32) + 1),
        number(EXTERNAL) + number(len(LOCATION), 5) + LOCATION,
        number(1 << 3 | 3) + field(number(EXTERNAL), LOCATION) + number(1 << 3 | 4),
        b"\x06" + field(number(EXTERNAL), LOCATION),
        b"\x00\x00" + field(number(EXTERNAL), LOCATION),
    ],
)
def test_noncanonical_encodings_are_rejected(place: Place, hidden: bytes) -> None:
    marker = b"here be the hidden field"
    tensor = inside()
    tensor.doc_string = marker.decode()
    content = place(tensor).SerializeToString()
    whole = field(number(12 << 3 | 2), marker)
    assert content.count(whole) == 1
    # Padded to the same length, so that the sizes around it stay right.
    rest = len(whole) - len(hidden)
    padding = field(number(12 << 3 | 2), bytes(rest - 2)) if rest >= 2 else b""
    if len(hidden) + len(padding) != len(whole):
        content = grown(place, hidden)
    else:
        content = content.replace(whole, hidden + padding)
    refusal(content)


def grown(place: Place, hidden: bytes) -> bytes:
    """The same with a longer text to be replaced."""
    tensor = inside()
    tensor.doc_string = "x" * (len(hidden) + 20)
    whole = field(number(12 << 3 | 2), tensor.doc_string.encode())
    padding = field(number(12 << 3 | 2), bytes(len(whole) - len(hidden) - 2))
    assert len(hidden) + len(padding) == len(whole)
    return place(tensor).SerializeToString().replace(whole, hidden + padding)


@pytest.mark.parametrize(
    ("name", "domain"),
    [
        ("Loop", ""),
        ("Scan", "ai.onnx"),
        ("If", ""),
        ("SequenceMap", ""),
        ("RandomNormal", ""),
        ("StringConcat", ""),
        ("ImageDecoder", ""),
        ("TfIdfVectorizer", ""),
        ("Conv", "com.microsoft"),
        ("Relu", "own"),
        ("TreeEnsemble", "ai.onnx.ml"),
        ("relu", ""),
        ("Relu\0", ""),
        ("", ""),
    ],
)
def test_other_operators_are_rejected(name: str, domain: str) -> None:
    content = model_of(graph_of(helper.make_node(name, ["x"], ["y"], domain=domain))).SerializeToString()
    assert "operator" in refusal(content)


def test_operators_with_two_names_are_rejected() -> None:
    node = helper.make_node("Relu", ["x"], ["y"]).SerializeToString() + field(number(4 << 3 | 2), b"Loop")
    graph = field(number(1 << 3 | 2), node)
    model = model_of(graph_of()).SerializeToString()
    whole = field(number(7 << 3 | 2), graph) + b"\x42\x02\x10\x12"
    refusal(whole)
    refusal(model + whole)  # a second graph is merged with the first


@pytest.mark.parametrize("version", [0, 1, 12, 33, 999, 2**31, 2**63 - 1, -1])
def test_invalid_operator_sets_are_rejected(version: int) -> None:
    model = model_of(graph_of())
    model.opset_import[0].version = version
    assert "operator set" in refusal(model.SerializeToString())


@pytest.mark.parametrize(
    "tensor",
    [
        TensorProto(data_type=TensorProto.FLOAT, dims=[2, 2]),
        TensorProto(data_type=TensorProto.FLOAT, dims=[2**40, 2**20], raw_data=bytes(16)),
        TensorProto(data_type=TensorProto.FLOAT, dims=[2, 2], raw_data=bytes(15)),
        TensorProto(data_type=TensorProto.FLOAT, dims=[-2, -2], raw_data=bytes(16)),
        TensorProto(data_type=TensorProto.INT64, dims=[3], int64_data=[1, 2]),
        TensorProto(data_type=TensorProto.FLOAT, dims=[2], raw_data=bytes(8), float_data=[1, 2]),
        TensorProto(data_type=99, dims=[1], raw_data=bytes(4)),
        TensorProto(dims=[1], raw_data=bytes(4)),
        TensorProto(data_type=TensorProto.STRING, dims=[1], string_data=[b"x"]),
    ],
)
def test_tensors_must_contain_all_their_numbers(tensor: onnx.TensorProto) -> None:
    refusal(in_initializer(tensor).SerializeToString())
    refusal(in_constant(tensor).SerializeToString())


@pytest.mark.parametrize(
    "tensor",
    [
        helper.make_tensor("a", TensorProto.FLOAT, [2, 2], [1, 2, 3, 4]),
        helper.make_tensor("b", TensorProto.INT64, [], [7]),
        helper.make_tensor("c", TensorProto.INT64, [0], []),
        helper.make_tensor("d", TensorProto.BOOL, [3], [True, False, True]),
        helper.make_tensor("e", TensorProto.INT64, [2], [-1, 2**40]),
        helper.make_tensor("f", TensorProto.FLOAT16, [2], [0.5, 1]),
        helper.make_tensor("g", TensorProto.INT4, [3], [1, -2, 3]),
        numpy_helper.from_array(np.arange(5, dtype=np.int8)),
        numpy_helper.from_array(np.ones((3, 1, 2), np.float64)),
    ],
)
def test_valid_tensors_are_accepted(tensor: onnx.TensorProto) -> None:
    check_onnx(in_initializer(tensor).SerializeToString())


def test_other_bytes_are_rejected() -> None:
    for content in (b"", b"PK\3\4", b"\x80\x04\x95", b"\x08\x0a", bytes(100)):
        assert refusal(content).startswith("is no ONNX model")


@settings(max_examples=300)
@given(st.binary(max_size=60), st.integers(0, 10**6))
def test_damaged_models_load_or_raise(piece: bytes, place: int) -> None:
    content = in_constant(inside()).SerializeToString()
    at = place % len(content)
    reasons: list[str] = []
    try:
        check_onnx(content[:at] + piece + content[at + len(piece) :])
    except ValueError as error:
        reasons.append(str(error))
    assert all(reason.startswith(("is no ONNX model", "has ")) for reason in reasons)


def test_operator_names_include_their_domain() -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["y"]),
        helper.make_node("Own", ["y"], ["z"], domain="com.example"),
    ]
    assert operator_names(model_of(graph_of(*nodes)).SerializeToString()) == {"Relu", "com.example::Own"}


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(("count", "one"), [(700, 1), (200_000, 2**61), (2_000_000, 0)])
def test_too_many_dimensions_are_rejected_at_once(packed: bool, count: int, one: int) -> None:
    numbers = number(one) * count
    dims = field(number(1 << 3 | 2), numbers) if packed else (number(1 << 3) + number(one)) * count
    tensor = dims + number(2 << 3) + number(TensorProto.FLOAT) + field(number(8 << 3 | 2), b"w")
    model = field(number(7 << 3 | 2), field(number(5 << 3 | 2), tensor)) + b"\x42\x02\x10\x12"
    began = time.process_time()
    assert "too many dimensions" in refusal(model)
    assert time.process_time() - began < 2


def circle() -> onnx.GraphProto:
    return graph_of(helper.make_node("Relu", ["a"], ["b"]), helper.make_node("Neg", ["b"], ["a"]))


def of_itself() -> onnx.GraphProto:
    return graph_of(helper.make_node("Relu", ["a"], ["a"]))


def late() -> onnx.GraphProto:
    return graph_of(
        helper.make_node("Relu", ["w2"], ["b"]), helper.make_node("Neg", ["w"], ["w2"]), tensors=(inside(),)
    )


def two_nodes() -> onnx.GraphProto:
    return graph_of(helper.make_node("Relu", ["w"], ["b"]), helper.make_node("Neg", ["w"], ["b"]), tensors=(inside(),))


def two_outputs() -> onnx.GraphProto:
    return graph_of(helper.make_node("Split", ["w"], ["b", "b"]), tensors=(inside(),))


def over_a_weight() -> onnx.GraphProto:
    return graph_of(helper.make_node("Relu", ["w"], ["w"]), tensors=(inside(),))


def two_weights() -> onnx.GraphProto:
    return graph_of(tensors=(inside(), inside()))


@pytest.mark.parametrize("graph", [circle, of_itself, late, two_nodes, two_outputs, over_a_weight, two_weights])
def test_values_must_be_defined_once_and_before_use(graph: Callable[[], onnx.GraphProto]) -> None:
    assert "is made twice" in (message := refusal(model_of(graph()).SerializeToString())) or (
        "is used before it is made" in message
    )


def test_initializers_can_be_inputs_and_optional_inputs_empty() -> None:
    graph = graph_of(helper.make_node("Clip", ["w", "", "w"], ["c"]), tensors=(inside(),))
    graph.input.add(name="w")
    check_onnx(model_of(graph).SerializeToString())


@pytest.mark.parametrize("domains", [("", ""), ("", "ai.onnx"), ("own", "own")])
def test_two_operator_sets_of_one_domain_are_rejected(domains: tuple[str, str]) -> None:
    model = model_of(graph_of())
    for domain in domains:
        model.opset_import.add(domain=domain, version=18)
    if "" not in domains:
        assert "one domain" in refusal(model.SerializeToString())
    del model.opset_import[0]
    assert "one domain" in refusal(model.SerializeToString())
