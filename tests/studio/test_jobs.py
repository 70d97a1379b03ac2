"""Jobs are real commands: they survive the studio, can be stopped, and a crash is a sentence."""

import errno
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from waiting import wait_until

from assay.core.errors import UsageError
from assay.core.locks import try_lock
from assay.studio import jobs
from assay.studio.jobs import Job, JobStatus, JobStore


def wait(store: JobStore, true: Callable[[], bool], seconds: float = 90.0) -> None:
    def is_true_or_refresh() -> bool:
        if true():
            return True
        store.refresh()
        return False

    wait_until(is_true_or_refresh, seconds)


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    (tmp_path / "project").mkdir()
    return JobStore(tmp_path / "jobs", tmp_path / "project")


@pytest.fixture
def serving(store: JobStore, colour_bundle: Path) -> Iterator[Job]:
    """A server that has started, and runs until it is stopped."""
    job = store.start("serve", ["serve", str(colour_bundle), "--port", "0", "--request-log", "none"])
    wait(store, lambda: "answers with" in job.output())
    yield job
    if job._process.poll() is None:
        job._process.kill()
        job._process.wait()


def test_the_result_of_a_command_and_its_events(store: JobStore):
    ended: list[Job] = []
    store.listeners.append(ended.append)
    job = store.start("info", ["recipes", "show", "default"], run="x")
    assert job.status is JobStatus.running
    wait(store, lambda: not job.running)
    assert (job.status, job.exit_code, job.message) == (JobStatus.done, 0, "")
    assert "efficientnet-lite0" in job.output()
    assert job.command == "assay recipes show default"
    assert ended == [job]
    (again,) = JobStore(store._folder, store._project).jobs
    assert (again.status, again.details["run"], again.number) == (JobStatus.done, "x", 1)


def test_an_error_of_a_command_is_its_sentence(store: JobStore):
    job = store.start("check", ["check", "absent.csv"])
    wait(store, lambda: not job.running)
    assert job.status is JobStatus.failed
    assert "absent.csv" in job.message
    assert "\n" not in job.message


def test_a_job_that_has_ended_is_removed_with_the_earlier_ones_of_its_kind(store: JobStore):
    other = store.start("info", ["recipes", "show", "absent"])
    first, second = (store.start("watch", ["watch", "absent.assay"]) for _ in range(2))
    wait(store, lambda: not (first.running or second.running or other.running))
    store.remove(second)
    assert store.jobs == [other]
    assert [path.name for path in store._folder.iterdir()] == ["1-info"]
    again = store.start("watch", ["watch", "absent.assay"])
    assert again.number == 4  # a page may still show the third
    wait(store, lambda: not again.running)


def test_a_job_that_runs_is_not_removed(store: JobStore, serving: Job):
    with pytest.raises(UsageError, match="stop it first"):
        store.remove(serving)
    assert serving.folder.is_dir()


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs /proc")
def test_a_job_goes_on_without_the_studio_and_its_death_is_a_sentence(store: JobStore, serving: Job):
    later = JobStore(store._folder, store._project)
    (seen,) = later.jobs
    assert seen.running
    os.kill(seen.details["pid"], signal.SIGKILL)
    serving._process.wait()
    wait(later, lambda: not seen.running)
    assert seen.status is JobStatus.failed
    assert seen.message.startswith("The process ended without a result")


def test_a_job_is_stopped_as_by_ctrl_c(store: JobStore, serving: Job):
    serving.stop()
    assert serving.stopping or not serving.running
    wait(store, lambda: not serving.running)
    assert serving.status in {JobStatus.stopped, JobStatus.done}
    assert serving.message == ""


def test_a_job_that_ignores_ctrl_c_is_ended_by_the_second_stop(store: JobStore, serving: Job):
    os.kill(serving.details["pid"], signal.SIGSTOP)  # handles nothing until it continues
    serving.stop()
    store.refresh()
    assert serving.stopping
    serving.stop()
    os.kill(serving.details["pid"], signal.SIGCONT)
    wait(store, lambda: not serving.running)
    assert serving.message == ""


def test_a_job_that_cannot_be_noted_does_not_run(store: JobStore, monkeypatch: pytest.MonkeyPatch):
    processes: list[Any] = []
    start = subprocess.Popen

    def popen(*arguments: Any, **options: Any) -> Any:
        processes.append(start(*arguments, **options))
        return processes[-1]

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(subprocess, "Popen", popen)
    monkeypatch.setattr(jobs, "write_json", full)
    with pytest.raises(OSError, match="No space left"):
        store.start("info", ["recipes", "show", "default"])
    assert store.jobs == []
    assert list(store._folder.iterdir()) == []
    assert [process.returncode for process in processes] == [-signal.SIGKILL]


def test_a_job_of_unknown_details_is_shown_and_stopped(store: JobStore, serving: Job):
    (serving.folder / "job.json").write_text("{")
    later = JobStore(store._folder, store._project)
    seen = later.active("serve")
    assert seen is not None
    assert (seen.number, seen.command, seen.stopping) == (serving.number, "", False)
    assert abs(seen.started - serving.started) < 60
    seen.stop()
    serving._process.wait(60)
    wait(later, lambda: not seen.running)
    assert JobStore(store._folder, store._project).jobs == []


@pytest.mark.parametrize("text", ["", "-1", "0", "1", "9" * 30, "x"])
def test_a_damaged_description_without_its_process_is_not_shown(store: JobStore, text: str):
    folder = store._folder / "1-serve"
    folder.mkdir(parents=True)
    (folder / "job.json").write_text("{")
    (folder / "lock").write_text(text)
    with (folder / "lock").open() as held:
        assert try_lock(held)
        assert JobStore(store._folder, store._project).jobs == []


@pytest.mark.parametrize("pid", [-1, 0, 1, True, 10**30, "1", None])
def test_a_damaged_process_id_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pid: object):
    monkeypatch.setattr(os, "kill", lambda pid, _: pytest.fail(f"{pid} was stopped"))
    Job(tmp_path, "serve", ("serve",), 0.0, {"pid": pid}).stop()


def test_numbers_of_other_folders_are_skipped(store: JobStore):
    for name in ("1-serve", "7-info", "9-Other thing"):
        (store._folder / name).mkdir(parents=True)
    job = store.start("info", ["recipes", "show", "absent"])
    assert job.number == 10
    wait(store, lambda: not job.running)
