"""`assay compare`: classifiers side by side."""

from pathlib import Path
from typing import Annotated

import typer

from assay.cli.console import say_text


def compare(
    results: Annotated[
        list[Path],
        typer.Argument(help="Run folders, cross-validations, evaluations or predictions.npz files."),
    ],
    *,
    positive: Annotated[str | None, typer.Option(help="The class whose precision is told.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Write the table as CSV too.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
) -> None:
    """Compare classifiers, and tell whether the difference to the best is more than chance.

    Runs are compared on their test photos (validation where there are none), photo by photo.

    Example: assay compare runs/default-1 runs/default-2 --csv table.csv
    """
    from assay.cli.console import print_json
    from assay.workflow import compare_results

    ranking = compare_results(results, positive)
    if csv is not None:
        ranking.write_csv(csv)
    if json:
        print_json(ranking.to_dict())
    else:
        say_text(ranking.text)
