"""From what people type (files, folders, globs) to the photos meant."""

from collections.abc import Sequence
from glob import glob, has_magic
from pathlib import Path

from assay.errors import UsageError


def photos(inputs: Sequence[str]) -> list[Path]:
    """Return the files meant, each once, in the order typed and by name within a folder or glob.

    A file that is named is taken whatever it holds, so that a wrong one is reported. Inside folders hidden
    files and files that are no images (judged by content) are passed over.

    Raises:
        UsageError: a name matches nothing, or a folder holds no image.
    """
    found: dict[Path, None] = {}
    for name in inputs:
        path = Path(name)
        if path.is_dir():
            members = [member for member in sorted(path.rglob("*")) if _is_photo(member, path)]
            if not members:
                raise UsageError(f"{name} holds no photo: give another folder, or files")
            found.update(dict.fromkeys(members))
        elif path.exists() or not has_magic(name):
            if not path.exists():
                raise UsageError(f"{name} does not exist: check the spelling")
            found[path] = None
        else:
            matches = sorted(Path(match) for match in glob(name, recursive=True))  # noqa: PTH207 - as shells do
            files = [match for match in matches if match.is_file()]
            if not files:
                raise UsageError(f"{name} matches no file: check the spelling")
            found.update(dict.fromkeys(files))
    return list(found)


def _is_photo(path: Path, root: Path) -> bool:
    from assay.image import HEAD_BYTES, sniff

    if not path.is_file() or any(part.startswith(".") for part in path.relative_to(root).parts):
        return False
    with path.open("rb") as stream:
        return sniff(stream.read(HEAD_BYTES)) is not None
