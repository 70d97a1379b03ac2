"""Models with invalid outputs or unusual features are rejected before any prediction."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from safetensors.numpy import save

from assay.bundle import BundleError, BundleInfo, pack_bundle
from assay.cli.main import main
from assay.inference import ENGINES, Classifier, EngineError, create_engine

Change = Callable[[onnx.ModelProto], None]


def after(output: str, *nodes: tuple[str, list[str], dict[str, object]], **tensors: np.ndarray) -> Change:
    """Put operators between an output and what it was made by; their input @ is what it was."""

    def change(model: onnx.ModelProto) -> None:
        graph = model.graph
        for node in graph.node:
            for names in (node.output, node.input):
                for index, name in enumerate(names):
                    if name == output:
                        names[index] = "before"
        last = "before"
        for number, (kind, inputs, attributes) in enumerate(nodes):
            made = output if number == len(nodes) - 1 else f"after{number}"
            given = [last if name == "@" else name for name in inputs]
            graph.node.append(helper.make_node(kind, given, [made], **attributes))
            last = made
        graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in tensors.items())

    return change


def declared(model: onnx.ModelProto, output: str, kind: int, shape: list[object]) -> None:
    """Declare another type and shape of an output."""
    for entry in model.graph.output:
        if entry.name == output:
            entry.CopyFrom(helper.make_tensor_value_info(output, kind, shape))


def times(value: float) -> Change:
    return after("logits", ("Mul", ["@", "factor"], {}), factor=np.array(value, np.float32))


def over_itself(model: onnx.ModelProto) -> None:
    """NaN for a black photo alone."""
    after("logits", ("Div", ["@", "@"], {}))(model)


def one_class(model: onnx.ModelProto) -> None:
    factor = np.array([1, np.nan, 1], np.float32)
    after("logits", ("Mul", ["@", "factor"], {}), factor=factor)(model)


def of_type(kind: int) -> Change:
    def change(model: onnx.ModelProto) -> None:
        after("logits", ("Cast", ["@"], {"to": kind}))(model)
        declared(model, "logits", kind, ["N", 3])

    return change


def rows(model: onnx.ModelProto) -> None:
    """Two rows a photo."""
    after("logits", ("Concat", ["@", "@"], {"axis": 0}))(model)
    declared(model, "logits", TensorProto.FLOAT, ["M", 3])


def flat_map(model: onnx.ModelProto) -> None:
    after("featuremap", ("Flatten", ["@"], {}))(model)
    # The embedding is made of what the map was.
    for node in model.graph.node:
        if node.op_type == "Flatten":
            node.input[0] = "before"
    declared(model, "featuremap", TensorProto.FLOAT, ["N", "K"])


def embedding_nan(model: onnx.ModelProto) -> None:
    after("embedding", ("Mul", ["@", "factor"], {}), factor=np.array(np.nan, np.float32))(model)
    for node in model.graph.node:
        if node.op_type == "MatMul":
            node.input[0] = "before"


def loop(model: onnx.ModelProto) -> None:
    """One that never ends."""
    floats = TensorProto.FLOAT
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Identity", ["x"], ["y"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", floats, ["N", 3]),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("y", floats, ["N", 3]),
        ],
    )
    forever = np.array(2**62, np.int64)
    go = np.ones((), bool)
    after("logits", ("Loop", ["forever", "go", "@"], {"body": body}), forever=forever, go=go)(model)


def absurd_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 4000


REASONS: list[tuple[Change, str]] = [
    (times(np.nan), "its output logits is not finite"),
    (times(np.inf), "its output logits is not finite"),
    (over_itself, "its output logits is not finite"),
    (one_class, "its output logits is not finite"),
    (embedding_nan, "its output embedding is not finite"),
    (of_type(TensorProto.DOUBLE), "output logits is float64"),
    (of_type(TensorProto.INT32), "output logits is int32"),
    (rows, r"output logits is float32 \[8, 3\]"),
    (flat_map, "output featuremap is float32"),
    (loop, "the operator 'Loop'"),
    (absurd_opset, "the operator set 4000"),
]


def changed(make_model: Callable[..., bytes], change: Change) -> bytes:
    model = onnx.load_from_string(make_model())
    change(model)
    content: bytes = model.SerializeToString()
    return content


@pytest.mark.parametrize("engine", list(ENGINES))
@pytest.mark.parametrize(("change", "reason"), REASONS)
def test_invalid_model_raises_when_loaded(
    change: Change,
    reason: str,
    engine: str,
    make_model: Callable[..., bytes],
    make_bundle: Callable[..., Path],
) -> None:
    path = make_bundle(changed(make_model, change))
    for _ in range(2):  # a compiled model that fails the check is not cached
        with pytest.raises(BundleError, match=rf"colours\.assay cannot be (run|used): .*{reason}"):
            Classifier.load(path, engine)


def test_int8_model_is_checked_too(info: BundleInfo, make_model: Callable[..., bytes], tmp_path: Path) -> None:
    for change, reason in (REASONS[0], REASONS[-2]):
        members = {"model.onnx": make_model(), "model.int8.onnx": changed(make_model, change)}
        weights = {"weights.safetensors": save({"head.fc.weight": np.eye(3, dtype=np.float32)})}
        path = tmp_path / "two.assay"
        pack_bundle(path, info, {**members, **weights})
        Classifier.load(path)
        with pytest.raises(BundleError, match=reason):
            Classifier.load(path, precision="int8")


def test_nonfinite_outputs_raise_at_prediction(
    make_model: Callable[..., bytes], make_bundle: Callable[..., Path]
) -> None:
    # Infinite where red exceeds green and blue, which does not occur in the synthetic images.
    def change(model: onnx.ModelProto) -> None:
        onlyred = np.array([[1, 0, 0], [-1, 0, 0], [-1, 0, 0]], np.float32) * 1e2
        nodes = [("MatMul", ["before", "mix"], {}), ("Exp", ["@"], {})]
        after("logits", *nodes, mix=onlyred)(model)

    classifier = Classifier.load(make_bundle(changed(make_model, change)))
    with pytest.raises(BundleError, match=r"colours\.assay cannot predict: its output logits is not finite"):
        classifier.predict(np.full((16, 16, 3), (255, 0, 0), np.uint8))


@pytest.mark.parametrize("engine", list(ENGINES))
@pytest.mark.parametrize("photos", [1, 3, 5])
def test_every_batch_has_one_prediction_per_image(
    photos: int, engine: str, make_model: Callable[..., bytes], make_bundle: Callable[..., Path]
) -> None:
    """Always return four rows: correct for the four synthetic images only."""

    def four(model: onnx.ModelProto) -> None:
        after("logits", ("Gather", ["@", "first"], {"axis": 0}), first=np.zeros(4, np.int64))(model)
        declared(model, "logits", TensorProto.FLOAT, ["M", 3])

    classifier = Classifier.load(make_bundle(changed(make_model, four)), engine)
    with pytest.raises(BundleError, match=r"colours\.assay cannot predict: its output logits is float32 \[4, 3\]"):
        classifier.predict_pixels(np.zeros((photos, 16, 16, 3), np.uint8))


def test_nonfinite_embedding_raises(make_model: Callable[..., bytes], make_bundle: Callable[..., Path]) -> None:
    def change(model: onnx.ModelProto) -> None:
        embedding_nan(model)
        for node in model.graph.node:
            if node.op_type == "Mul":  # NaN where blue exceeds red, which does not occur in the synthetic images
                node.op_type = "MatMul"
                node.output[0] = "bluer"
        model.graph.node.append(helper.make_node("Sqrt", ["bluer"], ["root"]))
        model.graph.node.append(helper.make_node("Concat", ["root"], ["embedding"], axis=1))
        for tensor in model.graph.initializer:
            if tensor.name == "factor":
                least = np.array([[1, 0, 0], [0, 1, 0], [-1, 0, 1]], np.float32)
                tensor.CopyFrom(numpy_helper.from_array(least, "factor"))
        bias = np.array([0.5, 0, 0], np.float32)
        model.graph.initializer.append(numpy_helper.from_array(bias, "bias"))
        root = next(node for node in model.graph.node if node.op_type == "Sqrt")
        root.input[0] = "raised"
        model.graph.node.insert(
            list(model.graph.node).index(root), helper.make_node("Add", ["bluer", "bias"], ["raised"])
        )

    classifier = Classifier.load(make_bundle(changed(make_model, change)))
    with pytest.raises(BundleError, match=r"colours\.assay cannot predict: its output embedding is not finite"):
        classifier.predict(np.full((16, 16, 3), (0, 0, 255), np.uint8))


@pytest.mark.parametrize("name", [b"\xff\xfe", b"\xc3\x28", b"\xed\xa0\x80"])
@pytest.mark.parametrize("place", ["input", "output"])
def test_non_utf8_names_raise_an_assay_error(
    name: bytes,
    place: str,
    make_model: Callable[..., bytes],
    make_bundle: Callable[..., Path],
    capfd: pytest.CaptureFixture[str],
) -> None:
    mark = "n" * len(name)

    def change(model: onnx.ModelProto) -> None:
        if place == "input":
            model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = mark
        else:
            model.graph.node.append(helper.make_node("Identity", ["logits"], [mark]))
            model.graph.output.append(helper.make_tensor_value_info(mark, TensorProto.FLOAT, ["N", 3]))

    content = changed(make_model, change).replace(mark.encode(), name)
    with pytest.raises(BundleError, match=r"colours\.assay cannot be run: "):
        Classifier.load(make_bundle(content), "onnxruntime")
    assert "EP Error" not in capfd.readouterr().out


@pytest.fixture(params=[times(np.nan), loop], ids=["nan", "loop"])
def hostile(request: pytest.FixtureRequest, make_model: Callable[..., bytes], make_bundle: Callable[..., Path]) -> Path:
    return make_bundle(changed(make_model, request.param))


@pytest.mark.parametrize(
    "command",
    [
        ["predict", "MODEL", "PHOTOS/red/1.png"],
        ["predict", "MODEL", "PHOTOS", "--out", "OUT/answers.csv"],
        ["evaluate", "MODEL", "PHOTOS", "--out", "OUT/evaluated"],
        ["explain", "MODEL", "PHOTOS/red/1.png", "--out", "OUT/why"],
        ["bench", "MODEL", "PHOTOS", "--seconds", "0.1"],
        ["watch", "MODEL", "PHOTOS/red", "--no-window"],
        ["export", "MODEL", "--to", "OUT/exported", "--check", "PHOTOS/red/1.png"],
        ["serve", "MODEL", "--port", "0"],
    ],
    ids=lambda command: command[0],
)
def test_every_command_reports_an_invalid_model(
    command: list[str], hostile: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for label in ("red", "green"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(3):
            photo = Image.new("RGB", (16, 16), (number * 50, 0, 9))
            photo.save(tmp_path / "photos" / label / f"{number}.png")
    given = {"MODEL": str(hostile), "PHOTOS": str(tmp_path / "photos"), "OUT": str(tmp_path)}
    with pytest.raises(SystemExit) as stop:
        main(_filled(command, given))
    result = capsys.readouterr()
    assert stop.value.code == 1
    assert re.search(r"colours\.assay cannot be (run|used): it", result.out + result.err)
    assert "Traceback" not in result.err
    assert " nan" not in result.out
    assert command[0] == "bench" or (result.err.startswith("assay: ") and result.err.count("\n") == 1)
    assert not (tmp_path / "exported").exists()


def _filled(command: list[str], given: dict[str, str]) -> list[str]:
    filled = []
    for word in command:
        start, slash, rest = word.partition("/")
        filled.append(given.get(start, start) + slash + rest)
    return filled


def test_files_in_the_working_directory_are_not_loaded(
    make_model: Callable[..., bytes],
    make_bundle: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Tags of five bytes, whose high bits the runtimes' parser drops, name a file that is there."""
    monkeypatch.chdir(tmp_path)
    Path("planted").write_bytes((20 * np.eye(3, dtype=np.float32)).tobytes())
    model = onnx.load_from_string(make_model())
    head = next(item for item in model.graph.initializer if item.name == "head")
    location = onnx.StringStringEntryProto(key="location", value="planted").SerializeToString()
    head.ClearField("raw_data")
    head.doc_string = "x" * (len(location) + 13)
    whole = bytes([12 << 3 | 2, len(head.doc_string)]) + head.doc_string.encode()
    flag = b"\xf0\x80\x80\x80\x10\x01"
    hidden = b"\xea\x80\x80\x80\x70" + bytes([len(location)]) + location + flag
    padding = bytes([12 << 3 | 2, len(whole) - len(hidden) - 2]) + b"y" * (len(whole) - len(hidden) - 2)
    content = model.SerializeToString()
    assert content.count(whole) == 1
    content = content.replace(whole, hidden + padding)
    with pytest.raises(BundleError, match="is no ONNX model"):
        Classifier.load(make_bundle(content))
    # What an engine alone makes of it: ONNX Runtime looks in no folder.
    with pytest.raises(EngineError):
        create_engine("onnxruntime", content)
