"""Samples and data sets, and how labels become classes: mapping, order and validation."""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from assay.core.errors import AssayError
from assay.core.files import open_file, read_bytes
from assay.core.printable_text import strip_invisible
from assay.data.tensor_files import TensorRef, read_as_bmp
from assay.image import HEAD_BYTES, sniff

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
"""Splits: for training, for model selection and calibration, for the final metrics."""


def natural_key(name: str) -> tuple[list[str | int], str]:
    """Return a sort key that puts `class2` before `class10`, independent of platform and locale."""
    pieces = re.split(r"([0-9]+)", name.casefold())
    # Text and digits alternate, starting with text, so that equal types are compared.
    return [int(piece) if place % 2 else piece for place, piece in enumerate(pieces)], name


class FileContent:
    """Bytes of a file, kept in memory; dropped when pickled."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        return type(None), ()


@dataclass(frozen=True, slots=True)
class ShardRef:
    """Which part of a tar file an image is."""

    offset: int
    """Of its first byte."""
    size: int
    """In bytes."""

    def read(self, shard: Path) -> bytes:
        """Return the bytes.

        Raises:
            OSError: the file cannot be read.
            AssayError: it ends before.
        """
        with open_file(shard) as stream:
            # A size from a manifest must not reserve more memory than the file has bytes.
            if stream.seek(0, os.SEEK_END) < self.offset + self.size:
                raise AssayError(f"{shard} has fewer bytes than when its photos were listed")
            stream.seek(self.offset)
            return stream.read(self.size)


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled image; its bytes are read on demand."""

    id: str
    """Unique name: the path relative to the data's root with forward slashes (`#n` appended for the n-th
    image of an array file)."""
    path: Path
    label: str
    split: Split | None = None
    group: str | None = None
    """Images with the same group (patient, module, burst, copies) stay in one split; None: no group."""
    source_label: str | None = None
    """The label before the class mapping."""
    digest: str | None = None
    """SHA-256 of `read()` in hexadecimal; None until the image has been verified."""
    tensor: TensorRef | None = None
    """Position in an array file; None for image files."""
    shard: ShardRef | None = None
    """Position in a tar file; None for image files."""
    format: str | None = field(default=None, compare=False)
    """Image format by content, such as `jpeg`; None until the file was read, and for images of array files."""

    content: FileContent | None = field(default=None, compare=False, repr=False)
    """Result of `read()` from the scan, if it was kept in memory."""

    @property
    def is_file(self) -> bool:
        """Whether the image is a file of its own."""
        return self.tensor is None and self.shard is None

    def read(self) -> bytes:
        """Return the bytes of the image, or an image of an array file as a BMP.

        Raises:
            OSError: the file cannot be read.
            AssayError: the array file or tar has no such image.
        """
        if self.content is not None:
            return self.content.data
        if self.shard is not None:
            return self.shard.read(self.path)
        return read_bytes(self.path) if self.tensor is None else read_as_bmp(self.path, self.tensor)


@dataclass(frozen=True, slots=True)
class UnreadableFile:
    """A file that should be an image but cannot be used."""

    id: str
    path: Path
    reason: str
    """The problem, without the path: `damaged: truncated JPEG`."""


