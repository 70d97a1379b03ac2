"""RAR archives, which need a program that is not part of Python.

For archives whose hash is known alone: what a foreign program does with a hostile file is not ours to check.
"""

import os
import shutil
import subprocess
from pathlib import Path

from assay.errors import AssayError

_PROGRAMS: tuple[tuple[str, ...], ...] = (
    ("bsdtar", "-x", "-f", "{archive}", "-C", "{folder}"),
    ("7z", "x", "-bd", "-y", "-o{folder}", "{archive}"),
    ("7zz", "x", "-bd", "-y", "-o{folder}", "{archive}"),
    ("unar", "-quiet", "-output-directory", "{folder}", "{archive}"),
    ("unrar", "x", "-idq", "-y", "{archive}", "{folder}/"),
)
"""Programs that unpack RAR and their arguments, the best first."""


def extract_rar(archive: Path, folder: Path) -> None:
    """Unpack a RAR archive of known content into an existing, empty folder.

    Raises:
        AssayError: no program for it is installed, or the program failed.
    """
    for program, *arguments in _PROGRAMS:
        found = shutil.which(program)
        if found is None:
            continue
        command = [part.format(archive=archive.resolve(), folder=folder.resolve()) for part in arguments]
        ended = subprocess.run([found, *command], capture_output=True, check=False, stdin=subprocess.DEVNULL)  # noqa: S603
        if ended.returncode or not any(folder.iterdir()):
            said = " ".join(ended.stderr.decode(errors="replace").split())[-200:]
            raise AssayError(f"{archive} could not be unpacked by {found}: {said or 'nothing came out'}")
        _refuse_links(archive, folder)
        return
    names = ", ".join(program for program, *_ in _PROGRAMS)
    raise AssayError(
        f"{archive} is a RAR archive, which needs one of the programs {names}: install one "
        "(on Debian: apt install libarchive-tools) and run the same command again; the download is kept"
    )


def _refuse_links(archive: Path, folder: Path) -> None:
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(parent, name)
            if path.is_symlink() or not (path.is_dir() or path.is_file()):
                raise AssayError(f"{archive} holds {name!r}, which is no plain file, and was not unpacked")
