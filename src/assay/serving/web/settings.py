"""Settings of the web pages."""

from pathlib import Path

from assay.recipe.base import Settings


class WebSettings(Settings):
    """The pages of a server."""

    page: bool = True
    """Serve the page at `/`, and the page for labels at `/relabel`."""
    suspects: Path | None = None
    """Photos of doubtful labels: a report's `suspects.csv`, or the JSON of `assay check --model`."""
    data: Path | None = None
    """Manifest of the photos that the model learned from (a run's manifest.csv): labels are given on top of
    it, so that what is written is the whole data set."""
    labels: Path | None = None
    """Manifest that labels are written to; unset: labels.csv in the folder of uncertain photos, else beside
    the suspects."""
