"""Files that are whole or not there: written to a temporary name, then renamed.

Knows nothing of images or models.
"""

import hashlib
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_folder() -> Path:
    """Return the folder of Assay's caches: `ASSAY_CACHE`, else `assay` where this user's caches are."""
    if named := os.environ.get("ASSAY_CACHE"):
        return Path(named)
    home = Path.home()
    usual = home / "Library/Caches" if sys.platform == "darwin" else home / ".cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or usual) / "assay"


@contextmanager
def replacing(path: Path, mode: int | None = None) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it over `path` when the block ends well.

    The bytes are flushed to the disk before the rename, so that a reader sees the old file or the new one
    and never a part, also after a power cut.

    Args:
        path: the file to write; its folder is made if it is missing.
        mode: permissions of the file, as 0o600 for a secret, which nobody else can read at any moment;
            none: what the process's umask leaves.

    Yields:
        The temporary path to write to. It has the suffix of `path`, since many libraries judge by it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o666 & ~_umask() if mode is None else mode)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str, mode: int | None = None) -> None:
    """Write `text` to `path` as UTF-8, whole or not at all, with the permissions `mode` (see `replacing`)."""
    with replacing(path, mode) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
