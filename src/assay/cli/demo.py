"""`assay demo`: real photos to a classifier in use, in about a minute."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assay.cli.console import say, say_text
from assay.text import printable

if TYPE_CHECKING:
    from assay.workflow import TrainResult


def demo(
    *,
    to: Annotated[Path, typer.Option(help="Folder for photos and results.")] = Path("assay-demo"),
    seed: Annotated[int, typer.Option(help="Decides the split and the initial weights.")] = 0,
) -> None:
    """Train a defect classifier on 2,624 photos of solar cells, judge it and use it.

    Needs the extra `demo`, then no network. Takes about a minute on two cores.

    Example: assay demo
    """
    from assay.cli.console import progress_bars
    from assay.cli.shell_commands import command, program
    from assay.cli.train import closing, watcher_of
    from assay.data.elpv import prepare_elpv
    from assay.recipe import load_recipe
    from assay.workflow import result_folder, train_classifier

    about = "Tells defective solar cells from functional ones on electroluminescence photos."
    settings = ["name=solar-cells", f"description={about}", "data.positive=defective", f"train.seed={seed}"]
    recipe = load_recipe("defect-lite", settings)
    say("Solar cells of the ELPV set: functional, or defective (defect probability of one half or more)")
    manifest = prepare_elpv(to / "photos")
    with progress_bars() as progress, result_folder(None, to, "run") as folder:
        result = train_classifier(manifest, recipe, folder, watcher_of(recipe, progress, quiet=False))
    say_text(closing(result))
    say_text(_unseen(result))
    bundle, photos = result.run.bundle, to / "photos"
    say(
        "",
        "Next:",
        f"  {command('info', bundle)}",
        f"  {command('predict', bundle, photos / 'defective', '--out', to / 'answers.csv')}",
        f"  {command('evaluate', bundle, result.run.manifest, '--part', 'test')}",
        "",
        f"With photos of your own, in one folder for each class: {program()} train FOLDER",
    )


def _unseen(result: "TrainResult") -> str:
    """Classify five photos of the test part, which no step of the training has seen."""
    from assay.inference import Classifier

    test = result.dataset.part("test")
    chosen = test[:: max(1, len(test) // 5)][:5]
    answers = Classifier.load(result.run.bundle).predict([sample.path for sample in chosen])
    lines = ["", "Five photos that it has never seen:"]
    for sample, answer in zip(chosen, answers, strict=True):
        lines.append(
            f"  {sample.id:<28} {answer.label:<11} {answer.confidence:.2f}   labelled {sample.label}"
        )
    return "\n".join(map(printable, lines))
