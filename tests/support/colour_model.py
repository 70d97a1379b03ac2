"""An ONNX classifier that needs no training: its logits are the mean of each colour channel."""

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

_WIDE = 128


def colour_model(
    *, side: int | str = 16, classes: int = 3, input_type: int = TensorProto.UINT8, convolutions: int = 0
) -> ModelProto:
    """Build a model whose logits are ten times the mean of each channel on a 0-1 scale.

    Args:
        side: of the input in pixels, or the name of a free dimension.
        classes: outputs; those after the third are 0.
        input_type: ONNX element type of the input.
        convolutions: layers that only take time and do not change the logits.
    """
    constants = {
        "full": np.array(255, np.float32),
        "axes": np.array([2, 3], np.int64),
        "head": 10 * np.eye(3, classes, dtype=np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["chw"], perm=[0, 3, 1, 2]),
        helper.make_node("Div", ["chw", "full"], ["unit"]),
        helper.make_node("AveragePool", ["unit"], ["featuremap"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("ReduceMean", ["featuremap", "axes"], ["embedding"], keepdims=0),
    ]
    last = "embedding"
    if convolutions:
        assert isinstance(side, int)
        last = _slow_down(nodes, constants, convolutions, side)
    nodes.append(helper.make_node("MatMul", [last, "head"], ["logits"]))
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("images", input_type, ["N", side, side, 3])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", classes]),
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", 3]),
            helper.make_tensor_value_info("featuremap", TensorProto.FLOAT, ["N", 3, "h", "w"]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def _slow_down(nodes: list[NodeProto], constants: dict[str, np.ndarray], convolutions: int, side: int) -> str:
    rng = np.random.default_rng(0)
    constants["sizes"] = np.array([1, 1, _WIDE // side, _WIDE // side], np.float32)
    constants["little"] = np.array(1e-9, np.float32)
    nodes.append(helper.make_node("Resize", ["unit", "", "sizes"], ["wide0"], mode="nearest"))
    for number in range(convolutions):
        inputs = 3 if number == 0 else 64
        outputs = 64 if number < convolutions - 1 else 3
        constants[f"weights{number}"] = rng.normal(0, 0.05, (outputs, inputs, 3, 3)).astype(np.float32)
        names = [f"wide{number}", f"weights{number}"]
        nodes.append(helper.make_node("Conv", names, [f"wide{number + 1}"], pads=[1, 1, 1, 1]))
    nodes += [
        helper.make_node("ReduceMean", [f"wide{convolutions}", "axes"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "little"], ["zero"]),
        helper.make_node("Add", ["embedding", "zero"], ["slow"]),
    ]
    return "slow"
