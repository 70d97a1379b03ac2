"""Classify millions of photos into a folder of Parquet files; interrupted runs resume."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from pyarrow import parquet

from assay.core.errors import AssayError, UsageError
from assay.core.progress import Progress, no_progress
from assay.core.text_layout import counted
from assay.image.ignore_rules import SkippedFiles
from assay.inference import Classifier, PrecisionChoice
from assay.inference.batch_predict import PROGRESS_LABEL, BatchSummary
from assay.scale import storage
from assay.scale.parquet_photos import error_text
from assay.scale.partition_prediction import PartitionResult, decode_partition, partition_file, write_partition
from assay.scale.photo_list import (
    PARTITION_PHOTOS,
    STATE_FILE,
    list_photos,
    partition_count,
    read_photo_list,
    write_photo_list,
)

_MAX_EXAMPLES: Final = 5
_READERS: Final = 16


@dataclass(frozen=True)
class PredictJob:
    """What a run needs besides its photos; the same in every process.

    Attributes:
        model: the bundle file.
        out: folder or URL of the Parquet files.
        engine: never `auto` on a cluster: machines could select different ones.
        precision: likewise.
        threads: CPU threads of each classifier; None: all available.
        abstain: mark predictions as `unknown`.
    """

    model: Path
    out: str
    engine: str
    precision: PrecisionChoice
    threads: int | None = None
    abstain: bool = True

    def load(self, *, measure: bool = False) -> Classifier:
        """Load the classifier; with `measure` and the engine `auto`, measure which engine is fastest."""
        return Classifier.load(
            self.model,
            engine=self.engine,
            precision=self.precision,
            workload="throughput",
            threads=self.threads,
            abstain=self.abstain,
            measure=measure,
        )


RunPartitions = Callable[[Sequence[int]], Iterator[PartitionResult]]
"""Predicts partitions in any order and yields each once its file is written."""


def predict_locally(job: PredictJob, classifier: Classifier) -> RunPartitions:
    """Return a function that predicts partitions in this process."""

    def run(partitions: Sequence[int]) -> Iterator[PartitionResult]:
        for partition in partitions:
            batches = decode_partition(read_photo_list(job.out, partition), classifier.preprocess)
            yield write_partition(classifier, batches, job.out, partition)

    return run


def predict_partitions(
    job: PredictJob,
    classifier: Classifier,
    inputs: Sequence[str],
    run: RunPartitions,
    *,
    skipped: SkippedFiles | None = None,
    progress: Progress = no_progress,
) -> BatchSummary:
    """Classify photos into a folder of Parquet files: `part-000000.parquet` and so on, of `PARTITION_PHOTOS` rows each.

    The first call lists the photos into files of the folder. A call with the same arguments resumes an interrupted run
    with that list: partitions whose file exists are kept, and the others are predicted. The files are byte for byte the
    same as without the interruption, and the same for every function `run`.

    Args:
        job: model, output and options.
        classifier: loaded from `job`.
        inputs: as for `list_photos`.
        run: `predict_locally` or `assay.scale.ray_predict.predict_on_ray`.
        skipped: collects what is skipped in local folders.
        progress: called after every partition.

    Raises:
        UsageError: the folder contains something else, or was begun with another model, options or inputs.
        AssayError: photos cannot be listed, a store cannot be used, or the result is incomplete.
    """
    conditions = {
        "model": classifier.info.version,
        "engine": classifier.engine.name,
        "precision": classifier.precision,
        "abstain": job.abstain,
        "inputs": [storage.absolute(name) for name in inputs],
        "partition": PARTITION_PHOTOS,
    }
    total = _begin(job.out, conditions, inputs, SkippedFiles() if skipped is None else skipped)
    partitions = range(partition_count(total))
    present = storage.names(job.out)
    missing = [partition for partition in partitions if partition_file(partition) not in present]
    resumed = done = sum(_rows_in(partition, total) for partition in partitions) - sum(
        _rows_in(partition, total) for partition in missing
    )
    progress(PROGRESS_LABEL, done, total)
    if missing:
        for result in run(missing):
            done += result.photos
            progress(PROGRESS_LABEL, done, total)
    return _summarize(job.out, partitions, total, resumed)


def _begin(out: str, conditions: dict[str, Any], inputs: Sequence[str], skipped: SkippedFiles) -> int:
    """List the photos unless an earlier run did; return their number."""
    names = storage.names(out)
    state = storage.join(out, STATE_FILE)
    if STATE_FILE in names:
        try:
            earlier = json.loads(storage.read(state))
            total = int(earlier.pop("photos"))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise AssayError(f"{state} is damaged: give another output folder") from None
        if earlier != conditions:
            different = next(name for name in conditions if earlier.get(name) != conditions[name])
            raise UsageError(
                f"{out} was begun with another setting ({different}): use the same command, or give another folder"
            )
        return total
    if other := sorted(name for name in names if not name.startswith(("_", "."))):
        raise UsageError(f"{out} is not empty (it contains {other[0]}): give a new folder for the predictions")
    exclude = [] if storage.is_url(out) else [Path(out)]
    total = write_photo_list(out, list_photos(inputs, skipped, exclude))
    if not total:
        raise UsageError(f"{', '.join(inputs)}: there are no photos in these files; give others")
    storage.write(state, json.dumps({**conditions, "photos": total}, indent=1).encode())
    return total


def _rows_in(partition: int, total: int) -> int:
    return min(PARTITION_PHOTOS, total - partition * PARTITION_PHOTOS)


def _summarize(out: str, partitions: Iterable[int], total: int, resumed: int) -> BatchSummary:
    """Count the rows of all files, from their metadata, and read the first few errors."""

    def count(partition: int) -> tuple[int, int, int]:
        name = storage.join(out, partition_file(partition))
        with storage.open_binary(name) as stream:
            try:
                file = parquet.ParquetFile(stream)
            except pa.ArrowException as error:
                raise AssayError(f"{name} is damaged ({error_text(error)}): delete it and repeat the command") from None
            place = file.schema_arrow.get_field_index("error")
            groups = [file.metadata.row_group(group) for group in range(file.num_row_groups)]
            unreadable = sum(group.num_rows - group.column(place).statistics.null_count for group in groups)
            return partition, file.metadata.num_rows, unreadable

    with ThreadPoolExecutor(_READERS) as pool:
        counts = list(pool.map(count, partitions))
    for partition, rows, _ in counts:
        if rows != _rows_in(partition, total):
            file = storage.join(out, partition_file(partition))
            raise AssayError(f"{file} has {counted(rows, 'row')}: delete it and repeat the command")
    unreadable = sum(bad for *_, bad in counts)
    examples: list[str] = []
    for partition, _, bad in counts:
        if bad and len(examples) < _MAX_EXAMPLES:
            with storage.open_binary(storage.join(out, partition_file(partition))) as stream:
                rows = parquet.read_table(stream, columns=["path", "error"]).to_pylist()
            examples += [f"{row['path']}: {row['error']}" for row in rows if row["error"] is not None]
    return BatchSummary(total - unreadable, unreadable, tuple(examples[:_MAX_EXAMPLES]), resumed)
