"""Every file and folder of the repository that the documentation names exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
_FOLDERS = "src|tests|docs|deploy|examples|benchmarks"
_PATH = re.compile(rf"(?<![\w./-])(?:{_FOLDERS})/[\w./-]*\w|\b(?:Makefile|pyproject\.toml|constraints\.txt)\b")
_MODULE = re.compile(r"`(?P<path>(?:[a-z_]+/)+[a-z_]+\.(?:py|yaml|js|j2))`")
_LINK = re.compile(r"\]\((?!https?:|#|mailto:)(?P<path>[^)#\s]+)")

_MADE_BY_USERS = {ROOT / f"deploy{name}" for name in (ROOT / "deploy/.gitignore").read_text(encoding="utf-8").split()}
"""Files that the reader creates, by hand or by a script."""
_GENERATED = {ROOT / "docs/reference/commands.md"}
"""Pages that `make docs` writes and checks the links to."""


def _named(page: Path) -> list[Path]:
    text = page.read_text(encoding="utf-8")
    found = [ROOT / path for path in _PATH.findall(text)]
    found += [(page.parent / match["path"]).resolve() for match in _LINK.finditer(text)]
    for match in _MODULE.finditer(text):
        if not _PATH.fullmatch(match["path"]):
            found.append(ROOT / "src/assay" / match["path"].removeprefix("assay/"))
    return found


def test_pages_contain_paths():
    assert len(_named(ROOT / "CONTRIBUTING.md")) > 40


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_named_paths_exist(page: Path):
    missing = [
        path for path in _named(page) if not path.exists() and not (_MADE_BY_USERS | _GENERATED) & {path, *path.parents}
    ]
    assert [str(path.relative_to(ROOT)) for path in missing] == []
