"""Prediction by Ray Data on a cluster of this machine."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pytest
from pyarrow import parquet

from assay.core.errors import AssayError
from assay.scale.batch_predict import PredictJob, predict_partitions
from assay.scale.partitions import PartitionResult
from assay.scale.ray_predict import predict_on_ray

# Ray Data deprecates settings that it sets itself.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")

MakeJob = Callable[..., PredictJob]
PredictLocal = Callable[..., Path]


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("part-*"))}


def _predict(job: PredictJob, ray: Any, *inputs: object) -> Any:
    classifier = job.load()
    run = predict_on_ray(job, classifier.preprocess, ray)
    return predict_partitions(job, classifier, [str(name) for name in inputs], run)


def test_the_files_are_those_of_one_machine(
    ray: Any, make_job: MakeJob, predict_local: PredictLocal, many_photos: Path, bucket: str
):
    job = make_job()
    summary = _predict(job, ray, many_photos)
    assert (summary.count, summary.unreadable) == (598, 2)
    assert _files(Path(job.out)) == _files(predict_local(str(many_photos)))

    store = make_job(f"{bucket}/by-ray")
    fsspec.filesystem("s3").put_file(many_photos / "001.png", "photos/one/001.png")
    assert _predict(store, ray, f"{bucket}/one").count == 1


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
def test_processes_are_killed(ray: Any, make_job: MakeJob, predict_local: PredictLocal, many_photos: Path, tmp_path):
    parquet.write_table(pa.table({"path": sorted(map(str, many_photos.iterdir())) * 10}), tmp_path / "paths.parquet")
    expected = _files(predict_local(str(tmp_path / "paths.parquet")))
    job, killed = make_job(), []

    def kill() -> None:
        for wanted, title in ((1, "ray::MapWorker"), (4, "ray::MapBatches"), (8, "ray::MapWorker")):
            while len(list(Path(job.out).glob("part-*"))) < wanted:
                time.sleep(0.005)
            killed.append(_kill(title))

    killer = threading.Thread(target=kill)
    killer.start()
    summary = _predict(job, ray, tmp_path / "paths.parquet")
    killer.join()
    assert killed[0]
    assert (summary.count, summary.unreadable) == (5980, 20)
    assert _files(Path(job.out)) == expected


@pytest.mark.slow
def test_the_error_of_a_task_is_a_sentence(ray: Any, make_job: MakeJob, tmp_path: Path):
    parquet.write_table(pa.table({"image": [b"x"] * 3}), tmp_path / "table.parquet")
    job = make_job()
    classifier = job.load()
    run = predict_on_ray(job, classifier.preprocess, ray)

    def shortened(partitions: Sequence[int]) -> Iterator[PartitionResult]:
        parquet.write_table(pa.table({"image": [b"x"]}), tmp_path / "table.parquet")
        return run(partitions)

    with pytest.raises(AssayError, match=r"table.parquet has fewer rows than when the photos were listed"):
        predict_partitions(job, classifier, [str(tmp_path / "table.parquet")], shortened)
