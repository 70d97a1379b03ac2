"""Jobs are real commands: they survive the studio, can be stopped, and a crash is a sentence."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from assay.studio.jobs import Job, JobStatus, JobStore

LONG = ["watch", "missing.assay", "0"]


def wait(store: JobStore, true: Callable[[], bool], seconds: float = 90.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come about in time"
        store.refresh()
        time.sleep(0.05)


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    (tmp_path / "project").mkdir()
    return JobStore(tmp_path / "jobs", tmp_path / "project")


def collecting(store: JobStore) -> Job:
    """A command that waits for a stream until it is stopped."""
    return store.start("collect", ["collect", "http://127.0.0.1:9/none", "--to", "x", "--class", "y", "--no-window"])


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


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs /proc")
def test_a_job_goes_on_without_the_studio_and_its_death_is_a_sentence(store: JobStore):
    job = collecting(store)
    later = JobStore(store._folder, store._project)
    (seen,) = later.jobs
    assert seen.running
    os.kill(seen.details["pid"], signal.SIGKILL)
    job._process.wait()
    wait(later, lambda: not seen.running)
    assert seen.status is JobStatus.failed
    assert seen.message.startswith("The process ended without a result")


def test_a_job_is_stopped_as_by_ctrl_c(store: JobStore):
    job = collecting(store)
    wait(store, lambda: bool(job.seconds > 2))
    job.stop()
    assert job.stopping or not job.running
    wait(store, lambda: not job.running)
    assert job.status in {JobStatus.stopped, JobStatus.done}
    assert job.message == ""
