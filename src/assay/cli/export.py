"""`assay export`: convert a classifier to ONNX, OpenVINO or TorchScript."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assay.cli.console import echo
from assay.core.errors import UsageError
from assay.core.text_layout import counted

if TYPE_CHECKING:
    from assay.export import ExportedFormat, ExportResult


def export(
    model: Annotated[Path, typer.Argument(help="A .assay file.")],
    *,
    to: Annotated[Path, typer.Option(help="Output folder.")],
    check: Annotated[
        list[str] | None,
        typer.Option(
            help="Photos (files, folders, globs) on which every exported file must agree with MODEL; 32 are compared."
        ),
    ] = None,
    no_check: Annotated[bool, typer.Option("--no-check", help="Skip the comparison with MODEL.")] = False,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format", help="onnx, onnx-int8, openvino, openvino-int8 or torchscript; repeatable. (default: all)"
        ),
    ] = None,
    int8: Annotated[
        Path | None,
        typer.Option(
            metavar="DATA",
            help="Labelled photos that MODEL was trained and tested on, to quantize it if it contains no int8 model.",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Convert a classifier to ONNX, OpenVINO or TorchScript, with example code.

    Every exported file is checked against MODEL. If one disagrees, nothing is written.

    Example: assay export model.assay --to exported --check photos/
    """
    from assay.cli.console import print_json, progress_bars
    from assay.export import export_model
    from assay.image.input_paths import expand_image_paths

    if bool(check) == no_check:
        raise UsageError(
            "exports are verified on real photos: give --check PHOTOS, or --no-check"
            if not check
            else "--check and --no-check cannot be combined"
        )
    compared = list(expand_image_paths(check)) if check else None
    with progress_bars() as progress:
        result = export_model(model, to, formats or ("all",), photos=compared, int8=int8, progress=progress)
    if json:
        print_json(result.to_dict())
        return
    _print_exports(result, None if compared is None else len(compared))


def _print_exports(result: "ExportResult", given: int | None) -> None:
    from assay.export.exporter import MAX_IMAGES

    for file in result.exported:
        echo(f"{file.format:<14}{file.size / 1e6:7.1f} MB  {_agreement_text(file)}")
    for name, reason in result.skipped.items():
        echo(f"{name:<14}skipped: {reason}")
    used = max((file.agreement.photos for file in result.exported if file.agreement is not None), default=given)
    if given is not None and used != given:
        echo(f"compared on {used} of {given:,} photos: at most {MAX_IMAGES}, without those that cannot be read")
    echo("", f"{result.folder} contains a .json description and a runnable example_….py for each format.")


def _agreement_text(file: "ExportedFormat") -> str:
    agreement = file.agreement
    if agreement is None:
        return "not checked"
    same = (
        "same labels"
        if not agreement.labels_differ
        else counted(agreement.labels_differ, "label differs", "labels differ")
    )
    return f"{counted(agreement.photos, 'photo')}: logits within {agreement.difference:.1g}, {same}"
