"""What the page Train shows of the events of a training."""

import json
import time
from pathlib import Path

import pytest

from assay.studio.jobs import Job
from assay.studio.training_view import is_search_over, training_view

KEPT = {
    "event": "candidate",
    "name": "probe",
    "outcome": "kept",
    "accuracy": 0.9,
    "half_width": 0.05,
    "after": 8,
}
WORSE = {**KEPT, "name": "larger", "outcome": "not kept", "accuracy": 0.8, "after": 20}


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path, "train", ("train",), time.time() - 30, {"run": "run-1"})


def add(job: Job, *events: dict[str, object]) -> None:
    with (job.folder / "events.jsonl").open("a", encoding="utf-8") as stream:
        stream.writelines(json.dumps({"time": time.time(), **event}) + "\n" for event in events)
    for event in events:
        job.events.append(event)


def test_stage_curve_and_time_left(job: Job):
    add(job, {"event": "settings", "minutes": 1.0}, {"event": "data", "splits": {"train": 70, "val": 15, "test": 15}})
    job.progress = {"what": "computing embeddings", "done": 2, "total": 4}
    add(job, KEPT, WORSE)
    view = training_view(job)
    assert (view.stage, view.share, view.splits["train"]) == ("computing embeddings", 0.5, 70)
    assert [(point.x, point.y, point.best) for point in view.curve] == [(8.0, 0.9, True), (20.0, 0.8, False)]
    assert view.left == pytest.approx(30, abs=2)
    assert view.best is not None
    assert view.best.name == "probe"


def test_the_candidate_that_is_tried_now_is_named(job: Job):
    assert not training_view(job).trying
    add(job, {"event": "trying", "name": "probe"})
    assert training_view(job).trying == "probe"
    add(job, KEPT)
    assert not training_view(job).trying
    add(job, {"event": "trying", "name": "larger"}, {"event": "epoch", "epoch": 1, "val_accuracy": 0.5})
    assert training_view(job).trying == "larger"
    add(job, WORSE, {"event": "search_end"})
    assert not training_view(job).trying


def test_a_search_that_has_ended_is_not_stopped_to_keep_the_best(job: Job):
    assert not training_view(job).can_keep_best
    add(job, KEPT)
    assert training_view(job).can_keep_best
    add(job, {"event": "search_end"})
    assert is_search_over(job)
    assert not training_view(job).can_keep_best
