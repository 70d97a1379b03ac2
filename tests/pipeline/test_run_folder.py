"""Run folders, also when several processes start together."""

import subprocess
import sys
from pathlib import Path

import pytest

from assay.core.errors import UsageError
from assay.data.class_folders import list_folder
from assay.pipeline.run_folder import Run, folder_lock, result_folder
from assay.recipe import Recipe, load_recipe

_TAKE = """
import sys, time
from pathlib import Path
from assay.pipeline.run_folder import result_folder
print("ready", flush=True)
sys.stdin.readline()
with result_folder(None, Path(sys.argv[1]), "default") as folder:
    (folder / "mine").touch()
    print(folder.name, flush=True)
"""


def test_concurrent_processes_get_separate_folders(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _TAKE, str(tmp_path / "runs")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **pipes) for _ in range(4)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    taken = {process.communicate()[0].strip() for process in processes}
    assert taken == {f"default-{number}" for number in range(1, 5)}


def test_empty_folder_is_removed(tmp_path: Path) -> None:
    parent = tmp_path / "runs"
    with result_folder(None, parent, "a") as folder:
        assert folder == parent / "a-1"
        assert folder.is_dir()
    assert not parent.exists()
    parent.mkdir()
    with pytest.raises(UsageError), result_folder(None, parent, "a"):
        raise UsageError("no such weights")
    assert list(parent.iterdir()) == []
    with result_folder(None, parent, "a") as folder:
        (folder / "file").touch()
    with result_folder(None, parent, "a") as folder:
        assert folder.name == "a-2"


def test_given_folder_is_used(tmp_path: Path) -> None:
    with result_folder(tmp_path / "mine", tmp_path / "runs", "a") as folder:
        assert folder == tmp_path / "mine"
    assert list(tmp_path.iterdir()) == []


def test_only_one_run_starts_in_a_folder(tmp_path: Path, tiny: Recipe) -> None:
    Run.create(tmp_path / "run", tmp_path, tiny)
    with pytest.raises(UsageError, match="is not empty"):
        Run.create(tmp_path / "run", tmp_path, tiny)


@pytest.mark.parametrize(("parent", "name"), [("runs", "default"), ("runs", "mine-crossval"), ("", "evaluation")])
def test_new_folder_is_not_listed_as_a_class(tmp_path: Path, parent: str, name: str) -> None:
    for photo in ("cat/1.jpg", "dog/1.jpg"):
        (tmp_path / photo).parent.mkdir()
        (tmp_path / photo).write_bytes(b"x")
    for _ in range(2):
        with (
            result_folder(None, tmp_path / parent, name) as folder,
            result_folder(None, tmp_path / parent, name),
        ):
            assert list_folder(tmp_path).labels == ["cat", "dog"]
            (folder / "run.json").write_text("{}")
            (folder / "recipe.yaml").write_text("")


def test_empty_class_folder_is_not_taken_for_a_run(tmp_path: Path) -> None:
    for name in ("cat", "evaluation", "runs-1"):
        (tmp_path / name).mkdir()
    assert list_folder(tmp_path).labels == ["cat", "evaluation", "runs-1"]


class Killed(BaseException):
    """Stands for SIGKILL, which no handler sees."""


@pytest.mark.parametrize("writes", [0, 1])
def test_run_killed_during_creation_is_resumed_or_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int
):
    recipe, folder, written = load_recipe("bottle", ["train.epochs=2"]), tmp_path / "run", []

    def write_and_die(path: Path, text: str, *_: object) -> None:
        if len(written) == writes:
            raise Killed
        written.append(path.name)
        path.write_text(text, encoding="utf-8")

    with monkeypatch.context() as patch:
        patch.setattr("assay.pipeline.run_folder.write_text", write_and_die)
        patch.setattr("assay.core.tables.write_text", write_and_die)
        with pytest.raises(Killed):
            Run.create(folder, tmp_path, recipe)
    if written:
        assert not (folder / "recipe.yaml").exists()
        assert Run.open(folder).recipe() == recipe
        assert not Run.open(folder).done
        with pytest.raises(UsageError, match="resume it with `assay train --resume"):
            Run.create(folder, tmp_path, recipe)
    else:
        for begin in (lambda: Run.open(folder), lambda: Run.create(folder, tmp_path, recipe)):
            with pytest.raises(UsageError, match="was stopped before its settings were written: delete the folder"):
                begin()


_HOLD = """
import sys
from pathlib import Path
from assay.pipeline.run_folder import folder_lock
with folder_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_second_process_is_rejected_until_the_first_is_killed(tmp_path: Path):
    path = tmp_path / "folder" / ".lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match="another process is using"), folder_lock(path):
            pytest.fail("two at once")
        holder.kill()
    with folder_lock(path, timeout=10):
        assert path.exists()


def test_lock_can_be_acquired_again(tmp_path: Path):
    for _ in range(2):
        with folder_lock(tmp_path / ".lock"):
            assert (tmp_path / ".lock").exists()
