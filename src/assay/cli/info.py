"""`assay info`: show the model card of a classifier."""

from pathlib import Path
from typing import Annotated

import typer

from assay.cli.console import echo_text, print_json_text


def info(
    model: Annotated[Path, typer.Argument(help="A .assay file.")],
    *,
    json: Annotated[bool, typer.Option("--json", help="Print all fields as JSON.")] = False,
) -> None:
    """Show the model card of a classifier: classes, metrics, training data and provenance.

    Example: assay info model.assay
    """
    from assay.bundle import Bundle

    bundle = Bundle.open(model)
    print_json_text(bundle.info.model_dump_json(indent=2)) if json else echo_text(bundle.card.rstrip())
