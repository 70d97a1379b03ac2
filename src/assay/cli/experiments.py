"""`assay crossval`, `assay variants`, `assay tune` and `assay compare`: train and compare several classifiers."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assay.cli.console import echo, echo_text, shell_command
from assay.cli.options import DATA_HELP, LayoutOption, layout_setting

if TYPE_CHECKING:
    from assay.pipeline import CrossvalResult


def crossval(
    data: Annotated[
        Path | None,
        typer.Argument(help=f"{DATA_HELP} A test split is kept."),
    ] = None,
    *,
    recipe: Annotated[str, typer.Option("--recipe", "-r", help="Name of a recipe, or a YAML file.")] = "default",
    folds: Annotated[int, typer.Option(max=1000, help="Number of folds; each is held out once.")] = 5,
    repeats: Annotated[int, typer.Option(max=1000, help="Repetitions, each with another seed.")] = 1,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Override a recipe value, e.g. train.epochs=5; repeatable.")
    ] = None,
    layout: LayoutOption = None,
    run: Annotated[Path | None, typer.Option(help="Output folder. (default: runs/RECIPE-crossval-N)")] = None,
    resume: Annotated[Path | None, typer.Option(help="Resume an interrupted cross-validation in this folder.")] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            max=256, help="Parallel runs; does not affect the results. (default: as many as CPUs and memory allow)"
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Cross-validate a recipe; print mean ± standard deviation over the folds.

    Every photo is predicted by a classifier that was not trained on it. Groups of photos (duplicates, bursts)
    stay in one fold. An existing test split is used as the test set of every fold; other existing splits are
    ignored.

    Example: assay crossval photos/ -r bottle --folds 5 --repeats 2
    """
    from assay.cli.console import print_json, progress_bars
    from assay.cli.training_output import experiment_callbacks
    from assay.core.errors import UsageError
    from assay.pipeline import cross_validate, result_folder, resume_crossval
    from assay.recipe import load_recipe

    with progress_bars() as progress:
        callbacks = experiment_callbacks(progress, quiet=json)
        if resume is not None:
            if data or set_ or layout or run or recipe != "default" or (folds, repeats) != (5, 1):
                raise UsageError("--resume takes all settings from the folder: give only --jobs or --json with it")
            result = resume_crossval(resume, jobs=jobs, callbacks=callbacks)
        elif data is None:
            raise UsageError("give the photos to train on, or --resume FOLDER")
        else:
            settings = load_recipe(recipe, [*(set_ or ()), *layout_setting(layout)])
            with result_folder(run, Path("runs"), f"{settings.name}-crossval") as folder:
                result = cross_validate(
                    data, settings, folder, folds=folds, repeats=repeats, jobs=jobs, callbacks=callbacks
                )
    if json:
        print_json({"folder": str(result.folder), **result.to_dict()})
    else:
        echo_text(_crossval_summary(result))


def _crossval_summary(result: "CrossvalResult") -> str:
    from assay.cli.training_output import describe_metrics

    return "\n".join(
        [
            "",
            result.text,
            "",
            describe_metrics(
                result.out_of_fold,
                "out of fold" if result.held_out == "test" else "out of fold (also used to select each classifier)",
            ),
            "",
            f"tables       {result.folder / 'results.csv'}, {result.folder / 'runs.csv'}",
            f"predictions  {result.folder / 'predictions.npz'}",
            f"classifiers  {result.folder / 'repeat-*' / 'fold-*' / 'model.assay'}",
        ]
    )


