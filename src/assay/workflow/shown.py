"""How an evaluation shows itself in a notebook: its figures, and pictures written beside them."""

from collections.abc import Iterable
from pathlib import Path

from assay import notebook
from assay.evaluation import Metrics

CONFUSION = "confusion_matrix.png"
"""The picture of the confusion matrix in the folder of an evaluation."""

_WIDTH = 480


def show_evaluation(title: str, metrics: Metrics, pictures: Iterable[Path]) -> str:
    """Return figures as a table, then the pictures that are still there.

    Args:
        title: what was judged on what.
        metrics: the figures.
        pictures: PNG files.
    """
    shown = [
        notebook.picture(path.read_bytes(), path.stem.replace("_", " "), _WIDTH)
        for path in pictures
        if path.is_file()
    ]
    return notebook.panel(title, metrics._repr_html_(), *shown)
