"""`assay predict`: photos in, labels out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from assay.inference import Prediction


def predict(
    model: Annotated[Path, typer.Argument(help="A .assay file.")],
    inputs: Annotated[list[str], typer.Argument(help="Photos, folders, or globs such as 'shots/*.jpg'.")],
    *,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object a photo (JSON lines).")] = False,
    csv: Annotated[Path | None, typer.Option(help="Write a table to this CSV file.")] = None,
    abstain: Annotated[
        bool, typer.Option(help="Say which photos are unknown: unsure, or unlike the training photos.")
    ] = True,
    engine: Annotated[str, typer.Option(help="auto, openvino or onnxruntime.")] = "auto",
) -> None:
    """Classify photos. Files that are no photos inside folders are passed over; unreadable ones are listed.

    Exits with 1 if any photo could not be read.

    Example: assay predict model.assay photos/ --csv answers.csv
    """
    from assay.cli.console import progress_bars
    from assay.cli.inputs import photos
    from assay.cli.tables import write_answers
    from assay.inference import Classifier, Failure

    paths = photos(inputs)
    classifier = Classifier.load(model, engine=engine, abstain=abstain)
    failures: list[Failure] = []

    def good() -> "Iterable[Prediction]":
        with progress_bars() as progress:
            for done, answer in enumerate(classifier.stream(paths), start=1):
                progress("classifying", done, len(paths))
                if isinstance(answer, Failure):
                    failures.append(answer)
                else:
                    yield answer

    if csv is not None:
        count = write_answers(csv, good(), classifier.classes, limits=classifier.limits is not None)
        typer.echo(f"{count} photos classified: {csv}")
    elif json:
        _print_lines(good())
    else:
        _print_table(good(), max(len(str(path)) for path in paths))
    for failure in failures:
        typer.echo(f"assay: {failure.source}: {failure.reason}", err=True)
    if failures:
        raise typer.Exit(1)


def _print_lines(answers: "Iterable[Prediction]") -> None:
    from json import dumps

    for answer in answers:
        typer.echo(dumps(answer.to_dict(), ensure_ascii=False))


def _print_table(answers: "Iterable[Prediction]", width: int) -> None:
    for answer in answers:
        doubt = f"  unknown: {answer.reason}" if answer.unknown else ""
        typer.echo(f"{answer.source:<{min(width, 60)}}  {answer.label}  {answer.confidence:.3f}{doubt}")
