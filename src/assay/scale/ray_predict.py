"""Predict partitions of photos by Ray Data: photos are decoded by tasks on CPUs and classified by actors."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import pyarrow as pa

from assay.image import Preprocess
from assay.scale import storage
from assay.scale.batch_predict import PredictJob, RunPartitions
from assay.scale.cluster import silence_console, task_error
from assay.scale.partition_prediction import PartitionResult, decode_partition, pack, unpack, write_partition
from assay.scale.photo_list import read_photo_list

_CUDA: Final = "cuda"
_MODEL_FILE: Final = "_model.assay"
_MAX_CALLS: Final = 1000
"""Partitions that a process decodes until a new one replaces it. An option that the classifiers do not have also keeps
Ray from decoding in their processes."""
_PACKED: Final = pa.schema(
    [
        ("partition", pa.int64()),
        ("sources", pa.list_(pa.string())),
        ("reasons", pa.list_(pa.string())),
        ("pixels", pa.large_binary()),
    ]
)


def predict_on_ray(job: PredictJob, preprocess: Preprocess, ray: Any) -> RunPartitions:
    """Return a function that predicts partitions on a connected Ray cluster.

    The bundle is copied to the output; photos and output must be reachable from all machines of the cluster. Ray Data
    starts between one classifier and one per processor (or GPU), and decodes only as far ahead as its object store has
    room. A task whose process or machine dies is run again.

    Args:
        job: engine and precision are not `auto`.
        preprocess: of the model.
        ray: the module, connected to a cluster.

    Raises:
        AssayError: by the function's iterator, if a task fails for another reason than its process's death.
    """
    # Processes of the cluster have other working directories.
    job = replace(job, out=storage.absolute(job.out))

    def run(partitions: Sequence[int]) -> Iterator[PartitionResult]:
        from ray.data import ActorPoolStrategy, DataContext  # noqa: PLC0415 - `ray` is passed once it is configured

        context = DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        silence_console("ray.data")
        storage.write(storage.join(job.out, _MODEL_FILE), job.model.read_bytes())
        cpus = int(ray.cluster_resources().get("CPU", 1))
        gpus = int(ray.cluster_resources().get("GPU", 0)) if job.engine == _CUDA else 0
        threads = job.threads or 1
        decoded = ray.data.from_items(
            [{"partition": partition} for partition in partitions], override_num_blocks=len(partitions)
        ).map_batches(
            _decode,
            batch_size=None,
            batch_format="pyarrow",
            fn_kwargs={"out": job.out, "preprocess": preprocess},
            num_cpus=1,
            max_calls=_MAX_CALLS,
        )
        results = decoded.map_batches(
            _Predictor,
            batch_size=None,
            batch_format="pyarrow",
            fn_constructor_kwargs={"job": job, "threads": threads},
            compute=ActorPoolStrategy(min_size=1, max_size=max(1, gpus or (cpus - 1) // threads)),
            num_cpus=threads,
            num_gpus=1 if gpus else None,
        )
        try:
            for row in results.iter_rows():
                yield PartitionResult(**row)
        except ray.exceptions.RayError as error:
            raise task_error(error) from None

    return run


def _decode(batch: pa.Table, *, out: str, preprocess: Preprocess) -> Iterator[pa.Table]:
    for partition in batch.column("partition").to_pylist():
        values = {"partition": partition, **pack(decode_partition(read_photo_list(out, partition), preprocess))}
        yield pa.Table.from_pylist([values], schema=_PACKED)


class _Predictor:
    """The actor that classifies decoded partitions and writes their files."""

    def __init__(self, job: PredictJob, threads: int) -> None:
        self._job = job
        # Ray kills the process at the end, so the folder must not exist longer than the file is needed.
        with TemporaryDirectory(prefix="assay-ray-") as folder:
            model = Path(folder) / job.model.name
            model.write_bytes(storage.read(storage.join(job.out, _MODEL_FILE)))
            self._classifier = replace(job, model=model, threads=threads).load()

    def __call__(self, batch: pa.Table) -> dict[str, list[int]]:
        results = []
        for row in range(batch.num_rows):
            values = {name: batch.column(name)[row].as_py() for name in ("sources", "reasons")}
            # A buffer of the object store, not copied.
            values["pixels"] = batch.column("pixels")[row].as_buffer()
            batches = unpack(values, self._classifier.preprocess.size)
            partition = batch.column("partition")[row].as_py()
            results.append(write_partition(self._classifier, batches, self._job.out, partition))
        return {name: [getattr(result, name) for result in results] for name in PartitionResult._fields}
