"""What a rule can watch without typing: cameras of this machine, videos of the project and of the user's folders."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from assay.studio.uploads import VIDEO_SUFFIXES

VIDEO_FOLDER: Final = "videos"
"""Folder of the project for videos that were chosen for a rule."""
_CAMERAS: Final = Path("/sys/class/video4linux")
_USER_FOLDERS: Final = ("Videos", "Movies", "Downloads", "Desktop", "Pictures")
"""Of the user's home."""
_MAX_VIDEOS: Final = 100
_MAX_FOLDERS: Final = 2_000
"""Folders that are looked into for one list."""
_MAX_DEPTH: Final = 4


@dataclass(frozen=True)
class SourceChoice:
    """A camera or video that can be chosen: the argument of `assay watch`, and its name on the page."""

    value: str
    name: str


@dataclass(frozen=True)
class SourceChoices:
    """Everything that can be chosen; each list is sorted by name and has at most 100 entries."""

    cameras: tuple[SourceChoice, ...]
    project: tuple[SourceChoice, ...]
    home: tuple[SourceChoice, ...]


def source_choices(project: Path, added: Path, home: Path | None = None, cameras: Path = _CAMERAS) -> SourceChoices:
    """Look for cameras and videos; only folders are read, no video is opened.

    Args:
        project: its folder; hidden folders in it are not searched.
        added: folder of the videos that were uploaded, in the project.
        home: the user's; None: that of this process.
        cameras: folder in which Linux lists its cameras.
    """
    own = [*_videos_in(project), *_videos_in(added)]
    home = home or Path.home()
    others = [path for name in _USER_FOLDERS for path in _videos_in(home / name) if not path.is_relative_to(project)]
    return SourceChoices(
        tuple(_cameras(cameras)),
        _sources(own, project, "./"),
        _sources(others, home, f"{home}/"),
    )


def _cameras(folder: Path) -> Iterator[SourceChoice]:
    """Yield the cameras that Linux lists; elsewhere none, since whether there is one is not known."""
    for path in sorted(folder.glob("video*"), key=lambda path: (len(path.name), path.name)):
        try:
            # Other indices of a camera have no pictures, but data on them.
            if (path / "index").read_text(encoding="utf-8").strip() == "0":
                number = path.name.removeprefix("video")
                yield SourceChoice(number, f"{number}: {(path / 'name').read_text(encoding='utf-8').strip()}")
        except (OSError, ValueError):
            continue


def _sources(paths: list[Path], root: Path, prefix: str) -> tuple[SourceChoice, ...]:
    names = sorted((path.relative_to(root).as_posix() for path in paths), key=str.casefold)[:_MAX_VIDEOS]
    return tuple(SourceChoice(f"{prefix}{name}", name) for name in names)


def _videos_in(folder: Path) -> Iterator[Path]:
    """Yield the videos in a folder and its visible subfolders, up to a depth and a number of folders."""
    waiting, looked = [(folder, 0)], 0
    while waiting and looked < _MAX_FOLDERS:
        place, depth = waiting.pop(0)
        looked += 1
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        if depth < _MAX_DEPTH:
                            waiting.append((Path(entry.path), depth + 1))
                    elif Path(entry.name).suffix.casefold() in VIDEO_SUFFIXES:
                        yield Path(entry.path)
        except OSError:
            continue
