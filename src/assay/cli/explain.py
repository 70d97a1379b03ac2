"""`assay explain`: what in a photo speaks for a class."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assay.cli.console import result_json, say

if TYPE_CHECKING:
    from assay.inference import Classifier, Explain


def explain(
    model: Annotated[Path, typer.Argument(help="A .assay file.")],
    images: Annotated[list[str], typer.Argument(help="Photos, folders, or globs such as 'shots/*.jpg'.")],
    *,
    out: Annotated[Path, typer.Option(help="Folder to write the pictures into.")] = Path("explanations"),
    class_: Annotated[
        str | None, typer.Option("--class", help="The class to explain; by default the predicted one.")
    ] = None,
    engine: Annotated[str, typer.Option(help="auto, openvino or onnxruntime.")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object a photo (JSON lines).")] = False,
) -> None:
    """Draw heat maps of what in photos speaks for a class: a picture a photo and one sheet of all.

    The brighter, the stronger the evidence; a line goes around what has half of the strongest or more. Exits
    with 1 if any photo could not be read.

    Example: assay explain model.assay photos/ --out why/ --class defective
    """
    from assay.cli.console import progress_bars
    from assay.cli.inputs import photos
    from assay.inference import Classifier
    from assay.inference.explain_files import explain_files

    paths = list(photos(images))
    classifier = Classifier.load(model, engine=engine)
    with progress_bars() as progress:
        result = explain_files(_explainer(classifier), paths, out, label=class_, progress=progress)
    if json:
        _print_lines(result.rows)
    elif result.sheet is not None:
        noun = "photo" if len(result.rows) == 1 else "photos"
        say(f"{len(result.rows)} {noun} explained: {result.sheet} shows all side by side")
    for failure in result.failures:
        say(f"assay: {failure}", err=True)
    if result.failures:
        raise typer.Exit(1)


def _explainer(classifier: "Classifier") -> "Explain":
    """Choose the way to explain; torch is imported only if the head leaves no other."""
    if classifier.head is not None:
        return classifier.explain
    from assay.workflow.explain import explainer

    return explainer(classifier)


def _print_lines(rows: tuple[dict[str, object], ...]) -> None:
    from json import dumps

    for row in rows:
        result_json(dumps(row, ensure_ascii=False))
