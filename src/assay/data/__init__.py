"""Loading, checking, splitting and caching of labelled image data sets."""

from assay.data.array_cache import EmbeddingCache, PixelCache, PreprocessedImages
from assay.data.dataset import SPLITS, Dataset, Sample, Split, UnreadableFile
from assay.data.groups import count_groups, leaking_groups, merge_groups
from assay.data.hf_datasets import DataSource, as_path
from assay.data.loading import load_dataset
from assay.data.manifest import read_manifest, write_manifest
from assay.data.splits import Fold, assign_splits, cross_validation_folds, make_folds, validation_folds

__all__ = [
    "SPLITS",
    "DataSource",
    "Dataset",
    "EmbeddingCache",
    "Fold",
    "PixelCache",
    "PreprocessedImages",
    "Sample",
    "Split",
    "UnreadableFile",
    "as_path",
    "assign_splits",
    "count_groups",
    "cross_validation_folds",
    "leaking_groups",
    "load_dataset",
    "make_folds",
    "merge_groups",
    "read_manifest",
    "validation_folds",
    "write_manifest",
]
