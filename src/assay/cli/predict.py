"""`assay predict`: classify images."""

import sys
from dataclasses import replace
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assay.cli.console import echo, is_terminal, print_json_text, print_result
from assay.cli.options import EngineOption, Precision, PrecisionOption, ThreadsOption, print_engine
from assay.core.errors import AssayError, UsageError
from assay.core.text_layout import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from assay.image.ignore_rules import SkippedFiles
    from assay.inference import Classifier, Failure, Prediction
    from assay.inference.batch_predict import BatchSummary
    from assay.scale.batch_predict import PredictJob


class Cluster(StrEnum):
    """Where a prediction in partitions runs."""

    local = "local"
    ray = "ray"


_MANY = 5000
"""Photos for which it pays off to measure first which engine settings are fastest; this takes about 10 s."""


def predict(
    model: Annotated[Path, typer.Argument(help="A .assay file.")],
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="Photos, folders, or globs such as 'photos/*.jpg'; with --cluster also Parquet files and URLs."
        ),
    ],
    *,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object per photo (JSON lines).")] = False,
    out: Annotated[
        str | None,
        typer.Option(
            help="Write the predictions to a .csv, .jsonl or .parquet file; with --cluster, to a folder or URL."
        ),
    ] = None,
    cluster: Annotated[
        Cluster | None,
        typer.Option(
            help="For very many photos: write Parquet files of 256 rows. local: in this process; ray: on the Ray "
            "cluster of RAY_ADDRESS, or one started on this machine."
        ),
    ] = None,
    abstain: Annotated[
        bool,
        typer.Option(help="Mark predictions as unknown if confidence is low or the photo is unlike the training data."),
    ] = True,
    engine: EngineOption = "auto",
    precision: PrecisionOption = Precision.auto,
    threads: ThreadsOption = None,
) -> None:
    """Classify photos. Files in folders that are not images are skipped.

    With --out, results are saved as they are computed; to resume an interrupted run, repeat the command. With
    --cluster, photos can also be in Parquet files and in object stores (s3://, gs://).
    Photos that cannot be read are listed, and the exit code is 1 if there are any.

    Example: assay predict model.assay photos/ --out predictions.csv
    """
    from assay.image.ignore_rules import SkippedFiles
    from assay.image.input_paths import expand_image_paths
    from assay.inference import BATCH_SIZE, Classifier

    skipped = SkippedFiles()
    if cluster is not None:
        if out is None or json:
            raise UsageError("--cluster writes a folder of Parquet files: give --out FOLDER, without --json")
        from assay.scale.batch_predict import PredictJob

        job = PredictJob(model, out, engine, precision.value, threads, abstain)
        unreadable = _write_partitions(job, inputs, cluster, skipped)
    else:
        _require_no_containers(inputs, out)
        table = None if out is None else Path(out)
        if table is not None:
            _check_output(table, json=json)
        paths = expand_image_paths(inputs, exclude=_output_files(table), skipped=skipped)
        photos = sum(1 for _ in islice(expand_image_paths(inputs, exclude=_output_files(table)), _MANY))
        classifier = Classifier.load(
            model,
            engine=engine,
            precision=precision.value,
            workload="latency" if photos <= BATCH_SIZE else "throughput",
            threads=threads,
            abstain=abstain,
            measure=photos == _MANY,
        )
        print_engine(classifier)
        total = 0
        if is_terminal(sys.stderr):
            # Fewer than the limit have been counted already.
            every = expand_image_paths(inputs, exclude=_output_files(table))
            total = photos if photos < _MANY else sum(1 for _ in every)
        if table is not None:
            conditions = {"abstain": abstain, "precision": classifier.precision}
            unreadable = _write_table(classifier, paths, table, total, conditions)
        else:
            unreadable = _print_predictions(_predictions(classifier, paths, total), json=json)
    if skipped.counts:
        counts = ", ".join(f"{count} {reason}" for reason, count in sorted(skipped.counts.items()))
        echo(f"skipped: {counts}", err=True)
    if unreadable:
        raise typer.Exit(1)


def _require_no_containers(inputs: list[str], out: str | None) -> None:
    """Raise UsageError, with the options to add, for inputs and outputs that only --cluster reads and writes."""
    from assay.image.input_paths import CONTAINER_SUFFIXES, contains_photos

    if out is not None and _is_url(out):
        raise UsageError(f"--out {out}: only --cluster writes to URLs: add --cluster local")
    for name in inputs:
        path = Path(name)
        if _is_url(name):
            kind = "a URL"
        elif path.suffix.casefold() in CONTAINER_SUFFIXES and path.is_file():
            kind = f"a {path.suffix.casefold().removeprefix('.')} file"
        elif path.is_dir() and not contains_photos(path) and _has_containers(path):
            kind = "a folder of Parquet or tar files"
        else:
            continue
        raise UsageError(f"{name} is {kind}, whose photos are read with --cluster: add --cluster local --out FOLDER")


