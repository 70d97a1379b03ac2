"""Edits can be undone after a restart; what another program changed meanwhile is kept."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from assay.studio import undo
from assay.studio.project import Project


def edit(project: Project, count: int, label: str) -> None:
    project.label(list(project.photos)[:count], label, project.revision)


def labels(project: Project) -> list[str | None]:
    return [photo.label for photo in project.photos.values()]


def files(project: Project) -> list[str]:
    return sorted(path.name for path in (project.state_folder / "undo").glob("*"))


def test_edits_are_undone_after_a_restart(make_project: Callable[..., Project]):
    first = make_project(3)
    edit(first, 2, "cat")
    first.rename_class("cat", "dog")
    first.leave_out(list(first.photos)[2:], first.revision)
    second = Project.open(first.folder)
    assert (second.last_edit, second.classes) == ("Left out 1 photo", ["dog"])
    assert [second.undo(), second.undo()] == ["Left out 1 photo", "Renamed cat to dog"]
    assert (labels(second), second.classes) == (["cat", "cat", None], ["cat"])
    third = Project.open(first.folder)
    assert third.undo() == "Labelled 2 photos cat"
    assert (labels(third), third.classes, third.undo()) == ([None] * 3, [], None)
    assert files(third) == []


def test_labels_that_another_program_changed_are_kept(make_project: Callable[..., Project]):
    project = make_project(3)
    edit(project, 3, "cat")
    text = project.labels_path.read_text().replace("photo-000.png,cat", "photo-000.png,bird")
    project.labels_path.write_text(text)
    (project.folder / "photo-001.png").unlink()
    again = Project.open(project.folder)
    again.undo()
    assert (labels(again), again.classes) == (["bird", None], ["bird"])


@pytest.mark.parametrize(
    "content",
    ["", "{}", "[]", '{"format": 2}', '{"format": 1, "description": "x", "classes": [], "photos": {"a": ["b"]}}'],
)
def test_a_damaged_file_ends_the_history_there(make_project: Callable[..., Project], content: str):
    project = make_project(3)
    for count in (1, 2, 3):
        edit(project, count, f"class {count}")
    (project.state_folder / "undo" / "2.json").write_text(content)
    again = Project.open(project.folder)
    assert [again.undo(), again.undo()] == ["Labelled 3 photos class 3", None]


def test_the_stack_is_bounded_by_edits_and_by_photos(
    make_project: Callable[..., Project], monkeypatch: pytest.MonkeyPatch
):
    project = make_project(4)
    monkeypatch.setattr(undo, "MAX_EDITS", 3)
    for number in range(5):
        edit(project, 1, f"class {number}")
    assert files(project) == ["3.json", "4.json", "5.json"]
    monkeypatch.setattr(undo, "MAX_PHOTOS", 4)
    edit(project, 4, "large")
    assert files(project) == ["4.json", "5.json", "6.json"]
    edit(project, 4, "larger")
    assert files(project) == ["6.json", "7.json"]
    assert len(Project.open(project.folder)._undo._edits) == 2


def test_an_undo_that_cannot_be_written_changes_nothing(
    make_project: Callable[..., Project], monkeypatch: pytest.MonkeyPatch
):
    project = make_project(2)
    edit(project, 2, "cat")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("assay.studio.project.LabelFile.write", full)
    with pytest.raises(OSError, match="No space"):
        project.undo()
    assert (labels(project), project.last_edit) == (["cat", "cat"], "Labelled 2 photos cat")


def test_an_edit_of_10_000_photos_is_kept_in_time(tmp_path: Path):
    stack = undo.UndoStack(tmp_path)
    before = {f"{number:016x}": undo.PhotoLabel(None, left_out=False) for number in range(10_000)}
    after = {key: undo.PhotoLabel("cat", left_out=False) for key in before}
    started = time.process_time()
    stack.push(undo.Edit("all", (), before, after))
    assert undo.UndoStack(tmp_path).last == undo.Edit("all", (), before, after)
    # 0.05 s in a process of its own; garbage collections of a large process are counted too.
    assert time.process_time() - started < 10
    assert json.loads((tmp_path / "1.json").read_text())["description"] == "all"
