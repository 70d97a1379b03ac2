"""Prediction in partitions in this process: the same answers as `assay predict`, resumable, from every source."""

import errno
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import fsspec
import pyarrow as pa
import pytest
from pyarrow import parquet

from assay.core.errors import AssayError, UsageError
from assay.core.files import open_file
from assay.image.ignore_rules import SkippedFiles
from assay.inference.batch_predict import batch_predict
from assay.scale.batch_predict import PredictJob, predict_locally, predict_partitions
from assay.scale.partition_prediction import PartitionResult

MakeJob = Callable[..., PredictJob]
PredictLocal = Callable[..., Path]


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("part-*"))}


def _run(job: PredictJob, *inputs: object) -> None:
    classifier = job.load()
    predict_partitions(job, classifier, [str(name) for name in inputs], predict_locally(job, classifier))


def test_the_rows_are_those_of_one_table(predict_local: PredictLocal, make_job: MakeJob, many_photos: Path, tmp_path):
    folder = predict_local(str(many_photos))
    batch_predict(make_job().load(), sorted(many_photos.iterdir()), tmp_path / "one.parquet")
    one, many = parquet.read_table(tmp_path / "one.parquet"), parquet.read_table(folder)
    assert many.equals(one)
    errors = [(Path(row["path"]).name, row["error"]) for row in many.to_pylist() if row["error"]]
    assert [name for name, _ in errors] == ["300-damaged.png", "empty.jpg"]
    assert errors[1][1] == "empty file"


def test_an_interrupted_run_resumes(predict_local: PredictLocal, make_job: MakeJob, many_photos: Path):
    expected, job = _files(predict_local(str(many_photos))), make_job()
    classifier = job.load()
    calls: list[int] = []

    def interrupted(partitions: Sequence[int]) -> Iterator[PartitionResult]:
        for result in predict_locally(job, classifier)(partitions):
            yield result
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_partitions(job, classifier, [str(many_photos)], interrupted)
    assert list(_files(Path(job.out))) == ["part-000000.parquet"]

    def rest(partitions: Sequence[int]) -> Iterator[PartitionResult]:
        calls.extend(partitions)
        return predict_locally(job, classifier)(partitions)

    summary = predict_partitions(job, classifier, [str(many_photos)], rest)
    assert (summary.count, summary.unreadable, summary.resumed, calls) == (598, 2, 256, [1, 2])
    assert _files(Path(job.out)) == expected


def test_a_run_with_other_settings_or_in_a_used_folder_is_refused(make_job: MakeJob, many_photos: Path, tmp_path: Path):
    _run(make_job(), many_photos)
    with pytest.raises(UsageError, match=r"was begun with another setting \(inputs\)"):
        _run(make_job(), many_photos / "000.png")
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "diary.txt").touch()
    with pytest.raises(UsageError, match=r"is not empty \(it contains diary.txt\)"):
        _run(make_job("used"), many_photos)


def test_a_file_with_missing_rows_is_reported(make_job: MakeJob, many_photos: Path, tmp_path: Path):
    _run(make_job(), many_photos)
    part = tmp_path / "out" / "part-000001.parquet"
    parquet.write_table(parquet.read_table(part).slice(1), part)
    with pytest.raises(AssayError, match=r"part-000001.parquet has 255 rows: delete it and repeat"):
        _run(make_job(), many_photos)


def test_relative_inputs_of_another_folder_are_other_inputs(
    make_job: MakeJob, many_photos: Path, tmp_path, monkeypatch
):
    for name in ("one", "two"):
        (tmp_path / name / "photos").mkdir(parents=True)
        (tmp_path / name / "photos" / "a.png").write_bytes((many_photos / "000.png").read_bytes())
    monkeypatch.chdir(tmp_path / "one")
    _run(make_job(), "photos")
    (tmp_path / "out" / "part-000000.parquet").unlink()
    monkeypatch.chdir(tmp_path)
    _run(make_job(), "one/photos")
    assert parquet.read_table(tmp_path / "out").column("path").to_pylist() == ["photos/a.png"]
    monkeypatch.chdir(tmp_path / "two")
    with pytest.raises(UsageError, match=r"was begun with another setting \(inputs\)"):
        _run(make_job(), "photos")


@pytest.mark.parametrize("name", ["empty.parquet", "empty.tar"])
def test_files_without_photos_are_refused(name: str, make_job: MakeJob, tmp_path: Path):
    if name.endswith(".tar"):
        with tarfile.open(tmp_path / name, "w") as archive:
            archive.addfile(tarfile.TarInfo("notes.txt"))
    else:
        parquet.write_table(pa.table({"image": pa.array([], pa.binary())}), tmp_path / name)
    with pytest.raises(UsageError, match=f"{name}: there are no photos in these files"):
        _run(make_job(), tmp_path / name)
    assert not (tmp_path / "out").exists()


