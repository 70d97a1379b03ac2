"""Labels of photos that a finished classifier meets: its own classes, or labels that its recipe maps."""

from pathlib import Path

from assay.bundle import BundleInfo
from assay.data.labels import Mapped
from assay.data.scan import list_source
from assay.recipe import Layout, Recipe


def mapping_for(info: BundleInfo, data: Path, layout: Layout = "auto") -> Mapped | None:
    """Return the class mapping with which data are to be read for a classifier.

    Args:
        info: what its bundle says; the recipe may map labels (CIFAR-10's ten to vehicle and animal).
        data: labelled photos.
        layout: what the folders in a folder are.

    Returns:
        The recipe's mapping; None where it has none, or where the data are labelled with the classes.

    Raises:
        AssayError: the data cannot be read.
    """
    mapping = Recipe.model_validate(info.provenance.recipe).data.mapping
    if mapping is None or set(list_source(data, layout).labels) <= set(info.classes):
        return None
    return mapping
