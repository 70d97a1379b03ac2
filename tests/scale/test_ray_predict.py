"""Prediction by Ray Data on a cluster of this machine, in a process of its own that is killed if it hangs."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pytest
from process_groups import call_in_group
from pyarrow import parquet

from assay.core.errors import AssayError
from assay.scale.batch_predict import PredictJob, predict_partitions
from assay.scale.cluster import ray_cluster
from assay.scale.partition_prediction import PartitionResult
from assay.scale.ray_predict import predict_on_ray

PredictLocal = Callable[..., Path]
_TIMEOUT = 560
_MEMORY = 100 << 20


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("part-*"))}


def _job(bundle: str, out: str) -> PredictJob:
    return PredictJob(Path(bundle), out, "onnxruntime", "fp32", 1)


def _predict(job: PredictJob, ray: Any, *inputs: str) -> Any:
    classifier = job.load()
    run = predict_on_ray(job, classifier.preprocess, ray)
    return predict_partitions(job, classifier, inputs, run)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_files_are_those_of_one_machine(
    colour_bundle: Path, predict_local: PredictLocal, many_photos: Path, bucket: str, tmp_path: Path
):
    expected = predict_local(str(many_photos))
    call_in_group(_compare_files, colour_bundle, many_photos, expected, bucket, tmp_path, timeout=_TIMEOUT)


def _compare_files(bundle: str, photos: str, expected: str, bucket: str, folder: str) -> None:
    # Names of sockets are short, so the folder is not that of the test.
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["TMPDIR"] = temporary
        _compare_files_in(bundle, photos, expected, bucket, folder)


def _compare_files_in(bundle: str, photos: str, expected: str, bucket: str, folder: str) -> None:
    job = _job(bundle, f"{folder}/out")
    with ray_cluster(cpus=2, memory=_MEMORY) as ray:
        summary = _predict(job, ray, photos)
        assert (summary.count, summary.unreadable) == (598, 2)
        assert _files(Path(job.out)) == _files(Path(expected))

        # The processes of the cluster keep the working directory in which it was started.
        os.chdir(photos)
        assert _predict(_job(bundle, "../relative"), ray, "000.png").count == 1

        fsspec.filesystem("s3").put_file(f"{photos}/001.png", "photos/one/001.png")
        assert _predict(_job(bundle, f"{bucket}/by-ray"), ray, f"{bucket}/one").count == 1
    assert not list(Path(os.environ["TMPDIR"]).glob("assay-ray-*"))


def _kill(title: str) -> bool:
    """Kill the processes that Ray has given this title."""
    killed = False
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            try:
                if (process / "cmdline").read_bytes().startswith(title.encode()):
                    os.kill(int(process.name), signal.SIGKILL)
                    killed = True
            except OSError:
                continue
    return killed


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_processes_are_killed(colour_bundle: Path, predict_local: PredictLocal, many_photos: Path, tmp_path: Path):
    table = tmp_path / "paths.parquet"
    parquet.write_table(pa.table({"path": sorted(map(str, many_photos.iterdir())) * 10}), table)
    expected = predict_local(str(table))
    call_in_group(_kill_processes, colour_bundle, table, expected, tmp_path, timeout=_TIMEOUT)


def _kill_processes(bundle: str, table: str, expected: str, folder: str) -> None:
    job, killed = _job(bundle, f"{folder}/out"), []

    def kill() -> None:
        for wanted, title in ((1, "ray::MapWorker"), (4, "ray::MapBatches"), (8, "ray::MapWorker")):
            while len(list(Path(job.out).glob("part-*"))) < wanted:
                time.sleep(0.005)
            killed.append(_kill(title))

    with ray_cluster(cpus=2, memory=_MEMORY) as ray:
        killer = threading.Thread(target=kill)
        killer.start()
        summary = _predict(job, ray, table)
        killer.join()
    assert killed[0]
    assert (summary.count, summary.unreadable) == (5980, 20)
    assert _files(Path(job.out)) == _files(Path(expected))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_error_of_a_task_is_a_sentence(colour_bundle: Path, tmp_path: Path):
    call_in_group(_shorten_a_table, colour_bundle, tmp_path, timeout=_TIMEOUT)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_command_prints_only_the_error_of_a_task(colour_bundle: Path, many_photos: Path, tmp_path: Path):
    table = tmp_path / "bytes.parquet"
    parquet.write_table(pa.table({"image": [(many_photos / "000.png").read_bytes()] * 3}), table, use_dictionary=False)
    whole = table.read_bytes()
    table.write_bytes(whole[:4] + b"\xff" * 20 + whole[24:])
    command = [Path(sys.executable).with_name("assay"), "predict", colour_bundle, table, "--out", tmp_path / "out"]
    result = subprocess.run([*command, "--cluster", "ray"], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, len(result.stderr.splitlines())) == (1, "", 1), result.stderr
    assert result.stderr.startswith(f"assay: {table} cannot be read (")
    assert result.stderr.endswith("replace it if it is damaged, and repeat the command\n")


def _shorten_a_table(bundle: str, folder: str) -> None:
    table = Path(folder) / "table.parquet"
    parquet.write_table(pa.table({"image": [b"x"] * 3}), table)
    job = _job(bundle, f"{folder}/out")
    classifier = job.load()
    with ray_cluster(cpus=2, memory=_MEMORY) as ray:
        run = predict_on_ray(job, classifier.preprocess, ray)

        def shortened(partitions: Sequence[int]) -> Iterator[PartitionResult]:
            parquet.write_table(pa.table({"image": [b"x"]}), table)
            return run(partitions)

        with pytest.raises(AssayError, match=r"table.parquet has fewer rows than when the photos were listed"):
            predict_partitions(job, classifier, [str(table)], shortened)

        def without_list(partitions: Sequence[int]) -> Iterator[PartitionResult]:
            results = run(partitions)
            (Path(job.out) / "_photos" / "00000.parquet").unlink()
            return results

        with pytest.raises(
            AssayError, match=r"cluster failed \(FileNotFoundError: .*_photos/00000.parquet.*Ray's logs are in /"
        ):
            predict_partitions(job, classifier, [str(table)], without_list)