def test_a_damaged_output_folder_is_reported(make_job: MakeJob, many_photos: Path, tmp_path: Path):
    out, photo = tmp_path / "out", many_photos / "000.png"
    _run(make_job(), photo)
    (out / "part-000000.parquet").write_bytes(b"PAR1")
    with pytest.raises(AssayError, match=r"part-000000.parquet is damaged \(.*\): delete it and repeat the command"):
        _run(make_job(), photo)
    (out / "_assay.json").write_text("[]", encoding="utf-8")
    with pytest.raises(AssayError, match=r"_assay.json is damaged: give another output folder"):
        _run(make_job(), photo)
    with pytest.raises(UsageError, match=r"000.png is a file: give a folder"):
        _run(replace(make_job(), out=str(photo)), photo)


def test_a_damaged_table_is_reported(make_job: MakeJob, many_photos: Path, tmp_path: Path):
    table = tmp_path / "bytes.parquet"
    parquet.write_table(pa.table({"image": [(many_photos / "000.png").read_bytes()] * 3}), table, use_dictionary=False)
    whole = table.read_bytes()
    table.write_bytes(whole[:4] + b"\xff" * 20 + whole[24:])
    advice = r"bytes.parquet cannot be read \(.*\): replace it if it is damaged, and repeat the command"
    with pytest.raises(AssayError, match=advice):
        _run(make_job(), table)
    table.write_bytes(b"no Parquet file")
    with pytest.raises(AssayError, match=advice):
        _run(make_job(), table)
    table.write_bytes(whole)
    _run(make_job(), table)


@pytest.mark.parametrize("source", ["folder", "paths.parquet", "hugging-face.parquet"])
def test_photos_that_the_disk_did_not_deliver_are_read_again(  # noqa: PLR0917
    source: str, predict_local: PredictLocal, make_job: MakeJob, many_photos: Path, tmp_path: Path, monkeypatch
):
    paths = sorted(map(str, many_photos.iterdir()))
    parquet.write_table(pa.table({"path": paths}), tmp_path / "paths.parquet")
    pictures = pa.array(
        [{"bytes": None, "path": path} for path in paths], pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    )
    parquet.write_table(pa.table({"image": pictures}), tmp_path / "hugging-face.parquet")
    photos = many_photos if source == "folder" else tmp_path / source

    def fail(path: Path) -> BinaryIO:
        if path == many_photos / "400.png":
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return open_file(path)

    with monkeypatch.context() as patch:
        patch.setattr("assay.inference.inputs.open_file", fail)
        with pytest.raises(AssayError, match=r"400\.png cannot be read \(input/output error\): repeat the command"):
            _run(make_job(), photos)
    assert sorted(_files(tmp_path / "out")) == ["part-000000.parquet"]
    _run(make_job(), photos)
    assert _files(tmp_path / "out") == _files(predict_local(str(photos)))


def test_names_that_are_not_utf8(make_job: MakeJob, many_photos: Path, tmp_path: Path):
    with tarfile.open(tmp_path / "a\udce9.tar", "w") as archive:
        archive.add(many_photos / "000.png", "\udcff.png")
    _run(make_job(), tmp_path / "a\udce9.tar")
    assert parquet.read_table(tmp_path / "out").column("path").to_pylist() == [rf"{tmp_path}/a\xe9.tar/\xff.png"]


def test_file_urls_are_written_like_paths(make_job: MakeJob, many_photos: Path, tmp_path: Path):
    _run(make_job(f"file://{tmp_path}/new/out"), many_photos / "000.png")
    assert parquet.read_table(tmp_path / "new" / "out").num_rows == 1


def test_errors_of_a_store_are_sentences(colour_bundle: Path, many_photos: Path, tmp_path: Path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment |= {"AWS_EC2_METADATA_DISABLED": "true", "HOME": str(tmp_path)}
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_ENDPOINT_URL": "http://127.0.0.1:1"}
    assay = Path(sys.executable).with_name("assay")
    for source, out, more, reason in (
        (
            "s3://bucket/photos",
            tmp_path / "out",
            {},
            "s3://bucket/photos cannot be read (Unable to locate credentials)",
        ),
        (many_photos, "s3://bucket/out", keys, "s3://bucket/out cannot be read (Could not connect to the endpoint URL"),
    ):
        command = [assay, "predict", colour_bundle, source, "--out", out, "--cluster", "local"]
        result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment | more)
        assert (result.returncode, len(result.stderr.splitlines())) == (1, 1), result.stderr
        assert f"assay: {reason}" in result.stderr
        assert "check the address and the credentials" in result.stderr


def test_parquet_files_give_the_answers_of_the_files(
    predict_local: PredictLocal, many_photos: Path, bucket: str, tmp_path: Path
):
    expected = parquet.read_table(predict_local(str(many_photos))).drop_columns(["path"])
    photos = [path.read_bytes() for path in sorted(many_photos.iterdir())]
    plain = pa.table({"image": photos, "label": ["?"] * len(photos)})
    parquet.write_table(plain, tmp_path / "bytes.parquet", row_group_size=100)
    pictures = pa.array([{"bytes": data, "path": f"{n}.png"} for n, data in enumerate(photos)])
    parquet.write_table(pa.table({"image": pictures}), tmp_path / "hugging-face.parquet")
    parquet.write_table(pa.table({"path": sorted(map(str, many_photos.iterdir()))}), tmp_path / "paths.parquet")
    fsspec.filesystem("s3").put_file(tmp_path / "bytes.parquet", "photos/bytes/bytes.parquet")
    sources = [tmp_path / "bytes.parquet", tmp_path / "hugging-face.parquet", tmp_path / "paths.parquet"]
    for number, source in enumerate([*sources, f"{bucket}/bytes"]):
        table = parquet.read_table(predict_local(str(source), out=f"out-{number}"))
        assert table.drop_columns(["path"]).equals(expected), source


