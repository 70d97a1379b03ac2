"""`assay tune`: which settings of a probe do best on validation photos."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from assay.cli.console import say, say_text
from assay.cli.layout import LayoutOption, layout_setting
from assay.cli.shell_commands import command


class Figure(StrEnum):
    """What ranks."""

    accuracy = "accuracy"
    loss = "loss"


def tune(
    data: Annotated[Path, typer.Argument(help="Folder of classes, of train/val/test, or a manifest.")],
    *,
    recipe: Annotated[str, typer.Option("--recipe", "-r", help="A probe's name or YAML file.")],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Values to try, as train.lr=1e-3,1e-2; repeatable: all combinations."),
    ] = None,
    folds: Annotated[
        int,
        typer.Option(
            max=1000, help="Share training and validation photos out this often; 0: the recipe's split."
        ),
    ] = 0,
    by: Annotated[Figure, typer.Option(help="The figure that ranks.")] = Figure.accuracy,
    layout: LayoutOption = None,
    run: Annotated[
        Path | None, typer.Option(help="Folder for the results; by default runs/RECIPE-tune-N.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Try many settings of a head on a frozen backbone; print them ranked by their validation photos.

    Every photo goes through the backbone once, whatever is tried. Test photos are never looked at.

    Example: assay tune photos/ -r defect-lite --set train.lr=1e-3,3e-3,1e-2 --set net.head.dropout=0,0.3
    """
    from assay.cli.console import print_json, progress_bars
    from assay.workflow import result_folder, tune_probe

    with (
        progress_bars() as progress,
        result_folder(run, Path("runs"), f"{Path(recipe).stem}-tune") as folder,
    ):
        result = tune_probe(
            data,
            recipe,
            [*(set_ or ()), *layout_setting(layout)],
            folder,
            folds=folds,
            by=by.value,
            progress=progress,
        )
    if json:
        print_json(result.to_dict())
        return
    best = folder / "best.yaml"
    say_text(result.text)
    say("", f"table       {folder / 'tune.csv'}")
    say(f"recipe      {best}", f"train it    {command('train', data, '-r', best)}")
