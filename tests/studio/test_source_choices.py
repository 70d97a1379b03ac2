"""Cameras and videos that a rule can watch are found without opening them."""

from pathlib import Path

import pytest

from assay.studio.source_choices import SourceChoice, source_choices


def write(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with a project in its folder of videos."""
    home = tmp_path / "home"
    project = home / "Videos" / "signs"
    write(project / "road.MP4", project / "clips" / "b.avi", project / "a.png", project / ".hidden" / "c.mp4")
    write(
        project / ".studio" / "videos" / "walk.mov", home / "Videos" / "trip.mkv", home / "Downloads" / "x" / "y.webm"
    )
    write(home / "secret" / "z.mp4", home / "Downloads" / ".cache" / "q.mp4")
    return home


def test_videos_of_the_project_and_of_the_users_folders_are_listed(home: Path, tmp_path: Path):
    project = home / "Videos" / "signs"
    found = source_choices(project, project / ".studio" / "videos", home, tmp_path / "none")
    assert [item.value for item in found.project] == ["./.studio/videos/walk.mov", "./clips/b.avi", "./road.MP4"]
    assert found.home == (
        SourceChoice(f"{home}/Downloads/x/y.webm", "Downloads/x/y.webm"),
        SourceChoice(f"{home}/Videos/trip.mkv", "Videos/trip.mkv"),
    )
    assert found.cameras == ()


def test_only_the_picture_of_a_camera_is_listed(home: Path, tmp_path: Path):
    for number, index, name in ((0, "0", "Front"), (1, "1", "Front"), (10, "0", "Rear"), (2, "0", "Side")):
        place = tmp_path / "cameras" / f"video{number}"
        write(place / "index", place / "name")
        (place / "index").write_text(f"{index}\n")
        (place / "name").write_text(f"{name}\n")
    (tmp_path / "cameras" / "video3").mkdir()
    found = source_choices(home / "absent", home / "absent", home, tmp_path / "cameras")
    assert [(item.value, item.name) for item in found.cameras] == [
        ("0", "0: Front"),
        ("2", "2: Side"),
        ("10", "10: Rear"),
    ]
    assert found.project == ()


def test_the_lists_are_bounded(home: Path, tmp_path: Path):
    write(*(home / "Videos" / f"{number}.mp4" for number in range(150)))
    deep = home / "Downloads" / "/".join("abcdefgh") / "deep.mp4"
    write(deep)
    found = source_choices(tmp_path / "p", tmp_path / "p", home, tmp_path / "none")
    assert len(found.home) == 100
    assert all("deep" not in item.name for item in found.home)
