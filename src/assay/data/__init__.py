"""Files and labels: from a path to labelled photos that can all be read, in parts that share nothing.

Knows nothing of networks. Downloads, the audit and likeness are imported by their full names
(`assay.data.fetch`, `assay.data.check`, `assay.data.duplicates`): not everyone needs them.
"""

from assay.data.cache import EmbeddingCache, PixelCache
from assay.data.folds import Fold, cross_validation_folds, folds, validation_folds
from assay.data.groups import join_groups, kept_together, straddling
from assay.data.manifest import read_manifest, write_manifest
from assay.data.pixels import Pixels
from assay.data.rows import DataSource, as_path
from assay.data.samples import SPLITS, Dataset, Sample, Split, Unreadable
from assay.data.scan import scan
from assay.data.split import assign_splits

__all__ = [
    "SPLITS",
    "DataSource",
    "Dataset",
    "EmbeddingCache",
    "Fold",
    "PixelCache",
    "Pixels",
    "Sample",
    "Split",
    "Unreadable",
    "as_path",
    "assign_splits",
    "cross_validation_folds",
    "folds",
    "join_groups",
    "kept_together",
    "read_manifest",
    "scan",
    "straddling",
    "validation_folds",
    "write_manifest",
]
