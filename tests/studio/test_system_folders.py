"""Folders of the operating system are refused as projects; those of users are not."""

from pathlib import Path

import pytest

from assay.core.errors import UsageError
from assay.studio.folder_browser import existing_folder, new_folder, view_folder
from assay.studio.project import Project
from assay.studio.system_folders import is_system_folder

SYSTEM = ("/", "/etc", "/etc/ssl", "/usr", "/usr/share", "/proc", "/sys", "/dev", "/bin", "/boot", "/lib", "/var/log")


@pytest.mark.parametrize("folder", [*SYSTEM, "/tmp/../etc", "/run", "/sbin", "/var/absent"])  # noqa: S108
def test_folders_of_the_system_are_refused_in_one_sentence(folder: str):
    with pytest.raises(UsageError, match="belongs to the operating system") as caught:
        Project.open(Path(folder))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("folder", ["/etc", "/usr/share"])
def test_the_folder_browser_refuses_them(folder: str, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(UsageError, match="belongs to the operating system"):
        existing_folder(folder)
    with pytest.raises(UsageError, match="belongs to the operating system"):
        new_folder(folder, "photos")
    monkeypatch.chdir(folder)  # one of the places, as the current folder
    assert not view_folder(folder).can_open


@pytest.mark.parametrize(
    "folder",
    ["/tmp", "/tmp/x", "/home", "/home/ann/x", "/mnt/x", "/media/ann/usb", "/srv/x", "/opt/x", "/dev/shm/x", "/usrx"],  # noqa: S108
)
def test_folders_of_users_are_not(folder: str):
    assert not is_system_folder(Path(folder))


@pytest.mark.parametrize(("home", "refused"), [("/var/lib/service", False), ("/usr", True), ("/", True)])
def test_a_home_in_a_folder_of_the_system_is_allowed(home: str, refused: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", home)
    assert is_system_folder(Path(home, "photos") if home != "/" else Path("/etc/photos")) == refused


def test_a_link_to_a_folder_of_the_system_is_refused(tmp_path: Path):
    (tmp_path / "link").symlink_to("/etc")
    with pytest.raises(UsageError, match="belongs to the operating system"):
        Project.open(tmp_path / "link")
