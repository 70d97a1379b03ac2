"""What a bundle must be able to do before it answers anybody: made-up photos, and golden ones if any.

Knows nothing of HTTP.
"""

from pathlib import Path

import numpy as np

from assay.bundle import BundleError
from assay.image import HEAD_BYTES, sniff
from assay.inference import Classifier, Failure

_SUM = 1e-6


def check(classifier: Classifier, golden: Path | None = None) -> None:
    """Have a classifier answer photos and look at the answers.

    Args:
        classifier: the one to be used.
        golden: folder of photos, in folders named after classes where their class is known.

    Raises:
        BundleError: an answer is not finite, or a golden photo gets none or the wrong one.
    """
    where = classifier.info.name if classifier.bundle is None else str(classifier.bundle.path)
    side = classifier.preprocess.size
    squares = made_up(side)
    outputs = classifier.outputs(squares)
    if outputs.logits.shape != (len(squares), len(classifier.classes)):
        raise BundleError(f"{where} cannot be used: it gives logits {list(outputs.logits.shape)}")
    for prediction in classifier.predict_pixels(squares):
        values = np.array(list(prediction.probabilities.values()))
        if not np.isfinite(values).all() or abs(values.sum() - 1) > _SUM:
            raise BundleError(f"{where} cannot be used: its answers are no probabilities")
    if golden is not None:
        _check_photos(classifier, golden, where)


def made_up(side: int) -> np.ndarray:
    """Return photos that are the same everywhere, uint8 [4, side, side, 3]: black, white, a ramp, noise."""
    ramp = np.linspace(0, 255, side).astype(np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    shape = (side, side, 3)
    return np.stack(
        [
            np.zeros(shape, np.uint8),
            np.full(shape, 255, np.uint8),
            np.broadcast_to(ramp[:, None, None], shape),
            noise,
        ]
    )


def _check_photos(classifier: Classifier, golden: Path, where: str) -> None:
    paths = sorted(path for path in golden.rglob("*") if _is_photo(path))
    if not paths:
        raise BundleError(f"{golden} holds no golden photos: put some there, or leave out --golden")
    for path, said in zip(paths, classifier.stream(paths), strict=True):
        if isinstance(said, Failure):
            raise BundleError(f"{where} cannot be used: golden photo {said}")
        expected = path.parent.name if path.parent != golden else None
        if expected in classifier.classes and said.label != expected:
            raise BundleError(f"{where} cannot be used: it calls golden photo {path} {said.label!r}")


def _is_photo(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return sniff(stream.read(HEAD_BYTES)) is not None
