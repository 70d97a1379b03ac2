"""`assay variants`: several recipes on the same photos, in one table."""

from pathlib import Path
from typing import Annotated

import typer

from assay.cli.console import say, say_text
from assay.cli.layout import LayoutOption, layout_setting


def variants(
    data: Annotated[
        Path | None, typer.Argument(help="Folder of classes, folder of train/val/test, or a manifest.")
    ] = None,
    recipes: Annotated[
        str | None, typer.Argument(help="A list of variants by name (vehicle-animal) or YAML file.")
    ] = None,
    *,
    folds: Annotated[
        int, typer.Option(help="Cross-validate every variant with so many folds; 0: one split.")
    ] = 0,
    repeats: Annotated[int, typer.Option(max=1000, help="How often, each with another seed.")] = 1,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A value to change in all of them, as train.epochs=5.")
    ] = None,
    layout: LayoutOption = None,
    run: Annotated[
        Path | None, typer.Option(help="Folder for the results; by default runs/LIST-variants-N.")
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on where it was stopped.")] = None,
    jobs: Annotated[
        int | None,
        typer.Option(max=256, help="Runs at a time; by default what fits. Never changes a result."),
    ] = None,
    show: Annotated[str | None, typer.Option(help="Print a list of variants, to copy and change.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Train several recipes on the same parts; print accuracy, precision and loss of each on every part.

    With --repeats or --folds every variant is trained several times, and the table holds mean ± standard
    deviation. A list names each variant, its recipe, what --set would change in it, and a description; --show
    prints one to start from.

    Example: assay variants cifar10/ vehicle-animal --repeats 3
    """
    from assay.cli.console import print_json, progress_bars
    from assay.cli.series import series_watcher
    from assay.errors import UsageError
    from assay.recipe.variants import load_variants, show_variants
    from assay.workflow import result_folder, resume_variants, train_variants

    if show is not None:
        say_text(show_variants(show).rstrip("\n"))
        return
    with progress_bars() as progress:
        watcher = series_watcher(progress, quiet=json)
        if resume is not None:
            if data or recipes or set_ or layout or run or (folds, repeats) != (0, 1):
                raise UsageError(
                    "--resume takes everything from the folder: give only --jobs or --json with it"
                )
            result = resume_variants(resume, jobs=jobs, watcher=watcher)
        elif data is None or recipes is None:
            raise UsageError("give the photos and a list of variants, as in: assay variants PHOTOS list.yaml")
        else:
            chosen = load_variants(recipes, [*(set_ or ()), *layout_setting(layout)])
            with result_folder(run, Path("runs"), f"{Path(recipes).stem}-variants") as folder:
                result = train_variants(
                    data, chosen, folder, folds=folds, repeats=repeats, jobs=jobs, watcher=watcher
                )
    if json:
        print_json({"folder": str(result.folder), **result.to_dict()})
        return
    say_text(f"\n{result.text}\n")
    tables = [str(result.folder / name) for name in ("results.csv", "runs.csv", "comparison.csv")]
    say(f"tables       {', '.join(tables)}")
    say(f"classifiers  {result.folder / '**' / 'model.assay'}")
