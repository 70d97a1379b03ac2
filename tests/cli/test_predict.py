"""The command `assay predict`: tables, interruptions, unusual files and outputs."""

import csv
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from assay.bundle import BundleInfo, pack_bundle
from assay.inference import batch_predict
from assay.recipe import PreprocessSpec

_SIDE = 8
_ASSAY = Path(sys.executable).with_name("assay")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose logits are the mean red and the mean green."""
    kinds = {"logits": ["N", 2], "embedding": ["N", 3], "featuremap": ["N", 3, "h", "w"]}
    nodes = [
        helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["featuremap"], perm=[0, 3, 1, 2]),
        helper.make_node("ReduceMean", ["featuremap", "axes"], ["embedding"], keepdims=0),
        helper.make_node("MatMul", ["embedding", "head"], ["logits"]),
    ]
    constants = {"axes": np.array([2, 3], np.int64), "head": np.eye(3, 2, dtype=np.float32)}
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", _SIDE, _SIDE, 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in kinds.items()],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    spec = PreprocessSpec(size=_SIDE, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    path = tmp_path_factory.mktemp("bundle") / "colours.assay"
    pack_bundle(
        path,
        BundleInfo(name="colours", classes=("red", "green"), preprocess=spec),
        {"model.onnx": made.SerializeToString(), "weights.safetensors": b""},
    )
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Folder of 40 red and green photos."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(40):
        colour = (250, 0, 0) if number % 2 else (0, 250, 0)
        Image.new("RGB", (9, 9), colour).save(folder / f"{number:02}.png")
    return folder


def _rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def test_table_of_predictions_with_unreadable_files(assay, model: Path, photos: Path):
    (photos / "empty.jpg").touch()
    (photos / "text.jpg").write_text("no photo", encoding="utf-8")
    (photos / "notes.txt").write_text("no photo", encoding="utf-8")
    out = photos / "answers.csv"
    result = assay("predict", model, photos, "--out", out)
    assert result.code == 1
    assert result.out == f"40 photos classified, 2 unreadable: {out}\n"
    assert result.err.splitlines() == [
        f"assay: {photos / 'empty.jpg'}: empty file",
        f"assay: {photos / 'text.jpg'}: not an image",
        "skipped: 1 not an image",
    ]
    rows = _rows(out)
    assert [row["error"] for row in rows if row["error"]] == ["empty file", "not an image"]
    assert [row["label"] for row in rows[:2]] == ["green", "red"]
    assert {path.name for path in photos.iterdir()} >= {"answers.csv"}
    again = assay("predict", model, photos, "--out", out)  # the table is none of the photos
    assert again.out == result.out


def test_ctrl_c_prints_how_to_resume_and_resuming_works(
    assay, model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    out, whole = tmp_path / "answers.jsonl", tmp_path / "whole.jsonl"
    assay("predict", model, photos, "--out", whole)
    with monkeypatch.context() as patch:
        add = batch_predict.ResumeLog.add

        def interrupted(partial: batch_predict.ResumeLog, rows: object) -> None:
            add(partial, rows)
            signal.raise_signal(signal.SIGINT)

        patch.setattr(batch_predict.ResumeLog, "add", interrupted)
        result = assay("predict", model, photos, "--out", out)
    assert result.code == 130
    kept = f"assay: results so far are in {out}.partial: repeat the command to resume"
    assert result.err.splitlines() == [kept, "assay: interrupted"]
    assert not out.exists()
    result = assay("predict", model, photos, "--out", out)
    assert "16 results from an earlier run" in result.out
    assert out.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--json", "--out", "a.csv"], 2, "--json and --out cannot be combined"),
        (["--out", "a.xls"], 2, "a.xls has an unknown suffix: use .csv, .jsonl, .parquet"),
        (["--out", "folder.csv"], 2, "folder.csv is a folder"),
        (["--out", "file/a.csv"], 1, "cannot write"),
        (["--out", "/proc/a.csv"], 1, "cannot write /proc/a.csv"),
    ],
)
def test_invalid_outputs(  # noqa: PLR0917
    assay,
    model: Path,
    photos: Path,
    options: list[str],
    code: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.chdir(photos)
    (photos / "folder.csv").mkdir()
    (photos / "file").touch()
    result = assay("predict", model, ".", *options)
    assert result.code == code
    assert message in result.err
    assert result.err.count("\n") == 1


def test_full_disk_is_reported_in_one_sentence(model: Path, photos: Path):
    with Path("/dev/full").open("wb") as full:
        run = subprocess.run(
            [_ASSAY, "predict", model, photos], stdout=full, stderr=subprocess.PIPE, check=False, text=True
        )
    assert run.returncode == 1
    assert "No space left on device" in run.stderr
    assert run.stderr.count("\n") == 1


def test_closed_reader_ends_it_quietly(model: Path, photos: Path):
    command = f"{_ASSAY} predict {model} {photos} --json | head -1"
    run = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert run.stdout.count("\n") == 1
    assert not run.stderr


@pytest.mark.parametrize("name", ["answers.csv", "answers.jsonl", "answers.parquet"])
def test_undecodable_file_names_are_accepted(assay, model: Path, photos: Path, tmp_path: Path, name: str):
    Image.new("RGB", (9, 9), (250, 0, 0)).save(photos / "odd.png")
    (photos / "odd.png").rename(Path(os.fsdecode(os.fsencode(photos) + b"/caf\xe9.png")))
    result = assay("predict", model, photos, "--out", tmp_path / name)
    assert result.code == 0
    assert b"caf\\xe9.png" in (tmp_path / name).read_bytes().replace(b"\\\\", b"\\")
    for options in ([], ["--json"]):
        shown = assay("predict", model, photos, *options)
        assert shown.code == 0
        assert "caf\\xe9.png" in shown.out.replace("\\\\", "\\")


def test_pipe_does_not_hang(assay, model: Path, tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.png")
    results = []
    thread = threading.Thread(
        target=lambda: results.append(assay("predict", model, tmp_path / "pipe.png")), daemon=True
    )
    thread.start()
    thread.join(60)
    assert results
    assert results[0].code == 1
    assert results[0].err == f"assay: {tmp_path / 'pipe.png'}: not a file but a pipe, a socket or a device\n"


def test_json_lines_include_unreadable_files(assay, model: Path, photos: Path):
    (photos / "00.png").write_bytes(b"")
    result = assay("predict", model, photos, "--json")
    rows = [json.loads(line) for line in result.out.splitlines()]
    assert rows[0] == {"source": str(photos / "00.png"), "error": "empty file"}
    assert len(rows) == 40
    assert result.code == 1


@pytest.mark.parametrize(
    ("inputs", "out", "message"),
    [
        (["a.parquet"], None, "a.parquet is a parquet file, whose photos are read with --cluster"),
        (["photos", "a.PQ"], "o.csv", "a.PQ is a pq file, whose photos are read with --cluster"),
        (["a.tar"], None, "a.tar is a tar file, whose photos are read with --cluster"),
        (["tables"], None, "tables is a folder of Parquet or tar files, whose photos are read with --cluster"),
        (["s3://bucket/photos"], "o.csv", "s3://bucket/photos is a URL, whose photos are read with --cluster"),
        (["gs://bucket/a.jpg"], None, "gs://bucket/a.jpg is a URL, whose photos are read with --cluster"),
        (["photos"], "s3://bucket/o.csv", "--out s3://bucket/o.csv: only --cluster writes to URLs"),
    ],
)
def test_inputs_that_need_the_option_cluster(  # noqa: PLR0917
    assay, model: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, inputs: list[str], out: str | None, message: str
):
    monkeypatch.chdir(photos.parent)
    for name in ("a.parquet", "a.PQ", "a.tar", "tables/deep/b.parquet"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"x")
    code, _, error = assay("predict", model, *inputs, *([] if out is None else ["--out", out]))
    assert code == 2
    assert " ".join(error.split()).startswith(f"assay: {message}: add --cluster local")
    assert not Path("s3:").exists()


def test_a_folder_of_photos_beside_tables_is_read(assay, model: Path, photos: Path):
    (photos / "predictions.parquet").write_bytes(b"x")
    code, _, error = assay("predict", model, photos, "--json")
    assert (code, error.strip()) == (0, "skipped: 1 not an image")
