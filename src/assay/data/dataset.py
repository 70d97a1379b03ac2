"""Samples and data sets, and how labels become classes: mapping, order and validation."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from assay.core.errors import AssayError
from assay.core.files import read_bytes
from assay.core.text import strip_invisible
from assay.data.array_reader import TensorRef, read_as_bmp
from assay.image import HEAD_BYTES, sniff

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
"""Splits of a data set: for training, for model selection and calibration, for the final figures."""


def natural_key(name: str) -> tuple[list[str | int], str]:
    """Return a sort key under which `class2` stands before `class10`; equal on every platform and locale."""
    pieces = re.split(r"([0-9]+)", name.casefold())
    # Text and digits alternate, starting with text, so that only like is compared with like.
    return [int(piece) if place % 2 else piece for place, piece in enumerate(pieces)], name


class FileContent:
    """Bytes of a file that was read, kept in memory; pickling leaves them out."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        return type(None), ()


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled image, by its path; its bytes are read on demand."""

    id: str
    """Unique name: the path relative to the data's root with forward slashes (`#n` appended for the n-th
    image of an array file)."""
    path: Path
    label: str
    split: Split | None = None
    group: str | None = None
    """Images of one group (patient, module, burst, copies) stay in one split; None: a group of its own."""
    source_label: str | None = None
    """The label before a class mapping."""
    digest: str | None = None
    """SHA-256 of `read()` as 64 hexadecimal digits; None until the photo has been verified."""
    tensor: TensorRef | None = None
    """Where in an array file the image stands; None for ordinary image files."""
    format: str | None = field(default=None, compare=False)
    """Image format by content, such as `jpeg`; None until the file was read, and for images of array files."""

    content: FileContent | None = field(default=None, compare=False, repr=False)
    """What `read()` returned when the file was scanned, if that was kept in memory."""

    def read(self) -> bytes:
        """Return the image's bytes: the file as it is, or an image of an array file as a BMP.

        Raises:
            OSError: the file cannot be read.
            AssayError: the array file holds no such image.
        """
        if self.content is not None:
            return self.content.data
        return read_bytes(self.path) if self.tensor is None else read_as_bmp(self.path, self.tensor)


@dataclass(frozen=True, slots=True)
class UnreadableFile:
    """A file that should have been a photo and cannot be used."""

    id: str
    path: Path
    reason: str
    """What is wrong, without the path: `damaged: truncated JPEG`."""


@dataclass(frozen=True)
class Dataset:
    """Labelled photos, every one readable, with the order of their classes.

    The order of `classes` is the order of the classifier's outputs. It is decided once, when the data is
    scanned, and travels from there; nothing may sort it again.
    """

    root: Path
    """What ids are relative to."""
    classes: tuple[str, ...]
    samples: tuple[Sample, ...]
    """In ascending order of their ids, whatever order the file system gave them in."""
    unreadable: tuple[UnreadableFile, ...] = ()
    skipped: Mapping[str, int] = field(default_factory=dict)
    """Number of skipped files, by reason."""
    warnings: tuple[str, ...] = ()
    """Sentences about things that are odd but harmless."""

    def __len__(self) -> int:
        return len(self.samples)

    def part(self, split: Split) -> tuple[Sample, ...]:
        """Return the samples of one part, in order of their ids."""
        return tuple(sample for sample in self.samples if sample.split == split)

    def targets(self, samples: Iterable[Sample] | None = None) -> np.ndarray:
        """Return class indices, int64 of shape [N], of `samples` (of all samples when None).

        Raises:
            KeyError: a sample's label is none of `classes`.
        """
        index = {name: place for place, name in enumerate(self.classes)}
        chosen = self.samples if samples is None else samples
        return np.array([index[sample.label] for sample in chosen], dtype=np.int64)

    def counts(self, split: Split | None = None) -> dict[str, int]:
        """Return the number of samples of every class in class order, in one part or (None) in all."""
        seen = Counter(sample.label for sample in self.samples if split is None or sample.split == split)
        return {name: seen[name] for name in self.classes}

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over class order, ids, labels and content digests; splits and groups do not change it."""
        digest = hashlib.sha256("\0".join(self.classes).encode() + b"\n")
        for sample in self.samples:
            line = "\0".join((sample.id, sample.label, sample.source_label or "", sample.digest or ""))
            digest.update(line.encode() + b"\n")
        return digest.hexdigest()

    def without_content(self) -> "Dataset":
        """Return the data set without the bytes of files that were kept in memory."""
        return replace(self, samples=tuple(replace(sample, content=None) for sample in self.samples))

    def with_samples(self, samples: Iterable[Sample], warnings: Iterable[str] = ()) -> "Dataset":
        """Return the data set with other samples (sorted by id here) and further warnings, each once."""
        ordered = tuple(sorted(samples, key=lambda sample: sample.id))
        return replace(self, samples=ordered, warnings=tuple(dict.fromkeys([*self.warnings, *warnings])))


