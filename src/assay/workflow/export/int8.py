"""An int8 model for a bundle that has none, made for the export alone. Needs `assay[train]`."""

import shutil
from pathlib import Path

from assay.bundle import Bundle
from assay.data.prepare import prepare
from assay.progress import Progress, silent
from assay.recipe import Recipe
from assay.workflow.mapping import mapping_for
from assay.workflow.precision import add_int8


def quantised(
    bundle: Bundle, data: Path, scratch: Path, progress: Progress = silent
) -> tuple[Bundle, str | None]:
    """Return a bundle with an int8 model, if that is as good on validation photos and faster here.

    Args:
        bundle: stays as it is.
        data: labelled photos like those of the training. Parts that it brings are kept, as those of a run's
            `manifest.csv`; otherwise it is split as the recipe says, which for the photos of the training
            gives the parts of the training.
        scratch: folder in which the new bundle is written.
        progress: told how things go on.

    Returns:
        The new bundle and None; or the old one and why the int8 model is not used.

    Raises:
        AssayError: the photos cannot be read or split.
        BundleError: the model cannot be quantised.
    """
    recipe = Recipe.model_validate(bundle.info.provenance.recipe)
    spec = recipe.data.model_copy(update={"mapping": mapping_for(bundle.info, data, recipe.data.layout)})
    dataset = prepare(
        data, spec, recipe.train.seed, value_range=recipe.preprocess.value_range, progress=progress
    )
    copy = scratch / bundle.path.name
    shutil.copyfile(bundle.path, copy)
    outcome = add_int8(copy, dataset, progress=progress)
    return (Bundle.open(copy), None) if outcome.kept else (bundle, outcome.sentence)
