"""`assay predict`: photos in, labels out."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assay.cli.console import is_terminal, result, result_json, say
from assay.cli.engines import EngineOption, Precision, PrecisionOption, ThreadsOption, tell_runs
from assay.errors import AssayError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from assay.inference import Classifier, Failure, Prediction


def predict(
    model: Annotated[Path, typer.Argument(help="A .assay file.")],
    inputs: Annotated[list[str], typer.Argument(help="Photos, folders, or globs such as 'shots/*.jpg'.")],
    *,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object a photo (JSON lines).")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Write a table to this file: .csv, .jsonl or .parquet.")
    ] = None,
    abstain: Annotated[
        bool, typer.Option(help="Say which photos are unknown: unsure, or unlike the training photos.")
    ] = True,
    engine: EngineOption = "auto",
    precision: PrecisionOption = Precision.auto,
    threads: ThreadsOption = None,
) -> None:
    """Classify photos, one or a hundred thousand. Files in folders that are not images are skipped.

    With --out, answers are kept beside the table as they come; the same command goes on where one that was
    stopped or killed had come to. Photos that cannot be read are listed; exits with 1 if there is any.

    Example: assay predict model.assay photos/ --out answers.csv
    """
    from assay.cli.inputs import photos
    from assay.inference import Classifier
    from assay.photo_files import Passed

    if out is not None:
        _check_output(out, json=json)
    passed = Passed()
    paths = photos(inputs, without=_written(out), passed=passed)
    classifier = Classifier.load(
        model,
        engine=engine,
        precision=precision.value,
        # A table is for many photos.
        mode="latency" if out is None else "throughput",
        threads=threads,
        abstain=abstain,
        measure=out is not None,
    )
    tell_runs(classifier)
    total = sum(1 for _ in photos(inputs, without=_written(out))) if is_terminal(sys.stderr) else 0
    if out is not None:
        unreadable = _write(
            classifier, paths, out, total, {"abstain": abstain, "precision": classifier.precision}
        )
    else:
        unreadable = _print(_answers(classifier, paths, total), json=json)
    if passed.skipped:
        counts = ", ".join(f"{count} {reason}" for reason, count in sorted(passed.skipped.items()))
        say(f"skipped: {counts}", err=True)
    if unreadable:
        raise typer.Exit(1)


def _check_output(out: Path, *, json: bool) -> None:
    from assay.inference.answers import check_format

    if json:
        raise UsageError("--json and --out exclude each other: end the name of --out in .jsonl, or leave one")
    check_format(out)


def _written(out: Path | None) -> list[Path]:
    """Return the files that are ours, and none of the photos."""
    from assay.inference.partial import partial_path

    return [] if out is None else [out, partial_path(out)]


def _write(
    classifier: "Classifier", paths: "Iterable[Path]", out: Path, total: int, conditions: dict[str, Any]
) -> int:
    """Write the table and say so; return how many photos could not be read."""
    from assay.cli.console import progress_bars
    from assay.inference.many import predict_many
    from assay.inference.partial import partial_path

    try:
        with progress_bars("photos") as progress:
            tally = predict_many(
                classifier, paths, out, total=total, conditions=conditions, progress=progress
            )
    except KeyboardInterrupt:
        say(f"assay: {partial_path(out)} keeps the answers: the same command goes on from there", err=True)
        raise typer.Exit(130) from None
    except OSError as error:
        reason = error.strerror or error
        raise AssayError(
            f"{out} cannot be written ({reason}): mend it, and the same command goes on"
        ) from None
    earlier = f", {tally.resumed} of the answers from before the interruption" if tally.resumed else ""
    say(f"{tally.count} photos classified, {tally.unreadable} unreadable: {out}{earlier}")
    for example in tally.examples:
        say(f"assay: {example}", err=True)
    if tally.unreadable > len(tally.examples):
        say(f"assay: {tally.unreadable - len(tally.examples)} more: see `error` in {out}", err=True)
    return tally.unreadable


def _answers(
    classifier: "Classifier", paths: "Iterable[Path]", total: int
) -> "Iterator[Prediction | Failure]":
    from assay.cli.console import progress_bars

    with progress_bars("photos") as progress:
        for done, answer in enumerate(classifier.stream(paths), start=1):
            progress("classifying", done, max(total, done + 1))
            yield answer


def _print(answers: "Iterable[Prediction | Failure]", *, json: bool) -> int:
    """Print each answer as it comes; return how many photos could not be read."""
    from assay.inference import Failure
    from assay.inference.answers import to_line, to_row
    from assay.text import printable

    unreadable, width = 0, 0
    for answer in answers:
        if json:
            result_json(to_line(to_row(answer)))
        if isinstance(answer, Failure):
            unreadable += 1
            say(f"assay: {answer.source}: {answer.reason}", err=True)
        elif not json:
            name = printable(answer.source or "")
            width = max(width, min(len(name), 60))
            doubt = f"  unknown: {answer.reason}" if answer.unknown else ""
            result(f"{name:<{width}}  {answer.label}  {answer.confidence:.3f}{doubt}")
    return unreadable
