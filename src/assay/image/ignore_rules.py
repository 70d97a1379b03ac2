"""Files and folders that are never listed as images: hidden ones, those of operating systems, outputs of Assay."""

import os
import re
import stat
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from assay.core.files import cache_folder

HIDDEN = "hidden"
SYSTEM_FILE = "of the operating system or a storage device"
ASSAY_OUTPUT = "written by Assay"
REVISITED = "folder reached twice"
DUPLICATE_LINK = "link to a photo listed already"
CROSS_CLASS_LINK = "link to photos of another class"
BROKEN_LINK = "broken link"
IRREGULAR = "not a regular file"
NOT_AN_IMAGE = "not an image"

# Windows, macOS, Linux, Android; Synology, QNAP and NetApp; version control and caches are hidden anyway.
_SYSTEM_FOLDERS = frozenset(
    {
        *("$recycle.bin", "recycler", "recycled", "system volume information", "$extend", "lost.dir"),
        *("lost+found", "__macosx", "network trash folder", "temporary items", "trash-1000", "__pycache__"),
        *("$winreagent", "$sysreset", "$windows.~bt", "onedrivetemp", "@__thumb", "@trash", "@sharebin"),
        *("#recycle", "#snapshot", "@eadir", "@tmp", "@recycle", "@recently-snapshot", "~snapshot"),
    }
)
_SYSTEM_FILES = re.compile(
    r"thumbs\.db(:.*)?|ehthumbs(_vista)?\.db|desktop\.ini|icon\r|zbthumbnail\.info|picasa\.ini"
    r"|syno(file|photo|index)_thumb_.*"
)
_WINDOWS_CHKDSK = re.compile(r"found\.[0-9]{3}")  # files recovered by the disk check of Windows
_OUTPUTS = (
    {"run.json", "recipe.yaml"},
    {"crossval.json", "manifest.csv"},
    {"variants.json", "manifest.csv"},
    {"tune.json", "tune.csv"},
    {"metrics.json", "confusion_matrix.json"},
    {"_assay.json", "_photos"},
    {".augment.json"},
    {"bench.json", "bench.png"},
    {".lock", "manifest.csv"},
    {"CACHEDIR.TAG"},
)
"""Names that occur together only in folders written by Assay, or in caches (bford.info/cachedir)."""
_HEAT_MAP, _SHEET, _CURVE = "-heat.png", "sheet.png", "-lr.png"
_MARKS = frozenset().union(*_OUTPUTS, {_SHEET})
_OUTPUT_DEPTH = 2
_EXPORT_EXAMPLE = re.compile(r"example_(onnx|openvino|torchscript)(_(fp32|int8))?\.py")  # beside an exported model
_EVALUATION_FOLDER = re.compile(r"evaluation-[0-9]+")
_DEMO_FOLDER = "assay-demo"
_TABLE_IMAGES = re.compile(r"data-[0-9a-f]{12}")  # rows of a table, written as files beside a run


@dataclass
class SkippedFiles:
    """What was skipped while folders were listed."""

    counts: Counter[str] = field(default_factory=Counter)
    """Files, folders and links, by reason."""
    unreadable: dict[Path, str] = field(default_factory=dict)
    """Folders that cannot be read, and why."""


def is_assay_output(folder: Path, depth: int = _OUTPUT_DEPTH) -> bool:
    """Return whether Assay wrote a folder: a run, an evaluation, heat maps, or a folder with only these.

    Caches count too. The decision is based on file names in the folder and in `depth` levels of subfolders.
    """
    try:
        entries = sorted_entries(folder)
    except OSError:
        return False
    return is_output_folder(folder, entries, depth)


def is_output_folder(folder: Path, entries: Sequence[os.DirEntry[str]], depth: int = _OUTPUT_DEPTH) -> bool:
    """Like `is_assay_output`, for entries that are already listed."""
    if _has_marks(folder, entries):
        return True
    if not entries:
        # A command creates its output folder before it lists photos.
        return folder.parent.name == "runs" or _EVALUATION_FOLDER.fullmatch(folder.name) is not None
    inside = visible_entries(entries, SkippedFiles()) if depth else []
    # Learning-rate curves are stored beside the runs.
    others = [entry for entry in inside if is_folder(entry) or not entry.name.endswith(_CURVE)]
    if not others:
        return bool(inside) and folder.name == "runs"
    return all(
        is_folder(entry) and not entry.is_symlink() and is_assay_output(folder / entry.name, depth - 1)
        for entry in others
    )


def _has_marks(folder: Path, entries: Iterable[os.DirEntry[str]]) -> bool:
    if folder.name == _DEMO_FOLDER:
        return True
    if folder.name == cache_folder().name and folder.resolve() == cache_folder().resolve():
        return True
    marks, heats, others = set(), 0, 0
    for entry in entries:
        if entry.name in _MARKS:
            marks.add(entry.name)
        elif _EXPORT_EXAMPLE.fullmatch(entry.name):
            return True
        elif entry.name.endswith(_HEAT_MAP):
            heats += 1
        else:
            others += 1
    if any(marks >= output for output in _OUTPUTS) or (marks == {_SHEET} and heats and not others):
        return True
    return "manifest.csv" in marks and _TABLE_IMAGES.fullmatch(folder.name) is not None


def sorted_entries(folder: Path) -> list[os.DirEntry[str]]:
    """Return the content of a folder, sorted by name; raises `OSError`."""
    with os.scandir(folder) as found:
        return sorted(found, key=lambda entry: entry.name)


def visible_entries(entries: Iterable[os.DirEntry[str]], skipped: SkippedFiles) -> list[os.DirEntry[str]]:
    """Return the entries that are not skipped, and count the others in `skipped`."""
    visible = []
    for entry in entries:
        reason = skip_reason(entry.name, folder=is_folder(entry)) or (HIDDEN if _has_hidden_flag(entry) else "")
        if reason:
            skipped.counts[reason] += 1
        else:
            visible.append(entry)
    return visible


def skip_reason(name: str, *, folder: bool) -> str:
    """Return why a name is skipped, or ""."""
    if name.startswith("."):
        return HIDDEN
    lower = name.casefold()
    if folder:
        return SYSTEM_FILE if lower in _SYSTEM_FOLDERS or _WINDOWS_CHKDSK.fullmatch(lower) else ""
    return SYSTEM_FILE if _SYSTEM_FILES.fullmatch(lower) else ""


def _has_hidden_flag(entry: os.DirEntry[str]) -> bool:
    if os.name != "nt":
        return False
    attributes = getattr(entry.stat(follow_symlinks=False), "st_file_attributes", 0)
    return bool(attributes & stat.FILE_ATTRIBUTE_HIDDEN)


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder or a link to one."""
    try:
        return entry.is_dir()
    except OSError:
        # A link to itself cannot be resolved.
        return False
