"""Golden photos: photos with known classes that a new bundle must answer correctly before it is served."""

from pathlib import Path

from assay.bundle import BundleError
from assay.inference import Classifier, Failure
from assay.photo_files import Passed, is_photo, walk


def check_golden(classifier: Classifier, folder: Path) -> None:
    """Have a classifier answer photos whose answers are known.

    Args:
        classifier: the one to be used.
        folder: photos, in folders named after classes where their class is known.

    Raises:
        BundleError: there are no photos, or one gets no answer or the wrong one.
    """
    where = classifier.info.name if classifier.bundle is None else str(classifier.bundle.path)
    paths = sorted(path for path in walk(folder, Passed()) if is_photo(path)) if folder.is_dir() else []
    if not paths:
        raise BundleError(f"{folder} holds no golden photos: put some there, or leave out --golden")
    for path, said in zip(paths, classifier.stream(paths), strict=True):
        if isinstance(said, Failure):
            raise BundleError(f"{where} cannot be used: golden photo {said}")
        expected = path.parent.name if path.parent != folder else None
        if expected in classifier.classes and said.label != expected:
            raise BundleError(f"{where} cannot be used: it calls golden photo {path} {said.label!r}")