@dataclass(frozen=True)
class Dataset:
    """Labelled, readable images and the order of their classes.

    The order of `classes` is the order of the classifier's outputs. It is set once, by the scan, and must not be
    sorted again.
    """

    root: Path
    """Folder that ids are relative to."""
    classes: tuple[str, ...]
    samples: tuple[Sample, ...]
    """Sorted by id."""
    unreadable: tuple[UnreadableFile, ...] = ()
    skipped: Mapping[str, int] = field(default_factory=dict)
    """Number of skipped files, by reason."""
    warnings: tuple[str, ...] = ()
    """Sentences about unusual but harmless things."""

    def __len__(self) -> int:
        return len(self.samples)

    def part(self, split: Split) -> tuple[Sample, ...]:
        """Return the samples of one split, sorted by id."""
        return tuple(sample for sample in self.samples if sample.split == split)

    def targets(self, samples: Iterable[Sample] | None = None) -> np.ndarray:
        """Return class indices of `samples` (None: all), int64 [N]; `KeyError` for a label not in `classes`."""
        index = {name: place for place, name in enumerate(self.classes)}
        chosen = self.samples if samples is None else samples
        return np.array([index[sample.label] for sample in chosen], dtype=np.int64)

    def source_targets(self, mapping: "ClassMapping", samples: Iterable[Sample]) -> np.ndarray:
        """Return indices of source labels, int64 [N], in the order of the classes and, within a class, of `mapping`.

        Raises:
            AssayError: a sample has no source label of its class.
        """
        pairs = [(name, source) for name in self.classes for source in mapping[name]]
        index = {pair: place for place, pair in enumerate(pairs)}
        targets = []
        for sample in samples:
            target = index.get((sample.label, sample.source_label or ""))
            if target is None:
                raise AssayError(f"{sample.id} has no label that data.class_mapping combines into {sample.label!r}")
            targets.append(target)
        return np.array(targets, dtype=np.int64)

    def counts(self, split: Split | None = None) -> dict[str, int]:
        """Return the number of samples per class, in class order, of one split or (None) of all."""
        seen = Counter(sample.label for sample in self.samples if split is None or sample.split == split)
        return {name: seen[name] for name in self.classes}

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over class order, ids, labels and content digests, but not splits and groups."""
        digest = hashlib.sha256("\0".join(self.classes).encode() + b"\n")
        for sample in self.samples:
            line = "\0".join((sample.id, sample.label, sample.source_label or "", sample.digest or ""))
            digest.update(line.encode() + b"\n")
        return digest.hexdigest()

    def without_content(self) -> "Dataset":
        """Return a copy without file contents kept in memory."""
        return replace(self, samples=tuple(replace(sample, content=None) for sample in self.samples))

    def with_samples(self, samples: Iterable[Sample], warnings: Iterable[str] = ()) -> "Dataset":
        """Return a copy with other samples, which are sorted by id, and additional warnings, without repetition."""
        ordered = tuple(sorted(samples, key=lambda sample: sample.id))
        return replace(self, samples=ordered, warnings=tuple(dict.fromkeys([*self.warnings, *warnings])))


ClassMapping = Mapping[str, Sequence[str]]
"""New class: its source labels."""


def map_labels(samples: Iterable[Sample], mapping: ClassMapping) -> list[Sample]:
    """Replace every label by its class in `mapping`, and keep the old one as `source_label`.

    A sample that already has a new class is unchanged, so that the manifest of an earlier run works with the same
    recipe. A name that is both an old label and a new class counts as the old one, unless `source_label` says
    otherwise. Raises `AssayError` for labels that the mapping does not contain.
    """
    target = {source: name for name, sources in mapping.items() for source in sources}
    mapped, unknown = [], set()
    for sample in samples:
        if sample.source_label in mapping.get(sample.label, ()):
            mapped.append(sample)
        elif sample.label in target:
            mapped.append(replace(sample, label=target[sample.label], source_label=sample.label))
        elif sample.label in mapping:
            mapped.append(sample)
        else:
            unknown.add(sample.label)
    if unknown:
        raise AssayError(
            f"data.class_mapping does not say what {quote_names(unknown)} belongs to; "
            f"add it under one of {quote_names(mapping)}"
        )
    return mapped


_MAX_LABEL = 255
"""Characters in the name of a class; of a folder, file systems allow as many."""


def check_label_collisions(labels: Iterable[str]) -> None:
    """Raise `AssayError` for blank or very long labels, and those that differ only in case or invisible characters."""
    seen: dict[str, str] = {}
    for label in sorted(set(labels)):
        visible = " ".join(strip_invisible(label).split())
        if len(label) > _MAX_LABEL:
            raise AssayError(
                f"the name of class {label[:40]!r}... has {len(label):,} characters, more than {_MAX_LABEL}: "
                "shorten it, or check which column contains the labels"
            )
        if not visible:
            raise AssayError(f"the class {label!r} has a name without visible characters; rename it")
        other = seen.setdefault(visible.casefold(), label)
        if other != label:
            what = "case" if other.casefold() == label.casefold() else "case, blanks or invisible characters"
            raise AssayError(f"classes {other!r} and {label!r} differ only in {what}; give both the same name")


def class_order(labels: Iterable[str], mapping: ClassMapping | None, classes: Sequence[str] | None) -> tuple[str, ...]:
    """Return the class order: `classes`, else the mapping's order, else names in natural order.

    Raises `AssayError` if a label is not in `classes`.
    """
    found = set(labels)
    if classes is not None:
        if unknown := found - set(classes):
            noun = "class" if len(unknown) == 1 else "classes"
            raise AssayError(
                f"the data has the {noun} {quote_names(unknown)}, but the classifier knows {quote_names(classes)}"
            )
        return tuple(classes)
    if mapping is not None:
        return tuple(mapping)
    return tuple(sorted(found, key=natural_key))


def quote_names(names: Iterable[str], most: int = 10) -> str:
    """Return at most `most` names, quoted; unordered collections are sorted naturally."""
    ordered = sorted(names, key=natural_key) if isinstance(names, set) else list(names)
    rest = f" and {len(ordered) - most} more" if len(ordered) > most else ""
    return ", ".join(repr(name) for name in ordered[:most]) + rest


def empty_classes(classes: Sequence[str], samples: Iterable[Sample]) -> list[str]:
    """Return the classes without samples, in class order."""
    counts = Counter(sample.label for sample in samples)
    return [name for name in classes if not counts[name]]


def count_formats(samples: Iterable[Sample]) -> dict[str, int]:
    """Count images by format, most frequent first; images of array files have none.

    Files are opened only if their format is unknown, as after reading a manifest. Missing files are not counted.
    """
    formats = (sample.format or _sniff_file(sample) for sample in samples)
    return dict(Counter(name for name in formats if name is not None).most_common())


def _sniff_file(sample: Sample) -> str | None:
    if sample.tensor is not None:
        return None
    if sample.shard is not None:
        return sniff(sample.read()[:HEAD_BYTES])
    try:
        with sample.path.open("rb") as stream:
            return sniff(stream.read(HEAD_BYTES))
    except OSError:
        return None
