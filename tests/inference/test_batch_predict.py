"""Predictions of many images into one table: formats and interruptions."""

import csv
import errno
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image

from assay.core.errors import AssayError, UsageError
from assay.core.files import open_file
from assay.inference import BATCH_SIZE, Classifier
from assay.inference.batch_predict import ResumeLog, batch_predict, resume_log_path

_COUNT = 3 * BATCH_SIZE + 5


class _Killed(BaseException):
    """The end of a process, as far as the code can notice it."""


@pytest.fixture(scope="module")
def answering(bundle_path: Path) -> Classifier:
    return Classifier.load(bundle_path, "onnxruntime")


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Photos of random colours; two of them are no photos."""
    folder, rng = tmp_path_factory.mktemp("many"), np.random.default_rng(4)
    found = [folder / f"{number:03}.png" for number in range(_COUNT)]
    for path in found:
        Image.fromarray(rng.integers(0, 256, (9, 7, 3), dtype=np.uint8)).save(path)
    found[4].write_bytes(b"")
    found[20].write_text("no photo", encoding="utf-8")
    return found


def _killed_after(count: int) -> Callable[[str, int, int], None]:
    def progress(_: str, done: int, __: int) -> None:
        if done >= count:
            raise _Killed

    return progress


def _csv(path: Path) -> list[dict[str, object]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def _jsonl(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _parquet(path: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = pyarrow.parquet.read_table(path).to_pylist()
    return rows


@pytest.mark.parametrize(("suffix", "read", "name"), [(".csv", _csv, "path"), (".jsonl", _jsonl, "source"),
                                                      (".parquet", _parquet, "path")])  # fmt: skip
def test_every_image_has_a_row_in_order(  # noqa: PLR0917
    answering: Classifier,
    paths: list[Path],
    tmp_path: Path,
    suffix: str,
    read: Callable[[Path], list[dict[str, object]]],
    name: str,
):
    out = tmp_path / f"answers{suffix}"
    summary = batch_predict(answering, paths, out)
    rows = read(out)
    assert [row[name] for row in rows] == [str(path) for path in paths]
    assert [place for place, row in enumerate(rows) if row.get("error")] == [4, 20]
    assert (summary.count, summary.unreadable, summary.resumed) == (_COUNT - 2, 2, 0)
    assert summary.examples == (f"{paths[4]}: empty file", f"{paths[20]}: not an image")
    for path, row in zip(paths[5:20], rows[5:20], strict=True):
        assert row["label"] == answering.predict(path).label
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("moment", [1, BATCH_SIZE + 1, _COUNT])
def test_resumed_run_writes_the_same_bytes(
    answering: Classifier, paths: list[Path], tmp_path: Path, suffix: str, moment: int
):
    whole, out = tmp_path / f"whole{suffix}", tmp_path / f"answers{suffix}"
    batch_predict(answering, paths, whole)
    with pytest.raises(_Killed):
        batch_predict(answering, paths, out, progress=_killed_after(moment))
    assert not out.exists()
    with resume_log_path(out).open("ab") as stream:
        stream.write(b'{"source": "half a li')  # a kill does not wait for the end of a line
    summary = batch_predict(answering, paths, out)
    # A batch that the end of the photos made small is answered again, beside the same photos.
    assert summary.resumed == {1: 16, BATCH_SIZE + 1: 32, _COUNT: 48}[moment]
    assert summary.count == _COUNT - 2
    assert out.read_bytes() == whole.read_bytes()
    assert not resume_log_path(out).exists()


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EMFILE])
def test_photos_that_the_disk_did_not_deliver_are_read_again(
    number: int, answering: Classifier, paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(path: Path) -> BinaryIO:
        if path == paths[BATCH_SIZE + 3]:
            raise OSError(number, os.strerror(number), str(path))
        return open_file(path)

    whole, out = tmp_path / "whole.csv", tmp_path / "answers.csv"
    batch_predict(answering, paths, whole)
    with monkeypatch.context() as patch:
        patch.setattr("assay.inference.inputs.open_file", fail)
        reason = os.strerror(number)[1:]
        with pytest.raises(AssayError, match=rf"019\.png cannot be read \(.{reason}\): repeat the command to resume"):
            batch_predict(answering, paths, out)
    assert not out.exists()
    assert batch_predict(answering, paths, out).resumed == BATCH_SIZE
    assert out.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG])
def test_errors_of_a_path_are_rows(
    number: int, answering: Classifier, paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(path: Path) -> BinaryIO:
        if path == paths[3]:
            raise OSError(number, os.strerror(number), str(path))
        return open_file(path)

    monkeypatch.setattr("assay.inference.inputs.open_file", fail)
    summary = batch_predict(answering, paths, tmp_path / "answers.csv")
    assert summary.unreadable == 3
    assert summary.examples[0].lower() == f"{paths[3]}: {os.strerror(number)}".lower()


def test_predicted_images_are_not_read_again(answering: Classifier, paths: list[Path], tmp_path: Path):
    out = tmp_path / "answers.jsonl"
    moved = tmp_path / paths[0].name
    order = [moved, *paths[1:]]
    moved.write_bytes(paths[0].read_bytes())
    with pytest.raises(_Killed):
        batch_predict(answering, order, out, progress=_killed_after(1))
    moved.unlink()
    assert batch_predict(answering, order, out).count == _COUNT - 2


def test_input_iterator_is_consumed_lazily(answering: Classifier, paths: list[Path], tmp_path: Path):
    requested, queued = 0, []

    def photos() -> Iterator[Path]:
        nonlocal requested
        for requested, path in enumerate(paths * 5, start=1):  # noqa: B007
            yield path

    def progress(_: str, done: int, __: int) -> None:
        queued.append(requested - done)

    batch_predict(answering, photos(), tmp_path / "answers.csv", progress=progress)
    assert max(queued) <= 3 * BATCH_SIZE


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"conditions": {"abstain": False}}, "started with another model or other options"),
        ({"photos": slice(1, None)}, "started with other photos"),
        ({"photos": slice(0, 3)}, "started with other photos"),
    ],
)
def test_incompatible_partial_table_is_rejected(
    answering: Classifier, paths: list[Path], tmp_path: Path, change: dict[str, object], message: str
):
    out = tmp_path / "answers.csv"
    with pytest.raises(_Killed):
        batch_predict(answering, paths, out, progress=_killed_after(1))
    before = resume_log_path(out).read_bytes()
    chosen = change.get("photos", slice(None))
    assert isinstance(chosen, slice)
    conditions = change.get("conditions")
    assert conditions is None or isinstance(conditions, dict)
    with pytest.raises(UsageError, match=message):
        batch_predict(answering, paths[chosen], out, conditions=conditions)
    assert resume_log_path(out).read_bytes() == before


def test_two_runs_cannot_write_one_table(tmp_path: Path):
    path = tmp_path / "answers.csv.partial"
    with ResumeLog(path, {}, 1), pytest.raises(UsageError, match="another process is writing"):
        ResumeLog(path, {}, 1)
    with ResumeLog(path, {}, 1) as partial:
        assert partial.kept == 0


@pytest.mark.parametrize("rest", [b"\0" * 50, b"[1]\n", b'{"source"', b"\xff\n"])
def test_damaged_end_of_a_table_is_truncated(tmp_path: Path, rest: bytes):
    path = tmp_path / "partial"
    rows = [{"source": f"{number}.png"} for number in range(7)]
    with ResumeLog(path, {"model": "a"}, 2) as partial:
        partial.add(rows)
    path.write_bytes(path.read_bytes() + rest)
    with ResumeLog(path, {"model": "a"}, 2) as partial:
        assert partial.kept == 6
        assert list(partial.rows()) == rows[:6]
        partial.add(rows[6:])
        assert list(partial.rows()) == rows
