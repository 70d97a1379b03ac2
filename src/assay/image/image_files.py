"""Which files of a folder count as images: one listing shared by training, checks, predictions.

Serving.
"""

import os
import re
import stat
from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from assay.core.errors import AssayError
from assay.core.files import cache_folder
from assay.image import HEAD_BYTES, sniff

IMAGE_SUFFIXES = frozenset(
    {
        *(
            ".jpg",
            ".jpeg",
            ".jpe",
            ".jfif",
            ".png",
            ".webp",
            ".gif",
            ".bmp",
            ".dib",
            ".tif",
            ".tiff",
            ".avif",
        ),
        *(".jp2", ".j2k", ".jpf", ".jpx", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".heic", ".heif"),
    }
)
"""Names that promise a photo: such a file is listed whatever it holds, so that a broken one is reported."""

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
_WINDOWS_CHKDSK = re.compile(r"found\.[0-9]{3}")  # what the disk check of Windows saves
_OUTPUTS = (
    {"run.json", "recipe.yaml"},
    {"crossval.json", "manifest.csv"},
    {"variants.json", "manifest.csv"},
    {"tune.json", "tune.csv"},
    {"metrics.json", "confusion_matrix.json"},
    {".augment.json"},
    {"bench.json", "bench.png"},
    {".lock", "manifest.csv"},
    {"CACHEDIR.TAG"},
)
"""Names that stand together only in folders that Assay wrote, or in caches (bford.info/cachedir)."""
_HEAT, _SHEET, _CURVE = "-heat.png", "sheet.png", "-lr.png"
_MARKS = frozenset().union(*_OUTPUTS, {_SHEET})
_OUTPUT_DEPTH = 2
_EXPORT_EXAMPLE = re.compile(r"example_(onnx|openvino|torchscript)(_(fp32|int8))?\.py")  # beside an exported model
_EVALUATION_FOLDER = re.compile(r"evaluation-[0-9]+")
_TABLE_IMAGES = re.compile(r"data-[0-9a-f]{12}")  # rows of a table, written as files beside a run


@dataclass
class SkippedFiles:
    """What was passed over on the way through folders."""

    skipped: Counter[str] = field(default_factory=Counter)
    """Files, folders and links, by reason."""
    unreadable: dict[Path, str] = field(default_factory=dict)
    """Folders that cannot be read, and why."""


@dataclass(frozen=True, slots=True)
class FolderContent:
    """The content of one folder, without what is passed over."""

    folders: tuple[Path, ...]
    """In the order of names, links to folders among them."""
    files: int
    """How many files lie directly in the folder."""
    images: int
    """How many of them have an image's name."""


def list_folder_content(folder: Path, passed: SkippedFiles) -> FolderContent:
    """List the folders directly in a folder, and count its files.

    A link to the folder itself, to one around it, or to another folder in it is passed over.

    Raises:
        AssayError: the folder cannot be read.
    """
    folders, files, images = [], 0, 0
    home = _resolve(folder)
    for entry in _visible_entries(_scan_or_raise(folder), passed):
        path = folder / entry.name
        if not _is_folder(entry):
            files += 1
            images += path.suffix.casefold() in IMAGE_SUFFIXES
        elif entry.is_symlink() and _is_beside_or_around(_resolve(path), home):
            passed.skipped[REVISITED] += 1
        elif is_assay_output(path):
            passed.skipped[ASSAY_OUTPUT] += 1
        else:
            folders.append(path)
    return FolderContent(tuple(folders), files, images)