def variants(
    data: Annotated[Path | None, typer.Argument(help=DATA_HELP)] = None,
    recipes: Annotated[
        str | None, typer.Argument(help="List of variants: a built-in name (vehicle-animal) or a YAML file.")
    ] = None,
    *,
    folds: Annotated[int, typer.Option(help="Cross-validate each variant with this many folds; 0: use one split.")] = 0,
    repeats: Annotated[int, typer.Option(max=1000, help="Repetitions, each with another seed.")] = 1,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Override a value in all recipes, e.g. train.epochs=5; repeatable."),
    ] = None,
    layout: LayoutOption = None,
    run: Annotated[Path | None, typer.Option(help="Output folder. (default: runs/LIST-variants-N)")] = None,
    resume: Annotated[Path | None, typer.Option(help="Resume interrupted variants in this folder.")] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            max=256, help="Parallel runs; does not affect the results. (default: as many as CPUs and memory allow)"
        ),
    ] = None,
    show: Annotated[str | None, typer.Option(help="Print a built-in list of variants as a template.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Train several recipes on the same splits and compare accuracy, precision and loss.

    With --repeats or --folds each variant is trained several times, and the table shows mean ± standard
    deviation. A list gives each variant a name, a recipe, overrides and a description; --show prints an
    example.

    Example: assay variants cifar10/ vehicle-animal --repeats 3
    """
    from assay.cli.console import print_json, progress_bars
    from assay.cli.training_output import experiment_callbacks
    from assay.core.errors import UsageError
    from assay.pipeline import result_folder, resume_variants, train_variants
    from assay.recipe.variants import load_variants, show_variants

    if show is not None:
        echo_text(show_variants(show).rstrip("\n"))
        return
    with progress_bars() as progress:
        callbacks = experiment_callbacks(progress, quiet=json)
        if resume is not None:
            if data or recipes or set_ or layout or run or (folds, repeats) != (0, 1):
                raise UsageError("--resume takes all settings from the folder: give only --jobs or --json with it")
            result = resume_variants(resume, jobs=jobs, callbacks=callbacks)
        elif data is None or recipes is None:
            raise UsageError("give the photos and a list of variants, as in: assay variants PHOTOS list.yaml")
        else:
            chosen = load_variants(recipes, [*(set_ or ()), *layout_setting(layout)])
            with result_folder(run, Path("runs"), f"{Path(recipes).stem}-variants") as folder:
                result = train_variants(
                    data, chosen, folder, folds=folds, repeats=repeats, jobs=jobs, callbacks=callbacks
                )
    if json:
        print_json({"folder": str(result.folder), **result.to_dict()})
        return
    echo_text(f"\n{result.text}\n")
    tables = [str(result.folder / name) for name in ("results.csv", "runs.csv", "comparison.csv")]
    echo(f"tables       {', '.join(tables)}")
    echo(f"classifiers  {result.folder / '**' / 'model.assay'}")


class Cluster(StrEnum):
    """Where trials are trained."""

    local = "local"
    ray = "ray"


class RankingMetric(StrEnum):
    """The metric that ranks the settings."""

    accuracy = "accuracy"
    loss = "loss"


def tune(
    data: Annotated[Path | None, typer.Argument(help=DATA_HELP)] = None,
    *,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            "-r",
            help="Name of a recipe, not of the strategy auto, or a YAML file with a search space.",
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Values to try, e.g. train.lr=1e-3,1e-2; repeatable."),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(
            min=1, max=100_000, help="Number of trials. (default: all combinations; 20 if the recipe has ranges)"
        ),
    ] = None,
    folds: Annotated[
        int,
        typer.Option(max=1000, help="Cross-validate heads with this many folds; 0: use the recipe's split."),
    ] = 0,
    by: Annotated[RankingMetric, typer.Option(help="Validation metric to rank by.")] = RankingMetric.accuracy,
    layout: LayoutOption = None,
    run: Annotated[Path | None, typer.Option(help="Output folder. (default: runs/RECIPE-tune-N)")] = None,
    resume: Annotated[Path | None, typer.Option(help="Resume an interrupted search in this folder.")] = None,
    cluster: Annotated[
        Cluster,
        typer.Option(
            help="Where whole recipes are trained. local: in this process; ray: in parallel on the Ray cluster of "
            "RAY_ADDRESS, or one started on this machine."
        ),
    ] = Cluster.local,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Search settings, ranked by validation metrics; test photos are not used.

    Settings of a head on a frozen backbone (train.strategy=probe) are tried in seconds: each photo is processed
    once. With other recipes every trial is a training; trials that are not among the best end early.

    Example: assay tune photos/ -r defect-lite --set train.lr=1e-3,3e-3,1e-2 --set net.head.dropout=0,0.3
    """
    from contextlib import ExitStack

    from assay.cli.console import print_json, progress_bars
    from assay.core.errors import UsageError
    from assay.pipeline import result_folder, resume_tune, tune_recipe

    with ExitStack() as stack:
        runner = None
        if cluster is Cluster.ray:
            from assay.scale.cluster import ray_cluster
            from assay.scale.ray_tune import RayTrials

            runner = RayTrials(stack.enter_context(ray_cluster()))
        progress = stack.enter_context(progress_bars())
        if resume is not None:
            if (
                data
                or recipe
                or set_
                or layout
                or run
                or trials is not None
                or folds
                or by is not RankingMetric.accuracy
            ):
                raise UsageError("--resume takes all settings from the folder: give only --cluster or --json with it")
            result = resume_tune(resume, runner=runner, progress=progress)
        elif data is None or recipe is None:
            raise UsageError("give the photos to train on and a recipe (-r), or --resume FOLDER")
        else:
            folder = stack.enter_context(result_folder(run, Path("runs"), f"{Path(recipe).stem}-tune"))
            result = tune_recipe(
                data,
                recipe,
                [*(set_ or ()), *layout_setting(layout)],
                folder,
                trials=trials,
                folds=folds,
                by=by.value,
                runner=runner,
                progress=progress,
            )
    if json:
        print_json(result.to_dict())
        return
    best = result.folder / "best.yaml"
    echo_text(result.text)
    echo("", f"table       {result.folder / 'tune.csv'}", f"report      {result.folder / 'tune.html'}")
    echo(f"recipe      {best}", f"train it    {shell_command('train', data or 'PHOTOS', '-r', best)}")


def compare(
    results: Annotated[
        list[Path],
        typer.Argument(help="Folders of runs, cross-validations or evaluations, or predictions.npz files."),
    ],
    *,
    positive: Annotated[str | None, typer.Option(help="Class whose precision is listed.")] = None,
    labels: Annotated[
        Path | None,
        typer.Option(help="Manifest with other labels, such as corrected ones: compare with them, on common photos."),
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="Also write the table as CSV.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
) -> None:
    """Compare classifiers and test whether their differences from the best are significant.

    Predictions on the same test photos (or validation photos if there is no test split) are compared in
    pairs. With --labels they are compared on the photos that all were evaluated on, with these labels.

    Example: assay compare runs/default-1 runs/default-2 --csv table.csv
    """
    from assay.cli.console import print_json
    from assay.pipeline import compare_results

    ranking = compare_results(results, positive, labels)
    if csv is not None:
        ranking.write_csv(csv)
    if json:
        print_json(ranking.to_dict())
    else:
        echo_text(ranking.text)
