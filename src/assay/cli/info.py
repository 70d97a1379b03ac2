"""`assay info`: what a bundle says about itself."""

from pathlib import Path
from typing import Annotated

import typer

from assay.cli.console import result_json, say_text


def info(
    model: Annotated[Path, typer.Argument(help="A .assay file.")],
    *,
    json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Show what a classifier knows, how good it is and where it comes from.

    Example: assay info model.assay
    """
    from assay.bundle import Bundle

    bundle = Bundle.open(model)
    result_json(bundle.info.model_dump_json(indent=2)) if json else say_text(bundle.card.rstrip())