def walk_images(top: Path, passed: SkippedFiles, others: Collection[Path] = ()) -> Iterator[Path]:
    """List the files below a folder, at any depth, in the order of names; no more than names is held.

    Links come last. One that leads to what is listed anyway is passed over, whether it names a file, a folder
    or a folder around it; so a loop ends, and a file is listed under its real place where it has one.

    Args:
        top: an existing folder, which is listed whatever it is called or holds.
        passed: told what is passed over.
        others: real places of folders whose files are listed by other walks; `top` may be among them.

    Raises:
        AssayError: `top` cannot be read. Folders below it that cannot be read are noted in `passed`.
    """
    home = _resolve(top)
    links = _LinkResolver(home, others)
    waiting: deque[Path] = deque()
    levels = [_Level(top, home, iter(_visible_entries(_scan_or_raise(top), passed)))]
    links.enter(top)
    while levels or waiting:
        if not levels:
            link = waiting.popleft()
            target = links.resolve(link, passed)
            if target is not None and target.is_dir():
                _enter_folder(link, target, links, passed, levels)
            elif target is not None:
                yield link
            continue
        level = levels[-1]
        entry = next(level.entries, None)
        if entry is None:
            levels.pop()
            continue
        path = level.path / entry.name
        if entry.is_symlink():
            waiting.append(path)
        elif _is_folder(entry):
            _enter_folder(path, level.real / entry.name, links, passed, levels)
        elif not _is_file(entry):
            passed.skipped[IRREGULAR] += 1
        elif links.files and str(level.real / entry.name) in links.files:
            passed.skipped[DUPLICATE_LINK] += 1
        else:
            yield path


def is_image_file(path: Path) -> bool:
    """Say whether a file's name or content is an image's; one that cannot be opened is taken for one."""
    if path.suffix.casefold() in IMAGE_SUFFIXES:
        return True
    try:
        with path.open("rb") as stream:
            return sniff(stream.read(HEAD_BYTES)) is not None
    except OSError:
        return True


def is_assay_output(folder: Path, depth: int = _OUTPUT_DEPTH) -> bool:
    """Say whether Assay wrote a folder: a run, an evaluation, heat maps, or a folder of nothing but these.

    Caches count too. The folder is judged by the names of the files in it, and of those in its folders.

    Args:
        folder: the folder.
        depth: how many levels of folders below it are looked at.
    """
    try:
        entries = _sorted_entries(folder)
    except OSError:
        return False
    return _is_output(folder, entries, depth)


def _is_output(folder: Path, entries: Sequence[os.DirEntry[str]], depth: int = _OUTPUT_DEPTH) -> bool:
    if _has_marks(folder, entries):
        return True
    if not entries:
        # A command makes its folder before it looks for photos.
        return folder.parent.name == "runs" or _EVALUATION_FOLDER.fullmatch(folder.name) is not None
    inside = _visible_entries(entries, SkippedFiles()) if depth else []
    # Learning-rate curves lie beside the runs.
    others = [entry for entry in inside if _is_folder(entry) or not entry.name.endswith(_CURVE)]
    if not others:
        return bool(inside) and folder.name == "runs"
    return all(
        _is_folder(entry) and not entry.is_symlink() and is_assay_output(folder / entry.name, depth - 1)
        for entry in others
    )


def _has_marks(folder: Path, entries: Iterable[os.DirEntry[str]]) -> bool:
    if folder.name.casefold().startswith("assay-"):
        return True
    if folder.name == cache_folder().name and folder.resolve() == cache_folder().resolve():
        return True
    marks, heats, others = set(), 0, 0
    for entry in entries:
        if entry.name in _MARKS:
            marks.add(entry.name)
        elif _EXPORT_EXAMPLE.fullmatch(entry.name):
            return True
        elif entry.name.endswith(_HEAT):
            heats += 1
        else:
            others += 1
    if any(marks >= output for output in _OUTPUTS) or (marks == {_SHEET} and heats and not others):
        return True
    return "manifest.csv" in marks and _TABLE_IMAGES.fullmatch(folder.name) is not None


@dataclass(frozen=True, slots=True)
class _Level:
    """A folder on the way down."""

    path: Path
    real: Path
    entries: Iterator[os.DirEntry[str]]


