"""Number of parallel runs, and what happens to others if one fails."""

from pathlib import Path

import pytest
import torch

from assay.core.errors import AssayError
from assay.data import load_dataset
from assay.pipeline import parallel_runs
from assay.pipeline.experiment_runs import RunTask
from assay.pipeline.parallel_runs import ExperimentCallbacks, complete_runs, default_jobs, threads_per_run
from assay.recipe import Recipe


@pytest.mark.parametrize(("processors", "threads", "jobs"), [(1, 1, 1), (2, 2, 1), (6, 6, 1), (8, 4, 2), (64, 4, 16)])
def test_processors_are_divided_among_runs(monkeypatch: pytest.MonkeyPatch, processors: int, threads: int, jobs: int):
    monkeypatch.setattr(parallel_runs, "cpu_count", lambda: processors)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert threads_per_run() == threads
    assert default_jobs(threads, memory=1 << 40) == jobs


def test_little_memory_allows_one_run_at_a_time(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(parallel_runs, "cpu_count", lambda: 64)
    assert default_jobs(4, memory=0) == 1
    assert default_jobs(4, memory=9 << 30) == 2


def test_gpu_is_not_shared(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(parallel_runs, "cpu_count", lambda: 64)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert default_jobs(4, memory=1 << 40) == 1


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_failing_run_is_named(colours: Path, tiny: Recipe, tmp_path: Path, jobs: int):
    dataset = load_dataset(colours)  # without parts: there is nothing to learn from
    tasks = [RunTask("fold 1/1", tmp_path / "run", dataset, tiny)]
    before = torch.get_num_threads()
    with pytest.raises(AssayError, match=r"^fold 1/1: .*no training photos"):
        complete_runs(tasks, jobs, 1, ExperimentCallbacks())
    assert torch.get_num_threads() == before
