"""`assay crossval`: how good a recipe is on these photos, and how much of that is luck."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assay.cli.console import say_text
from assay.cli.layout import LayoutOption, layout_setting

if TYPE_CHECKING:
    from assay.workflow import CrossvalResult


def crossval(
    data: Annotated[
        Path | None,
        typer.Argument(
            help="Folder of classes, folder of train/val/test, or a manifest; its test part, if any, is kept."
        ),
    ] = None,
    *,
    recipe: Annotated[str, typer.Option("--recipe", "-r", help="A recipe's name or YAML file.")] = "default",
    folds: Annotated[int, typer.Option(max=1000, help="Parts; each is held out once.")] = 5,
    repeats: Annotated[int, typer.Option(max=1000, help="How often, each with another seed.")] = 1,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A value to change, as train.epochs=5; repeatable.")
    ] = None,
    layout: LayoutOption = None,
    run: Annotated[
        Path | None, typer.Option(help="Folder for the results; by default runs/RECIPE-crossval-N.")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Go on with a cross-validation that was stopped.")
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(max=256, help="Runs at a time; by default what fits. Never changes a result."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Train and judge once for every fold; print mean ± standard deviation.

    Every photo is judged by a classifier that was not trained on it. Groups of photos (copies, bursts) stay
    whole. A test part that the data brings stays the test of every fold; other parts are ignored.

    Example: assay crossval photos/ -r bottle --folds 5 --repeats 2
    """
    from assay.cli.console import print_json, progress_bars
    from assay.cli.series import series_watcher
    from assay.errors import UsageError
    from assay.recipe import load_recipe
    from assay.workflow import cross_validate, result_folder, resume_crossval

    with progress_bars() as progress:
        watcher = series_watcher(progress, quiet=json)
        if resume is not None:
            if data or set_ or layout or run or recipe != "default" or (folds, repeats) != (5, 1):
                raise UsageError(
                    "--resume takes everything from the folder: give only --jobs or --json with it"
                )
            result = resume_crossval(resume, jobs=jobs, watcher=watcher)
        elif data is None:
            raise UsageError("give the photos to train on, or --resume FOLDER to go on")
        else:
            settings = load_recipe(recipe, [*(set_ or ()), *layout_setting(layout)])
            with result_folder(run, Path("runs"), f"{settings.name}-crossval") as folder:
                result = cross_validate(
                    data, settings, folder, folds=folds, repeats=repeats, jobs=jobs, watcher=watcher
                )
    if json:
        print_json({"folder": str(result.folder), **result.to_dict()})
    else:
        say_text(_closing(result))


def _closing(result: "CrossvalResult") -> str:
    from assay.cli.summary import describe_metrics

    return "\n".join(
        [
            "",
            result.text,
            "",
            describe_metrics(
                result.out_of_fold,
                "out of fold" if result.held_out == "test" else "out of fold (also selected the best epoch)",
            ),
            "",
            f"tables       {result.folder / 'results.csv'}, {result.folder / 'runs.csv'}",
            f"predictions  {result.folder / 'predictions.npz'}",
            f"classifiers  {result.folder / 'repeat-*' / 'fold-*' / 'model.assay'}",
        ]
    )
