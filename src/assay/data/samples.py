"""One labelled photo, and the set of them that everything after works on.

Knows nothing of where the photos came from (folders, a manifest, tensors) nor of how they are looked at.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from assay.data.tensors import TensorRef, read_bmp
from assay.files import read_bytes

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
"""The parts of a data set: what teaches, what chooses, what judges."""


def natural_key(name: str) -> tuple[list[str | int], str]:
    """Return a sort key under which `class2` stands before `class10`; equal on every platform and locale."""
    pieces = re.split(r"([0-9]+)", name.casefold())
    # Text and digits alternate, starting with text, so that only like is compared with like.
    return [int(piece) if place % 2 else piece for place, piece in enumerate(pieces)], name


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled photo, by its path; the bytes are read when they are asked for."""

    id: str
    """Unique name: the path relative to the data's root with forward slashes (`#n` appended for the n-th
    image of an array file)."""
    path: Path
    label: str
    split: Split | None = None
    group: str | None = None
    """Photos of one group (patient, module, burst, copies) must not straddle parts; None: on its own."""
    source_label: str | None = None
    """The label before a class mapping."""
    digest: str | None = None
    """SHA-256 of `read()` as 64 hexadecimal digits; None until the photo has been verified."""
    tensor: TensorRef | None = None
    """Where in an array file the image stands; None for ordinary image files."""

    def read(self) -> bytes:
        """Return the photo's bytes: the file as it is, or an image of an array file as a BMP.

        Raises:
            OSError: the file cannot be read.
            AssayError: the array file holds no such image.
        """
        return read_bytes(self.path) if self.tensor is None else read_bmp(self.path, self.tensor)


@dataclass(frozen=True, slots=True)
class Unreadable:
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
    unreadable: tuple[Unreadable, ...] = ()
    skipped: Mapping[str, int] = field(default_factory=dict)
    """How many files were passed over, by reason."""
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

    def with_samples(self, samples: Iterable[Sample], warnings: Iterable[str] = ()) -> "Dataset":
        """Return the data set with other samples (sorted by id here) and further warnings, each once."""
        ordered = tuple(sorted(samples, key=lambda sample: sample.id))
        return replace(self, samples=ordered, warnings=tuple(dict.fromkeys([*self.warnings, *warnings])))
