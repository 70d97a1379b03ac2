"""`assay explain`: draw heat maps of predictions."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assay.cli.console import echo, print_json_text
from assay.core.text_layout import counted

if TYPE_CHECKING:
    from assay.inference import Classifier, Explainer


def explain(
    model: Annotated[Path, typer.Argument(help="A .assay file.")],
    images: Annotated[list[str], typer.Argument(help="Photos, folders, or globs such as 'photos/*.jpg'.")],
    *,
    out: Annotated[Path, typer.Option(help="Output folder.")] = Path("explanations"),
    class_: Annotated[
        str | None, typer.Option("--class", help="Class to explain. (default: the predicted one)")
    ] = None,
    engine: Annotated[str, typer.Option(help="Inference engine: auto, openvino or onnxruntime.")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object per photo (JSON lines).")] = False,
) -> None:
    """Explain predictions with heat maps: one image per photo and a contact sheet.

    Brighter areas carry more evidence for the class; the contour marks half of the maximum. Exits with 1 if
    any photo could not be read.

    Example: assay explain model.assay photos/ --out why/ --class defective
    """
    from assay.cli.console import progress_bars
    from assay.image.input_paths import expand_image_paths
    from assay.inference import Classifier
    from assay.inference.explanation_files import write_explanations

    paths = list(expand_image_paths(images))
    classifier = Classifier.load(model, engine=engine)
    with progress_bars() as progress:
        result = write_explanations(_explainer(classifier), paths, out, label=class_, progress=progress)
    if json:
        _print_json_rows(result.rows)
    elif result.sheet is not None:
        echo(f"{counted(len(result.rows), 'photo')} explained; contact sheet: {result.sheet}")
    for failure in result.failures:
        echo(f"assay: {failure}", err=True)
    if result.failures:
        raise typer.Exit(1)


def _explainer(classifier: "Classifier") -> "Explainer":
    """Choose CAM, or Grad-CAM (which imports torch) if the head is not a single linear layer."""
    if classifier.head is not None:
        return classifier.explain
    from assay.pipeline.grad_cam import create_explainer

    return create_explainer(classifier)


def _print_json_rows(rows: tuple[dict[str, object], ...]) -> None:
    from json import dumps

    for row in rows:
        print_json_text(dumps(row, ensure_ascii=False))
