"""Labels, classes and edits of a project: what is written, what is undone, what is refused."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from studio_projects import paint

from assay.core.errors import AssayError, UsageError
from assay.data import read_manifest
from assay.studio.errors import StaleEditError
from assay.studio.project import Project

MakeProject = Callable[..., Project]


def ids(project: Project, *places: int) -> list[str]:
    every = list(project.photos)
    return [every[place] for place in places]


def manifest(project: Project) -> dict[str, str]:
    if not project.labels_path.exists() or not any(photo.training_label for photo in project.photos.values()):
        return {}
    return {sample.path.name: sample.label for sample in read_manifest(project.labels_path).samples}


def state(project: Project) -> tuple[object, ...]:
    return [(photo.id, photo.label, photo.left_out) for photo in project.photos.values()], list(project.classes)


def test_labels_are_a_manifest_that_commands_read_and_photos_stay_as_they_are(make_project: MakeProject):
    project = make_project(4)
    before = {path: hashlib.sha256(path.read_bytes()).digest() for path in project.folder.glob("*.png")}
    project.label(ids(project, 0, 1), "cat", project.revision)
    project.label(ids(project, 2), " dog ", project.revision)
    assert manifest(project) == {"photo-000.png": "cat", "photo-001.png": "cat", "photo-002.png": "dog"}
    assert project.counts() == (4, 1, 0, {"cat": 2, "dog": 1})
    again = Project.open(project.folder)
    assert state(again) == state(project)
    assert {path: hashlib.sha256(path.read_bytes()).digest() for path in project.folder.glob("*.png")} == before


def test_left_out_photos_leave_the_manifest_and_keep_their_label(make_project: MakeProject):
    project = make_project(3)
    project.label(ids(project, 0, 1, 2), "cat", project.revision)
    project.leave_out(ids(project, 1), project.revision)
    assert sorted(manifest(project)) == ["photo-000.png", "photo-002.png"]
    again = Project.open(project.folder)
    assert state(again) == state(project)
    again.leave_out(ids(again, 1), again.revision, out=False)
    assert manifest(again)["photo-001.png"] == "cat"


def test_classes_are_renamed_merged_and_deleted(make_project: MakeProject):
    project = make_project(4)
    project.create_class("mouse")
    project.label(ids(project, 0, 1), "cat", project.revision)
    project.label(ids(project, 2), "dog", project.revision)
    project.rename_class("cat", "Cat")
    project.rename_class("dog", "Cat")
    assert project.counts().classes == {"mouse": 0, "Cat": 3}
    project.delete_class("Cat")
    assert project.counts() == (4, 4, 0, {"mouse": 0})
    for _ in range(3):
        project.undo()
    assert project.counts().classes == {"mouse": 0, "cat": 2, "dog": 1}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "needs a name"),
        ("  ", "needs a name"),
        ("\u200d", "needs a name"),
        ("x" * 101, "at most 100 characters; this one has 101"),
        ("CAT", "a class cat already"),
        *((f"a{letter}b", "control characters") for letter in "\n\x1b\x7f\u061c\u200e\u200f\u2028\ufeff"),
        *(
            (f"a{chr(code)}b", "control characters")
            for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xD800)
        ),
    ],
)
def test_a_class_name_that_cannot_be_told_from_others_is_refused(make_project: MakeProject, name: str, reason: str):
    project = make_project(1)
    project.create_class("cat")
    project.create_class("dog")
    for edit in (
        lambda: project.create_class(name),
        lambda: project.label(ids(project, 0), name, project.revision),
        lambda: project.rename_class("dog", name),
    ):
        with pytest.raises(UsageError, match=reason):
            edit()
    assert project.classes == ["cat", "dog"]


@pytest.mark.parametrize("name", ["می\u200cشود", "👩\u200d🔬", "x" * 100, "ﬁne"])
def test_words_of_every_language_are_class_names(make_project: MakeProject, name: str):
    project = make_project(1)
    project.label(ids(project, 0), name, project.revision)
    assert Project.open(project.folder).classes == [name]


@pytest.mark.parametrize("name", ["\u202egnp", "a\nb", "x" * 150])
def test_names_of_folders_are_labels_as_they_are(tmp_path: Path, name: str):
    paint(tmp_path / name / "1.png")
    paint(tmp_path / "cup" / "2.png", seed=1)
    project = Project.open(tmp_path)
    assert project.label_by_folder() == 2
    assert sorted(manifest(project).values()) == sorted(["cup", name])
    assert sorted(Project.open(tmp_path).classes) == sorted(["cup", name])
    project.rename_class(name, "mug")
    assert sorted(project.classes) == ["cup", "mug"]


@pytest.mark.parametrize("name", ["=1+1", "<script>alert(1)</script>", "../../etc", "a,b\"c'", "nan", "-x"])
def test_hostile_class_names_are_only_names(make_project: MakeProject, name: str):
    project = make_project(2)
    project.label(ids(project, 0), name, project.revision)
    assert manifest(project) == {"photo-000.png": name}
    assert Project.open(project.folder).classes == [name]


def test_hostile_file_names_keep_their_labels(make_project: MakeProject):
    names = [
        "=cmd|x.png",
        " space.png",
        "-dash.png",
        "a\nb.png",
        "\u202eg.png",
        "<b>.png",
        "sub/../x.png",
        "q'\".png",
    ]
    project = make_project(names=names)
    project.label(list(project.photos), "cat", project.revision)
    assert state(Project.open(project.folder)) == state(project)
    assert len(manifest(project)) == len({Path(name).name for name in names})


def test_an_edit_of_a_photo_that_changed_since_is_refused(make_project: MakeProject):
    project = make_project(3)
    seen = project.revision
    project.label(ids(project, 0), "cat", seen)
    with pytest.raises(StaleEditError):
        project.label(ids(project, 0, 1), "dog", seen)
    assert project.label(ids(project, 1), "dog", seen) == 1  # another photo
    assert [photo.label for photo in project.photos.values()] == ["cat", "dog", None]


def test_changes_since_a_revision_are_those_photos(make_project: MakeProject):
    project = make_project(3)
    seen = project.revision
    project.label(ids(project, 2), "cat", seen)
    assert [photo.id for photo in project.changed_since(seen)] == ids(project, 2)
    assert project.undo() == "Labelled 1 photo cat"
    assert [photo.id for photo in project.changed_since(seen)] == ids(project, 2)


def test_an_edit_that_cannot_be_written_changes_nothing(make_project: MakeProject):
    project = make_project(2)
    project.label(ids(project, 0), "cat", project.revision)
    before, revision = state(project), project.revision
    project.labels_path.unlink()
    project.labels_path.mkdir()
    with pytest.raises((OSError, AssayError), match="labels"):
        project.label(ids(project, 1), "dog", project.revision)
    assert (state(project), project.revision) == (before, revision)


def test_other_columns_of_the_manifest_are_kept(tmp_path: Path):
    paint(tmp_path / "a.png")
    paint(tmp_path / "b.png", seed=1)
    (tmp_path / "labels.csv").write_text("path,label,split,group\na.png,cat,test,g1\nb.png,dog,train,g2\n")
    project = Project.open(tmp_path)
    project.label(ids(project, 1), "cat", project.revision)
    samples = {item.path.name: item for item in read_manifest(tmp_path / "labels.csv").samples}
    assert (samples["a.png"].split, samples["a.png"].group, samples["b.png"].label) == ("test", "g1", "cat")


def test_folder_names_become_labels(tmp_path: Path):
    for number, name in enumerate(("cup/1.png", "cup/2.png", "bottle/1.png", "loose.png")):
        paint(tmp_path / name, seed=number)
    project = Project.open(tmp_path)
    assert (project.labels_in_folders, project.label_folders) == (3, 2)
    assert project.label_by_folder() == 3
    assert project.counts() == (4, 1, 0, {"bottle": 1, "cup": 2})
    assert (project.labels_in_folders, project.label_folders) == (0, 0)


def test_folders_of_the_studio_itself_are_no_labels(tmp_path: Path):
    names = ("photos/loose.png", "photos/cup/1.png", "photos/camera/1.png", "photos/videos/film/1.png")
    for number, name in enumerate((*names, "photos/from-server/1.png", "videos/1.png", "photos/a/b/1.png")):
        paint(tmp_path / name, seed=number)
    project = Project.open(tmp_path)
    assert project.labels_in_folders == project.label_by_folder() == 3
    assert project.counts().classes == {"b": 1, "cup": 1, "videos": 1}


def test_photos_of_another_folder_stay_there(tmp_path: Path):
    paint(tmp_path / "elsewhere" / "far.png")
    paint(tmp_path / "project" / "near.png", seed=1)
    project = Project.open(tmp_path / "project")
    assert project.add_source(str(tmp_path / "elsewhere")) == 1
    far = next(photo for photo in project.photos.values() if photo.name.endswith("far.png"))
    project.label([far.id], "cat", project.revision)
    again = Project.open(tmp_path / "project")
    assert again.photos[far.id].label == "cat"
    assert read_manifest(project.labels_path).samples[0].path == tmp_path / "elsewhere" / "far.png"
    for wrong in ("", "relative", str(tmp_path / "absent"), str(tmp_path / "project"), str(tmp_path)):
        with pytest.raises(UsageError):
            project.add_source(wrong)


def test_new_and_deleted_files_are_seen(make_project: MakeProject):
    project = make_project(3)
    project.label(ids(project, 0), "cat", project.revision)
    (project.folder / "photo-001.png").unlink()
    paint(project.folder / "new.png", seed=9)
    assert project.rescan() == 1
    assert {photo.name for photo in project.photos.values()} == {"new.png", "photo-000.png", "photo-002.png"}
    assert manifest(project) == {"photo-000.png": "cat"}


def test_what_assay_writes_is_no_photo_of_the_project(trained_project: Path):
    project = Project.open(trained_project)
    assert list((trained_project / "runs").rglob("*.png"))
    assert len(project.photos) == 80


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 2, "classes": [], "left_out": {}, "sources": []}'])
def test_a_damaged_project_file_is_a_sentence(tmp_path: Path, text: str):
    paint(tmp_path / "a.png")
    (tmp_path / "project.json").write_text(text)
    with pytest.raises(AssayError, match=r"project\.json"):
        Project.open(tmp_path)


_EDITS = st.one_of(
    st.tuples(st.just("label"), st.sets(st.integers(0, 4)), st.sampled_from(["cat", "dog", "é=1", None])),
    st.tuples(st.just("out"), st.sets(st.integers(0, 4)), st.booleans()),
    st.tuples(st.just("rename"), st.sampled_from(["cat", "dog"]), st.sampled_from(["dog", "fox", "cat"])),
    st.tuples(st.just("delete"), st.sampled_from(["cat", "dog", "fox"]), st.none()),
)


@given(edits=st.lists(_EDITS, max_size=8))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
def test_undo_restores_every_state_and_the_files_follow(edits: list[tuple[str, object, object]], tmp_path_factory):
    folder = tmp_path_factory.mktemp("edits")
    for number in range(5):
        paint(folder / f"{number}.png", seed=number)
    project = Project.open(folder)
    states = [state(project)]
    for kind, first, second in edits:
        before = project.revision
        try:
            match kind:
                case "label":
                    project.label(ids(project, *sorted(first)), second, project.revision)
                case "out":
                    project.leave_out(ids(project, *sorted(first)), project.revision, out=second)
                case "rename":
                    project.rename_class(first, second)
                case _:
                    project.delete_class(first)
        except UsageError:
            continue
        if project.revision > before:
            states.append(state(project))
        expected = {photo.name: photo.label for photo in project.photos.values() if photo.label and not photo.left_out}
        assert manifest(project) == expected
    while project.last_edit is not None:
        assert state(project) == states.pop()
        project.undo()
    assert state(project) == states.pop()
    assert not states


def test_labels_that_another_program_writes_are_kept(make_project: Callable[..., Project]):
    project = make_project(3)
    one, two, three = project.photos.values()
    project.label([one.id, two.id], "a", project.revision)
    seen = project.revision
    text = project.labels_path.read_text()
    project.labels_path.write_text(text.replace(f"{two.name},a", f"{two.name},elsewhere"))
    project.label([three.id], "b", seen)
    assert [photo.label for photo in project.photos.values()] == ["a", "elsewhere", "b"]
    assert project.classes == ["a", "elsewhere", "b"]
    assert f"{two.name},elsewhere" in project.labels_path.read_text()
    with pytest.raises(StaleEditError):
        project.label([two.id], "a", seen)


def test_a_label_file_that_is_gone_is_written_again(make_project: Callable[..., Project]):
    project = make_project(2)
    one, _ = project.photos.values()
    project.label([one.id], "a", project.revision)
    text = project.labels_path.read_text()
    project.labels_path.unlink()
    project.refresh()
    assert project.labels_path.read_text() == text


def test_a_label_file_that_was_damaged_meanwhile_is_not_overwritten(make_project: Callable[..., Project]):
    project = make_project(2)
    one, two = project.photos.values()
    project.label([one.id], "a", project.revision)
    project.labels_path.write_text("path,label\nonly-one-value\n")
    with pytest.raises(AssayError):
        project.label([two.id], "a", project.revision)
    assert project.labels_path.read_text() == "path,label\nonly-one-value\n"


@pytest.mark.parametrize(
    "edit",
    [
        lambda project: project.label(ids(project, 0), "b", project.revision),
        lambda project: project.leave_out(ids(project, 0), project.revision),
        lambda project: project.create_class("b"),
        lambda project: project.rename_class("a", "b"),
        lambda project: project.delete_class("a"),
        lambda project: project.label_by_folder(),
        lambda project: project.undo(),
    ],
)
def test_every_edit_first_takes_over_what_another_program_wrote(make_project: MakeProject, edit):
    project = make_project(names=["1.png", "2.png", "cup/3.png"])
    one, two, _ = sorted(project.photos.values(), key=lambda photo: photo.name)
    project.label([one.id, two.id], "a", project.revision)
    project.labels_path.write_text(project.labels_path.read_text().replace(f"{two.name},a", f"{two.name},elsewhere"))
    notified: list[int] = []
    project.listeners.append(lambda: notified.append(project.revision))
    edit(project)
    assert two.label == manifest(project)[two.name] == "elsewhere"
    assert notified[-1] == project.revision
    assert state(Project.open(project.folder))[1] == project.classes


def test_a_folder_that_cannot_be_written_down_is_not_added(tmp_path: Path):
    paint(tmp_path / "elsewhere" / "far.png")
    project = Project.open(tmp_path / "project")
    (project.folder / "project.json").mkdir()
    with pytest.raises(OSError, match="project"):
        project.add_source(str(tmp_path / "elsewhere"))
    assert project.rescan() == 0


def _append(project: Project, line: str) -> None:
    with project.labels_path.open("a", encoding="utf-8") as file:
        file.write(f"{line}\r\n")


def test_row_of_another_program_for_a_new_photo_is_kept_and_applied(make_project: MakeProject):
    project = make_project(3)
    project.label(ids(project, 0), "cat", project.revision)
    shutil.copy(project.folder / "photo-000.png", project.folder / "new.png")
    _append(project, "new.png,new.png,dog,")
    project.label(ids(project, 1), "cat", project.revision)
    assert "new.png,new.png,dog" in project.labels_path.read_text(encoding="utf-8")
    assert project.rescan() == 1
    assert project.by_name()["new.png"].label == "dog"
    assert "dog" in project.classes


def test_rescan_takes_over_labels_that_another_program_wrote(make_project: MakeProject):
    project = make_project(3)
    project.label(ids(project, 0), "cat", project.revision)
    shutil.copy(project.folder / "photo-000.png", project.folder / "new.png")
    _append(project, "new.png,new.png,dog,")
    project.rescan()
    assert project.by_name()["new.png"].label == "dog"


def test_labels_of_a_folder_that_is_away_come_back_with_it(make_project: MakeProject, tmp_path: Path):
    project = make_project(3)
    first = project.path(next(iter(project.photos.values())))
    inside = project.folder / "inside"
    inside.mkdir()
    for number in range(3):
        shutil.copy(first, inside / f"{number}.png")
    project.rescan()
    numbers = {photo.name: photo.id for photo in project.photos.values()}
    project.label([numbers["inside/0.png"], numbers["inside/1.png"]], "cat", project.revision)
    project.label([numbers["inside/2.png"]], "dog", project.revision)
    project.leave_out([numbers["inside/2.png"]], project.revision)
    inside.rename(tmp_path / "away")
    project.rescan()
    project.label([numbers[first.name]], "cat", project.revision)
    (tmp_path / "away").rename(inside)
    project.rescan()
    states = {photo.name: (photo.label, photo.left_out) for photo in project.photos.values() if "/" in photo.name}
    assert states == {
        "inside/0.png": ("cat", False),
        "inside/1.png": ("cat", False),
        "inside/2.png": ("dog", True),
    }


def test_label_of_a_photo_that_was_deleted_is_removed(make_project: MakeProject):
    project = make_project(3)
    project.label(ids(project, 0), "cat", project.revision)
    project.label(ids(project, 1), "cat", project.revision)
    name = next(iter(project.by_name()))
    (project.folder / name).unlink()
    project.rescan()
    project.create_class("other")
    project.label([next(iter(project.photos))], "dog", project.revision)
    assert name not in project.labels_path.read_text(encoding="utf-8")


def test_a_left_out_photo_that_was_deleted_is_forgotten(make_project: MakeProject):
    project = make_project(3)
    project.leave_out(ids(project, 0), project.revision)
    path = project.path(next(photo for photo in project.photos.values() if photo.left_out))
    content = path.read_bytes()
    path.unlink()
    project.rescan()
    project.create_class("other")
    path.write_bytes(content)
    project.rescan()
    assert [photo.left_out for photo in Project.open(project.folder).photos.values()] == [False, False, False]


def test_another_program_can_use_a_photo_that_was_left_out(make_project: MakeProject):
    project = make_project(3)
    project.label(ids(project, 0), "cat", project.revision)
    photo = next(photo for photo in project.photos.values() if photo.label == "cat")
    project.leave_out([photo.id], project.revision)
    _append(project, f"{photo.name},{photo.name},dog,")
    project.refresh()
    assert (photo.label, photo.left_out) == ("dog", False)
    project.label(ids(project, 1), "cat", project.revision)
    assert f"{photo.name},dog" in project.labels_path.read_text(encoding="utf-8")