class _LinkResolver:
    """Which links lead to something new."""

    def __init__(self, home: Path, others: Collection[Path]) -> None:
        self._home, self._others = home, others
        self._folders: set[tuple[int, int]] = set()
        self.files: set[str] = set()
        """Real places of files that were listed under a link."""

    def enter(self, folder: Path) -> bool:
        """Note a folder; return whether it is new."""
        status = folder.stat()
        identity = status.st_dev, status.st_ino
        known = identity in self._folders
        self._folders.add(identity)
        return not known

    def resolve(self, link: Path, passed: SkippedFiles) -> Path | None:
        """Return the file or folder that a link leads to, or None after counting why it is passed over."""
        target = _resolve(link)
        try:
            mode = target.stat().st_mode
        except OSError:
            reason = BROKEN_LINK
        else:
            regular = stat.S_ISREG(mode)
            reason = self._folder(target) if stat.S_ISDIR(mode) else self._file(target) if regular else IRREGULAR
        if reason:
            passed.skipped[reason] += 1
            return None
        return target

    def _folder(self, target: Path) -> str:
        """Return why a link to a folder is not followed; empty where it is."""
        if target == self._home or _is_listed(target, self._home, folder=True):
            return REVISITED
        if self._home.is_relative_to(target):
            return CROSS_CLASS_LINK if self._others else REVISITED
        around = any(other.is_relative_to(target) for other in self._others)
        return CROSS_CLASS_LINK if around or self._is_in_other(target, folder=True) else ""

    def _is_in_other(self, target: Path, *, folder: bool) -> bool:
        return any(above in self._others and _is_listed(target, above, folder=folder) for above in target.parents)

    def _file(self, target: Path) -> str:
        """Return why a link to a file is not listed; empty where it is."""
        if _is_listed(target, self._home, folder=False):
            return DUPLICATE_LINK
        if self._is_in_other(target, folder=False):
            return CROSS_CLASS_LINK
        status = target.parent.stat()
        reached = (status.st_dev, status.st_ino) in self._folders
        if str(target) in self.files or (reached and not _skip_reason(target.name, folder=False)):
            return DUPLICATE_LINK
        self.files.add(str(target))
        return ""


def _resolve(path: Path) -> Path:
    """Return what a path leads to; itself where that may not be known, as some links in `/proc`."""
    try:
        return Path(os.path.realpath(path))
    except OSError:
        return path.absolute()


def _is_beside_or_around(target: Path, home: Path) -> bool:
    beside = target.parent == home and not _skip_reason(target.name, folder=True)
    return beside or home.is_relative_to(target)


def _is_listed(target: Path, top: Path, *, folder: bool) -> bool:
    """Say whether a file or folder is listed when `top` is, by its place alone."""
    if target == top or not target.is_relative_to(top):
        return False
    *above, name = target.relative_to(top).parts
    return not any(_skip_reason(part, folder=True) for part in above) and not _skip_reason(name, folder=folder)


def _enter_folder(path: Path, real: Path, links: _LinkResolver, passed: SkippedFiles, levels: list[_Level]) -> None:
    """Go into a folder, unless it was reached before or is to be passed over."""
    try:
        new = links.enter(path)
        entries = _sorted_entries(path) if new else []
    except OSError as error:
        passed.unreadable[path] = error.strerror or str(error)
        return
    if not new:
        passed.skipped[REVISITED] += 1
    elif _is_output(path, entries):
        passed.skipped[ASSAY_OUTPUT] += 1
    else:
        levels.append(_Level(path, real, iter(_visible_entries(entries, passed))))


def _scan_or_raise(folder: Path) -> list[os.DirEntry[str]]:
    try:
        return _sorted_entries(folder)
    except OSError as error:
        raise AssayError(f"folder {folder} cannot be read: {error.strerror or error}") from None


def _sorted_entries(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as found:
        return sorted(found, key=lambda entry: entry.name)


def _visible_entries(entries: Iterable[os.DirEntry[str]], passed: SkippedFiles) -> list[os.DirEntry[str]]:
    visible = []
    for entry in entries:
        reason = _skip_reason(entry.name, folder=_is_folder(entry)) or (HIDDEN if _has_hidden_flag(entry) else "")
        if reason:
            passed.skipped[reason] += 1
        else:
            visible.append(entry)
    return visible


def _skip_reason(name: str, *, folder: bool) -> str:
    """Return why a name is passed over; empty where it is not."""
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


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # A link to itself: what it leads to cannot be said.
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False
