"""`assay check`: find problems in a labelled dataset."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assay.cli.console import echo, echo_text
from assay.cli.options import LayoutOption, layout_setting
from assay.core.text_layout import counted

if TYPE_CHECKING:
    from assay.data.check_output import PageFigure
    from assay.evaluation.learning_curve import LearningCurve
    from assay.recipe import Recipe


def check(
    data: Annotated[
        Path, typer.Argument(help="Folder with class folders or train/val/test folders, manifest, or array file.")
    ],
    *,
    recipe: Annotated[
        str,
        typer.Option("--recipe", "-r", help="The recipe that will be used for training; it sets classes and split."),
    ] = "default",
    layout: LayoutOption = None,
    html: Annotated[Path | None, typer.Option(help="Write an HTML report with thumbnails of every finding.")] = None,
    write: Annotated[
        Path | None,
        typer.Option(metavar="CLEAN", help="Write a cleaned dataset: a manifest (.csv), or a copy in a new folder."),
    ] = None,
    fail_on: Annotated[
        str, typer.Option(help="When to exit with 1: error, warning, note, never, or comma-separated kinds.")
    ] = "error",
    mirrored: Annotated[bool, typer.Option(help="Treat mirrored images as duplicates.")] = False,
    bursts: Annotated[bool, typer.Option(help="Look for bursts: similar photos taken within seconds.")] = True,
    min_images: Annotated[
        int | None, typer.Option(min=0, help="Warn about classes with fewer photos. (default: the recipe's)")
    ] = None,
    max_group_share: Annotated[
        float,
        typer.Option(min=0, max=1, help="Warn about duplicate groups that hold a larger share of the data."),
    ] = 0.01,
    model: Annotated[
        Path | None,
        typer.Option(
            help="Also list likely label errors, found with a .assay file or the predictions.npz of a cross-validation."
        ),
    ] = None,
    learning_curve: Annotated[
        bool,
        typer.Option(
            "--learning-curve", help="Also estimate the accuracy with more photos, with the recipe's frozen backbone."
        ),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print all findings as JSON.")] = False,
) -> None:
    """Find problems in a labelled dataset: damaged files, duplicates, leaks, label errors, outliers.

    Reports everything that `assay train` with the same recipe would reject or warn about. Files in DATA are
    never modified. Results are cached, so checking the same photos again is much faster.

    Example: assay check photos/ --html check.html
    """
    from assay.cli.console import print_json, progress_bars
    from assay.data.check import check as audit
    from assay.data.check_output import format_check_summary, write_check_page
    from assay.data.check_result import parse_fail_on
    from assay.data.cleaned_dataset import write_cleaned_dataset
    from assay.recipe import load_recipe

    few = [] if min_images is None else [f"data.min_images_per_class={min_images}"]
    settings = load_recipe(recipe, [*layout_setting(layout), *few])
    wanted = parse_fail_on([name.strip() for name in fail_on.split(",") if name.strip()])
    if learning_curve:
        from assay.pipeline.learning_curve import require_pretrained

        require_pretrained(settings)
    with progress_bars() as progress:
        report = audit(
            data,
            spec=settings.data,
            seed=settings.train.seed,
            mirrored=mirrored,
            bursts=bursts,
            max_group_share=max_group_share,
            value_range=settings.preprocess.value_range,
            progress=progress,
        )
        if model is not None:
            from assay.pipeline.label_error_check import with_label_issues

            report = with_label_issues(report, model, progress)
    failures = report.failures(wanted)
    if not json:
        echo_text(format_check_summary(report))
    curve: LearningCurve | None = None
    try:
        if learning_curve:
            digests = {sample.id: sample.digest for sample in report.samples if sample.digest}
            curve = _measure_learning_curve(data, settings, digests, quiet=json)
    finally:
        # What was found is written also if the curve cannot be measured.
        if html is not None:
            figure = None if curve is None else _learning_curve_figure(curve)
            write_check_page(report, html, title=data.resolve().name, figure=figure)
            echo("", f"report      {html}", err=json)
        if write is not None:
            cleaned = write_cleaned_dataset(report, write)
            echo(
                "",
                f"clean       {cleaned.manifest}: {counted(cleaned.kept, 'photo')}, {cleaned.left_out:,} removed",
                err=json,
            )
        if json:
            print_json(report.to_dict() | ({} if curve is None else {"learning_curve": curve.to_dict()}))
    if failures:
        raise typer.Exit(1)


def _measure_learning_curve(data: Path, recipe: "Recipe", digests: dict[str, str], *, quiet: bool) -> "LearningCurve":
    """Measure a learning curve and print it unless `quiet`."""
    from assay.cli.console import progress_bars
    from assay.pipeline.learning_curve import probe_learning_curve

    with progress_bars() as progress:
        curve = probe_learning_curve(data, recipe, progress, digests=digests)
    if not quiet:
        echo("", f"learning curve of a linear probe on {recipe.net.name}")
        echo_text(curve.text)
        echo(curve.sentence)
    return curve


def _learning_curve_figure(curve: "LearningCurve") -> "PageFigure":
    from assay.data.check_output import PageFigure
    from assay.evaluation.report.page import learning_curve_svg

    figure = learning_curve_svg(curve)
    return PageFigure("Learning curve", curve.sentence, figure.uri, figure.alt)