def _is_url(name: str) -> bool:
    return "://" in name and not Path(name).exists()


def _has_containers(folder: Path) -> bool:
    from assay.image.input_paths import CONTAINER_SUFFIXES

    return any(path.suffix.casefold() in CONTAINER_SUFFIXES for path in folder.rglob("*"))


def _check_output(out: Path, *, json: bool) -> None:
    from assay.inference.prediction_tables import check_output_path

    if json:
        raise UsageError("--json and --out cannot be combined: for JSON lines in a file, give --out FILE.jsonl")
    check_output_path(out)


def _output_files(out: Path | None) -> list[Path]:
    """Return the files that this command writes, which are not inputs."""
    from assay.inference.batch_predict import resume_log_path

    return [] if out is None else [out, resume_log_path(out)]


def _write_table(
    classifier: "Classifier", paths: "Iterable[Path]", out: Path, total: int, conditions: dict[str, Any]
) -> int:
    """Write the table; return the number of unreadable photos."""
    from assay.cli.console import progress_bars
    from assay.core.files import write_error_reason
    from assay.inference.batch_predict import batch_predict, resume_log_path

    try:
        with progress_bars("photos") as progress:
            summary = batch_predict(classifier, paths, out, total=total, conditions=conditions, progress=progress)
    except KeyboardInterrupt:
        echo(f"assay: results so far are in {resume_log_path(out)}: repeat the command to resume", err=True)
        raise typer.Exit(130) from None
    except OSError as error:
        reason = write_error_reason(error, out)
        raise AssayError(f"cannot write {out} ({reason}): fix this and repeat the command to resume") from None
    return _print_summary(summary, str(out))


def _write_partitions(job: "PredictJob", inputs: list[str], cluster: Cluster, skipped: "SkippedFiles") -> int:
    """Write a folder of Parquet files; return the number of unreadable photos."""
    from contextlib import ExitStack

    from assay.cli.console import progress_bars
    from assay.scale.batch_predict import predict_locally, predict_partitions

    classifier = job.load(measure=True)
    # Every process uses the engine and the precision that were selected here.
    job = replace(job, engine=classifier.engine.name, precision=classifier.precision)
    print_engine(classifier)
    try:
        with ExitStack() as stack:
            run = predict_locally(job, classifier)
            if cluster is Cluster.ray:
                from assay.scale.cluster import ray_cluster
                from assay.scale.ray_predict import predict_on_ray

                run = predict_on_ray(job, classifier.preprocess, stack.enter_context(ray_cluster()))
            progress = stack.enter_context(progress_bars("photos"))
            summary = predict_partitions(job, classifier, inputs, run, skipped=skipped, progress=progress)
    except KeyboardInterrupt:
        echo(f"assay: results so far are in {job.out}: repeat the command to resume", err=True)
        raise typer.Exit(130) from None
    return _print_summary(summary, job.out)


def _print_summary(summary: "BatchSummary", out: str) -> int:
    """Print counts and the first errors; return the number of unreadable photos."""
    earlier = f" ({counted(summary.resumed, 'result')} from an earlier run)" if summary.resumed else ""
    echo(f"{counted(summary.count, 'photo')} classified, {summary.unreadable} unreadable: {out}{earlier}")
    for example in summary.examples:
        echo(f"assay: {example}", err=True)
    if summary.unreadable > len(summary.examples):
        echo(f"assay: {summary.unreadable - len(summary.examples)} more: see `error` in {out}", err=True)
    return summary.unreadable


def _predictions(classifier: "Classifier", paths: "Iterable[Path]", total: int) -> "Iterator[Prediction | Failure]":
    from assay.cli.console import progress_bars

    with progress_bars("photos") as progress:
        for done, answer in enumerate(classifier.stream(paths), start=1):
            progress("classifying", done, max(total, done + 1))
            yield answer


def _print_predictions(answers: "Iterable[Prediction | Failure]", *, json: bool) -> int:
    """Print predictions as they are computed; return the number of unreadable photos."""
    from assay.core.printable_text import printable
    from assay.inference import Failure
    from assay.inference.prediction_tables import json_line, prediction_row

    unreadable, width = 0, 0
    for answer in answers:
        if json:
            print_json_text(json_line(prediction_row(answer)))
        if isinstance(answer, Failure):
            unreadable += 1
            echo(f"assay: {answer.source}: {answer.reason}", err=True)
        elif not json:
            name = printable(answer.source or "")
            width = max(width, min(len(name), 60))
            unknown = f"  unknown: {(answer.reason or '').replace('_', ' ')}" if answer.unknown else ""
            print_result(f"{name:<{width}}  {answer.label}  {answer.confidence:.3f}{unknown}")
    return unreadable