def test_photos_and_predictions_in_an_object_store(
    predict_local: PredictLocal, make_job: MakeJob, many_photos: Path, bucket: str
):
    files = fsspec.filesystem("s3")
    names = [*sorted(many_photos.iterdir())[:20], many_photos / "300-damaged.png"]
    for path in names:
        files.pipe_file(f"photos/some/{path.name}", path.read_bytes())
    job = make_job(f"{bucket}/answers")
    _run(job, f"{bucket}/some")
    with files.open("photos/answers/part-000000.parquet") as stream:
        table = parquet.read_table(stream)
    assert table.column("path").to_pylist() == [f"{bucket}/some/{path.name}" for path in names]
    expected = parquet.read_table(predict_local(*map(str, names)))
    assert table.drop_columns(["path"]).equals(expected.drop_columns(["path"]))
    # A photo that has disappeared since it was listed is a row with a reason; a store that has disappeared is not.
    files.rm("photos/answers/part-000000.parquet")
    files.rm(f"photos/some/{names[3].name}")
    _run(job, f"{bucket}/some")
    with files.open("photos/answers/part-000000.parquet") as stream:
        assert parquet.read_table(stream).column("error").to_pylist()[3] == "no such file or directory"


def test_without_torch_and_ray(colour_bundle: Path, many_photos: Path, tmp_path: Path):
    code = (
        "import sys; from assay.cli.main import main; sys.argv[0] = 'assay'\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'lightning', 'ray'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, "predict", colour_bundle, many_photos, "--out", tmp_path / "out"]
    result = subprocess.run([*command, "--cluster", "local"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "[]"


@pytest.mark.slow
@pytest.mark.parametrize("cluster", ["local", "ray"])
def test_the_driver_is_killed_at_any_moment(
    cluster: str, predict_local: PredictLocal, colour_bundle: Path, many_photos: Path, tmp_path: Path
):
    paths = sorted(map(str, many_photos.iterdir())) * 10
    parquet.write_table(pa.table({"path": paths}), tmp_path / "paths.parquet")
    expected, out = _files(predict_local(str(tmp_path / "paths.parquet"))), tmp_path / "out"
    assay = Path(sys.executable).with_name("assay")
    options = ["--engine", "onnxruntime", "--precision", "fp32", "--threads", "1", "--cluster", cluster]
    command = [assay, "predict", colour_bundle, tmp_path / "paths.parquet", "--out", out, *options]
    for wanted in (1, 9):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
        while process.poll() is None and len(list(out.glob("part-*"))) < wanted:
            time.sleep(0.01)
        assert process.poll() is None, process.communicate()[0]
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    assert len(_files(out)) < len(expected)
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "5,980 photos classified, 20 unreadable" in result.stdout, result.stderr
    assert _files(out) == expected


def test_links_in_tars_are_counted(make_job: MakeJob, many_photos: Path, tmp_path: Path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(many_photos / "000.png", "0.png")
        for name, kind, target in (("1.png", tarfile.LNKTYPE, "0.png"), ("2.png", tarfile.SYMTYPE, "0.png")):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = kind, target
            archive.addfile(link)
    job, skipped = make_job(), SkippedFiles()
    classifier = job.load()
    run = predict_locally(job, classifier)
    summary = predict_partitions(job, classifier, [str(tmp_path / "a.tar")], run, skipped=skipped)
    assert (summary.count, skipped.counts) == (2, {"link in a tar": 1})
    labels = parquet.read_table(job.out, columns=["confidence"]).column("confidence").to_pylist()
    assert labels[0] == labels[1]


def test_photos_in_tars_have_the_predictions_of_files(predict_local: PredictLocal, many_photos: Path, tmp_path: Path):
    names = sorted(path.name for path in many_photos.iterdir())[:300]
    files = predict_local(*(str(many_photos / name) for name in names), out="files")
    (tmp_path / "shards").mkdir()
    for number, part in enumerate((names[:140], names[140:])):
        with tarfile.open(tmp_path / "shards" / f"{number}.tar", "w") as archive:
            for name in part:
                archive.add(many_photos / name, name)
                archive.addfile(tarfile.TarInfo(f"{name}.cls"))
    tars = predict_local(str(tmp_path / "shards"), out="tars")
    rows = [
        parquet.read_table(folder, columns=["label", "confidence", "error"]).to_pylist() for folder in (files, tars)
    ]
    assert rows[0] == rows[1]
    first = parquet.read_table(tars, columns=["path"])["path"][0].as_py()
    assert first == f"{tmp_path / 'shards' / '0.tar'}/{names[0]}"
