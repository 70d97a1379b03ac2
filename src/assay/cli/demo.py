"""`assay demo`: train, evaluate and use a classifier on a bundled dataset."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assay.cli.console import echo, echo_text
from assay.core.printable_text import printable

if TYPE_CHECKING:
    from assay.pipeline import TrainResult


def demo(
    *,
    to: Annotated[Path, typer.Option(help="Output folder for photos and results.")] = Path("assay-demo"),
    seed: Annotated[int, typer.Option(help="Random seed of the split and the initial weights.")] = 0,
) -> None:
    """Train, evaluate and use a defect classifier on 2,624 photos of solar cells.

    Needs the package extra `demo`; works offline. Takes about a minute on two CPU cores.

    Example: assay demo
    """
    from assay.cli.console import program_path, progress_bars, shell_command
    from assay.cli.train import training_summary
    from assay.cli.training_callbacks import training_callbacks
    from assay.data.fetch.converters import prepare_elpv
    from assay.pipeline import result_folder, train_classifier
    from assay.recipe import load_recipe

    about = "Tells defective solar cells from functional ones on electroluminescence photos."
    settings = ["name=solar-cells", f"description={about}", "data.positive_class=defective", f"train.seed={seed}"]
    recipe = load_recipe("defect-lite", settings)
    echo("ELPV dataset: solar cells, functional or defective (defect probability of 0.5 or more)")
    manifest = prepare_elpv(to / "photos")
    with progress_bars() as progress, result_folder(None, to, "run") as folder:
        result = train_classifier(manifest, recipe, folder, training_callbacks(recipe, progress, quiet=False))
    echo_text(training_summary(result))
    echo_text(_unseen(result))
    bundle, photos = result.run.bundle, to / "photos"
    echo(
        "",
        "Next:",
        f"  {shell_command('info', bundle)}",
        f"  {shell_command('predict', bundle, photos / 'defective', '--out', to / 'answers.csv')}",
        f"  {shell_command('evaluate', bundle, result.run.manifest, '--split', 'test')}",
        "",
        f"With your own photos, one folder for each class: {program_path()} train FOLDER",
    )


def _unseen(result: "TrainResult") -> str:
    """Classify five photos of the test split, which training has not used."""
    from assay.inference import Classifier

    test = result.dataset.part("test")
    chosen = test[:: max(1, len(test) // 5)][:5]
    answers = Classifier.load(result.run.bundle).predict([sample.path for sample in chosen])
    lines = ["", "Predictions for five test photos:"]
    for sample, answer in zip(chosen, answers, strict=True):
        lines.append(f"  {sample.id:<28} {answer.label:<11} {answer.confidence:.2f}   labelled {sample.label}")
    return "\n".join(map(printable, lines))
