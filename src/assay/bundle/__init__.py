"""The `.assay` file: everything a prediction depends on, in one zip file that is safe to open from anyone.

This package reads and amends bundles without torch; `assay.bundle.write` makes one from a network and imports
torch.
"""

from assay.bundle.amend import amend_bundle, pack
from assay.bundle.card import render_card
from assay.bundle.errors import BundleError
from assay.bundle.info import FORMAT_VERSION, BundleInfo, Calibration, Precision, Provenance
from assay.bundle.read import Bundle

__all__ = [
    "FORMAT_VERSION",
    "Bundle",
    "BundleError",
    "BundleInfo",
    "Calibration",
    "Precision",
    "Provenance",
    "amend_bundle",
    "pack",
    "render_card",
]
