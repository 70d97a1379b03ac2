"""The `.assay` file: everything a prediction depends on, in one zip file that is safe to open from anyone.

Bundles are read and amended without torch; `assay.bundle.writer` writes one from a network and imports torch.
"""

from assay.bundle.archive import BundleError
from assay.bundle.bundle_file import Bundle, amend_bundle, pack_bundle
from assay.bundle.info import FORMAT_VERSION, BundleInfo, Precision, PrecisionSettings, Provenance
from assay.bundle.model_card import render_model_card

__all__ = [
    "FORMAT_VERSION",
    "Bundle",
    "BundleError",
    "BundleInfo",
    "Precision",
    "PrecisionSettings",
    "Provenance",
    "amend_bundle",
    "pack_bundle",
    "render_model_card",
]
