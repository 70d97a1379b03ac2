"""What the start page shows of this machine's folders."""

from pathlib import Path

import pytest
from studio_projects import paint

from assay.core.errors import UsageError
from assay.studio.folder_browser import existing_folder, new_folder, places, view_folder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    (folder / "photos" / "inner").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.chdir(folder)
    return folder


def test_only_names_of_visible_folders_below_the_places_are_listed(home: Path):
    paint(home / "photos" / "a.png")
    (home / "photos" / "notes.txt").write_text("x")
    top = view_folder("")
    assert (top.path, top.parent, top.names, top.can_open) == (home, None, ("photos",), False)
    inner = view_folder(str(home / "photos"))
    assert (inner.parent, inner.names, inner.photos, inner.can_open) == (home, ("inner",), 1, True)
    assert home in places()


@pytest.mark.parametrize("path", ["/etc", "/proc/self", ".hidden", "photos/../..", "absent"])
def test_other_folders_are_refused(home: Path, path: str):
    with pytest.raises(UsageError):
        view_folder(str(home / path))


def test_a_link_to_another_place_is_refused(home: Path):
    (home / "link").symlink_to("/srv")
    with pytest.raises(UsageError, match="is not shown here"):
        view_folder(str(home / "link"))


def test_a_typed_folder_must_exist_and_be_no_home_or_drive(home: Path):
    assert existing_folder("~/photos") == home / "photos"
    for text in ("", "photos", "/absent/folder", str(home), "/", "/etc/passwd", "/srv/\0"):
        with pytest.raises(UsageError):
            existing_folder(text)


def test_a_new_folder_has_a_plain_name(home: Path):
    assert new_folder(str(home), "cups and bowls") == home / "cups and bowls"
    with pytest.raises(UsageError, match="already"):
        new_folder(str(home), "cups and bowls")
    for name in ("", "..", "a/b", ".hidden", "a\nb"):
        with pytest.raises(UsageError):
            new_folder(str(home), name)
    with pytest.raises(UsageError):
        new_folder(str(home / "absent"), "x")