ClassMapping = Mapping[str, Sequence[str]]
"""New class: the labels it is made of."""


def map_labels(samples: Iterable[Sample], mapping: ClassMapping) -> list[Sample]:
    """Give every sample its class of `mapping`, and keep the label it had as `source_label`.

    A sample that has one of the new classes already is left as it is, so that the manifest of an earlier run
    can be used with the same recipe; only a name that is both, old and new, is taken for the old one unless
    the source label says otherwise.

    Raises:
        AssayError: labels that the mapping does not name.
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


def check_label_collisions(labels: Iterable[str]) -> None:
    """Refuse labels that differ only in case, blanks or invisible characters: one class spelt in two ways.

    Raises:
        AssayError: two such labels, or one of nothing that can be seen.
    """
    seen: dict[str, str] = {}
    for label in sorted(set(labels)):
        visible = " ".join(strip_invisible(label).split())
        if not visible:
            raise AssayError(f"the class {label!r} has a name without visible characters; rename it")
        other = seen.setdefault(visible.casefold(), label)
        if other != label:
            what = "case" if other.casefold() == label.casefold() else "case, blanks or invisible characters"
            raise AssayError(f"classes {other!r} and {label!r} differ only in {what}; give both the same name")


def class_order(labels: Iterable[str], mapping: ClassMapping | None, classes: Sequence[str] | None) -> tuple[str, ...]:
    """Decide the order of the classes: the given one, else the mapping's, else by name with numbers in order.

    Raises:
        AssayError: a label is none of the given `classes`.
    """
    found = set(labels)
    if classes is not None:
        if unknown := found - set(classes):
            raise AssayError(
                f"the data has the class {quote_names(unknown)}, but the classifier knows {quote_names(classes)}"
            )
        return tuple(classes)
    if mapping is not None:
        return tuple(mapping)
    return tuple(sorted(found, key=natural_key))


def quote_names(names: Iterable[str], most: int = 10) -> str:
    """Return names quoted, in natural order unless they have one, at most `most` of them."""
    ordered = sorted(names, key=natural_key) if isinstance(names, set) else list(names)
    rest = f" and {len(ordered) - most} more" if len(ordered) > most else ""
    return ", ".join(repr(name) for name in ordered[:most]) + rest


def empty_classes(classes: Sequence[str], samples: Iterable[Sample]) -> list[str]:
    """Return the classes without any sample, in class order."""
    counts = Counter(sample.label for sample in samples)
    return [name for name in classes if not counts[name]]


def count_formats(samples: Iterable[Sample]) -> dict[str, int]:
    """Count images by format, most frequent first; images of array files have none.

    Files are opened only where the format is not known, as in a data set read from a manifest. A file that
    has gone is not counted.
    """
    formats = (sample.format or _sniff_file(sample) for sample in samples)
    return dict(Counter(name for name in formats if name is not None).most_common())


def _sniff_file(sample: Sample) -> str | None:
    if sample.tensor is not None:
        return None
    try:
        with sample.path.open("rb") as stream:
            return sniff(stream.read(HEAD_BYTES))
    except OSError:
        return None
