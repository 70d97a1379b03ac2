from collections.abc import Callable

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from assay.bundle.protobuf import has_external_data


def inside() -> onnx.TensorProto:
    return numpy_helper.from_array(np.ones((2, 2), np.float32), "w")


def outside() -> onnx.TensorProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2, 2])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    return tensor


def graph(*, initializer: onnx.TensorProto | None = None, attribute: object = None) -> onnx.GraphProto:
    nodes = [helper.make_node("Constant", [], ["c"], value=attribute)] if attribute is not None else []
    return helper.make_graph(nodes, "g", [], [], [initializer] if initializer else [])


def in_initializer(tensor: onnx.TensorProto) -> onnx.ModelProto:
    return helper.make_model(graph(initializer=tensor))


def in_constant(tensor: onnx.TensorProto) -> onnx.ModelProto:
    return helper.make_model(graph(attribute=tensor))


def in_branch(tensor: onnx.TensorProto) -> onnx.ModelProto:
    node = helper.make_node("If", ["x"], ["y"], then_branch=graph(initializer=tensor), else_branch=graph())
    return helper.make_model(helper.make_graph([node], "g", [], []))


def in_sparse(tensor: onnx.TensorProto) -> onnx.ModelProto:
    whole = graph()
    whole.sparse_initializer.add(values=tensor, dims=[4])
    return helper.make_model(whole)


def in_function(tensor: onnx.TensorProto) -> onnx.ModelProto:
    node = helper.make_node("Constant", [], ["c"], value=tensor)
    function = helper.make_function("own", "f", [], ["c"], [node], [helper.make_opsetid("", 18)])
    return helper.make_model(graph(), functions=[function])


def in_training(tensor: onnx.TensorProto) -> onnx.ModelProto:
    model = helper.make_model(graph())
    model.training_info.add(algorithm=graph(initializer=tensor))
    return model


PLACES = [in_initializer, in_constant, in_branch, in_sparse, in_function, in_training]


@pytest.mark.parametrize("place", PLACES)
def test_weights_in_other_files_are_found_wherever_they_hide(
    place: Callable[[onnx.TensorProto], onnx.ModelProto],
) -> None:
    assert has_external_data(place(outside()).SerializeToString())
    assert not has_external_data(place(inside()).SerializeToString())


def test_a_location_alone_is_enough() -> None:
    tensor = outside()
    tensor.ClearField("data_location")
    assert has_external_data(in_initializer(tensor).SerializeToString())


def test_endless_nesting_is_refused() -> None:
    model = in_initializer(inside())
    for _ in range(20):
        model = in_branch_of(model.graph)
    with pytest.raises(ValueError, match="nested too deeply"):
        has_external_data(model.SerializeToString())


def in_branch_of(inner: onnx.GraphProto) -> onnx.ModelProto:
    node = helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=graph())
    return helper.make_model(helper.make_graph([node], "g", [], []))


@pytest.mark.parametrize("content", [b"\xff" * 11, b"\x3a\x7f", b"\x3b", b"\x08", b"\x39\0\0"])
def test_what_is_no_protobuf_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"a number|a field|wire type"):
        has_external_data(content)


@given(st.binary(max_size=200))
def test_any_bytes_end_in_an_answer_or_a_reason(content: bytes) -> None:
    reasons: list[str] = []
    try:
        has_external_data(content)
    except ValueError as error:
        reasons.append(str(error))
    # What is refused begins like no message; an empty one is a message.
    assert not reasons or (content and reasons[0])
