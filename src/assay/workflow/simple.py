"""`assay.train`: a whole training in one call, with the defaults of the command line."""

from json import dumps
from pathlib import Path
from typing import get_args

from assay.data import DataSource
from assay.errors import UsageError
from assay.recipe import Layout, Recipe, load_recipe
from assay.workflow.run import result_folder
from assay.workflow.train import TrainResult, Watcher, train_classifier


def train(
    data: DataSource,
    recipe: str | Path | Recipe = "default",
    run: str | Path | None = None,
    *,
    like: str | Path | None = None,
    layout: Layout | None = None,
    watcher: Watcher | None = None,
    **settings: object,
) -> TrainResult:
    """Train a classifier, judge it and write its run folder; what `assay train` does.

    Args:
        data: class folders, train/val/test folders, a manifest, an array file; or a `datasets.Dataset` or
            `DatasetDict`, which is written as files beside the run.
        recipe: a recipe's name, a YAML file, or a recipe.
        run: folder for the results; none: the next of `runs/RECIPE-1`, `runs/RECIPE-2`, ...
        like: an earlier run, whose photos keep their parts.
        layout: what the folders in a folder are: `classes`, `splits` (train/val/test that hold the classes),
            or `auto`: their names decide. None: as the recipe says.
        watcher: told how things go on; none: nobody is.
        settings: values to change in a recipe that is named; two underscores stand for the point, as in
            `train__epochs=5`.

    Returns:
        The run, its figures and where the bundle is: `result.run.bundle`.

    Raises:
        UsageError: there is no such recipe or setting, the run exists already, or the data is of no such
            kind.
        AssayError: the photos, the computer or the weights do not allow it; the sentence says why.
    """
    if layout is not None and layout not in get_args(Layout):
        raise UsageError(f"layout is {layout!r}: give one of {', '.join(get_args(Layout))}")
    if isinstance(recipe, Recipe):
        if settings:
            raise UsageError("settings change a recipe that is named; give a name, or a recipe alone")
        chosen = recipe
        if layout is not None:
            chosen = recipe.model_copy(update={"data": recipe.data.model_copy(update={"layout": layout})})
    else:
        overrides = [f"{name.replace('__', '.')}={dumps(value)}" for name, value in settings.items()]
        overrides += [] if layout is None else [f"data.layout={layout}"]
        chosen = load_recipe(recipe, overrides)
    earlier = None if like is None else Path(like)
    named = None if run is None else Path(run)
    with result_folder(named, Path("runs"), chosen.name) as folder:
        return train_classifier(data, chosen, folder, watcher, like=earlier)
