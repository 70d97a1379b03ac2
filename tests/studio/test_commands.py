"""What the pages start, over HTTP: a comparison of runs, exports, the import of a video, a rule on a video."""

import json
import shutil
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest
from studio_projects import build_trained_project
from waiting import wait_until

from assay.data import read_manifest
from assay.recipe import Recipe
from assay.studio.routes_use import FORMATS


@pytest.fixture(scope="module")
def folder(
    build_once, colours: Path, tiny: Recipe, colour_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A trained project with two runs, and one whose classifier knows red, green and blue for certain."""
    built = build_once("studio-project", lambda place: build_trained_project(place, colours, tiny))
    second = build_once("studio-second-run", lambda place: _train_again(place, built, tiny))
    project = tmp_path_factory.mktemp("commands") / "project"
    shutil.copytree(built, project)
    shutil.copytree(second, project / "runs" / "run-2")
    shutil.copytree(built / "runs" / "run-1", project / "runs" / "colours")
    shutil.copy(colour_bundle, project / "runs" / "colours" / "model.assay")
    return project


def _train_again(place: Path, built: Path, recipe: Recipe) -> None:
    from assay.pipeline import train_classifier  # noqa: PLC0415  it imports torch

    changed = recipe.model_copy(update={"train": recipe.train.model_copy(update={"epochs": 1, "seed": 7})})
    train_classifier(built / "labels.csv", changed, place, keep_splits=built / "runs" / "run-1")


RED, GREEN, BLUE = (200, 40, 40), (40, 200, 40), (40, 40, 200)


def film(path: Path, *scenes: tuple[tuple[int, int, int], float]) -> Path:
    """Write a video of scenes: a colour (RGB) and for how many seconds it is shown."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (96, 64))
    random = np.random.default_rng(0)
    for colour, seconds in scenes:
        for _ in range(round(10 * seconds)):
            noise = random.normal(colour[::-1], 6, (64, 96, 3))
            writer.write(noise.clip(0, 255).astype(np.uint8))
    writer.release()
    return path


def test_runs_are_compared_on_the_same_photos(client: httpx.Client):
    assert client.post("/api/compare", json={"runs": "run-1"}).status_code == 400
    assert client.post("/api/compare", json={"runs": ["run-1", "run-2", "absent"]}).status_code == 200
    wait_until(lambda: "Comparison on the same photos" in client.get("/train/live").text, 90)
    page = client.get("/train/live").text
    assert "assay compare runs/run-1 runs/run-2 --labels labels.csv --json" in page.replace("&#39;", "'")
    assert "no difference between the runs can be shown" in page or "more than chance" in page
    assert "All of these runs were measured on the same" in page
    assert "have changed since this comparison" not in page
    (photo, *_) = [row for row in client.get("/api/photos").json()["photos"] if row[3] == "red"]
    edit = {
        "action": "label",
        "photos": [photo[0]],
        "label": "blue",
        "revision": client.get("/api/photos").json()["revision"],
    }
    assert client.post("/api/edit", json=edit).status_code == 200
    assert "have changed since this comparison" in client.get("/train/live").text
    client.post("/api/undo", json={})


@pytest.mark.slow
def test_every_format_is_exported_and_agrees(client: httpx.Client, folder: Path):
    assert client.post("/api/export", json={"run": "run-1", "format": []}).status_code == 400
    assert client.post("/api/export", json={"run": "../run-1", "format": "onnx"}).status_code == 404
    assert client.post("/api/export", json={"run": "run-1", "format": [*FORMATS, "absent"]}).status_code == 200
    wait_until(lambda: "Written to" in client.get("/use/live?part=export").text, 90)
    page = client.get("/use/live?part=export").text
    for name in FORMATS:
        assert f'<th scope="row">{name}</th>' in page
    assert page.count("0 labels differ") == len(FORMATS)
    written = {path.name for path in (folder / "models" / "run-1").iterdir()}
    assert {"model.onnx", "model.int8.onnx", "model.xml", "model.int8.xml", "model.torchscript.pt"} <= written


def test_one_format_is_exported_and_agrees(client: httpx.Client, folder: Path):
    export = {"run": "run-2", "format": "onnx"}
    assert "disabled" not in client.get("/start/export").text
    assert client.post("/api/export", json=export).status_code == 200
    button = client.get("/start/export").text
    assert (
        '<button id="start-export" class="primary" disabled' in button,
        "An export is already running" in button,
    ) == (
        True,
        True,
    )
    assert "An export is already running" in client.post("/api/export", json=export).json()["error"]
    assert "Export runs" in client.get("/jobs/live?here=train").text
    assert client.get("/jobs/live?here=use").text.strip() == ""
    assert client.get("/start/absent").status_code == 404
    wait_until(lambda: "models/run-2" in client.get("/use/live?part=export").text, 90)
    wait_until(lambda: "0 labels differ" in client.get("/use/live?part=export").text, 90)
    assert list((folder / "models" / "run-2").rglob("*.onnx"))
    assert "disabled" not in client.get("/start/export").text
    assert client.get("/jobs/live?here=train").text.strip() == ""


def test_the_frames_of_a_video_are_imported_with_a_label(client: httpx.Client, folder: Path, tmp_path: Path):
    video = film(tmp_path / "walk.avi", (RED, 1), (GREEN, 1), (BLUE, 1))
    query = "name=walk.avi&label=toy&every=500ms"
    assert client.post(f"/api/video?{query}", content=video.read_bytes()).status_code == 200

    def labelled() -> list[str]:
        return [str(item.path) for item in read_manifest(folder / "labels.csv").samples if item.label == "toy"]

    wait_until(lambda: len(labelled()) >= 3, 90)
    assert all("photos/videos/walk/" in path for path in labelled())
    assert client.post("/api/video?name=walk.txt", content=b"x").status_code == 400
    client.post("/api/undo", json={})
    assert labelled() == []


@pytest.mark.slow
def test_a_rule_on_a_video_runs_the_program_of_the_project(client: httpx.Client, folder: Path):
    film(folder / "road.avi", (RED, 1), (GREEN, 3), (RED, 1))
    (folder / "sign.sh").write_text('#!/bin/sh\necho "$ASSAY_LABEL $1" >> sign.log\n')
    (folder / "sign.sh").chmod(0o755)
    rule = {"run": "colours", "source": "road.avi", "label": "green", "confidence": "0.6", "seconds": "0.2"}
    for program in ("/bin/sh -c id", "../sign.sh"):
        assert client.post("/api/watch", json={**rule, "program": program}).status_code == 400
    assert client.post("/api/watch", json={**rule, "program": "./sign.sh on"}).status_code == 200
    wait_until(lambda: "green&gt;0.6 for 0.2s" in client.get("/use/live?part=rule").text.partition("Command")[0], 90)
    wait_until(lambda: "Stop the rule" not in client.get("/use/live?part=rule").text, 90)
    assert "1 event." in client.get("/use/live?part=rule").text
    assert (folder / "sign.log").read_text() == "green on\n"


@pytest.mark.slow
def test_a_rule_is_stopped_and_a_missing_video_is_a_sentence(client: httpx.Client, folder: Path):
    film(folder / "long.avi", (BLUE, 60))
    rule = {"run": "colours", "source": "long.avi", "label": "blue", "confidence": "0.5", "seconds": "0.1"}
    job = client.post("/api/watch", json=rule).json()["job"]
    wait_until(lambda: "1 event." in client.get("/use/live?part=rule").text, 90)
    assert client.post("/api/watch", json=rule).status_code == 400
    client.post(f"/api/jobs/{job}/stop", json={})
    wait_until(lambda: "Stop the rule" not in client.get("/use/live?part=rule").text, 90)
    assert client.post("/api/watch", json={**rule, "source": "absent.avi"}).status_code == 200
    wait_until(lambda: "absent.avi" in client.get("/use/live?part=rule").text.partition("<details")[0], 90)
    wait_until(lambda: 'role="alert"' in client.get("/use/live?part=rule").text, 90)
    assert json.loads((folder / ".studio" / "jobs" / f"{job}-watch" / "job.json").read_text())["kind"] == "watch"


def test_a_rule_that_failed_is_removed(client: httpx.Client):
    rule = {"run": "colours", "source": "absent.avi", "label": "blue", "confidence": "0.5", "seconds": "0.1"}
    job = client.post("/api/watch", json=rule).json()["job"]
    wait_until(lambda: 'role="alert"' in client.get("/use/live?part=rule").text, 90)
    page = client.get("/use/live?part=rule").text
    assert ">failed</span> absent.avi with colours" in page
    assert f'data-post="/api/jobs/{job}/remove"' in page
    assert client.post(f"/api/jobs/{job}/remove", json={}).status_code == 200
    assert client.get("/use/live?part=rule").text.strip() == ""
    assert client.post(f"/api/jobs/{job}/remove", json={}).status_code == 404


def test_a_rule_offers_the_classes_of_its_run(client: httpx.Client):
    classes = {run: client.get(f"/api/runs/{run}/classes").json()["classes"] for run in ("run-1", "colours")}
    assert classes == {"run-1": ["blue", "red"], "colours": ["red", "green", "blue"]}
    assert client.get("/api/runs/absent/classes").status_code == 404
    client.post("/api/classes", json={"action": "create", "name": "not trained"})
    assert "<option>not trained" not in client.get("/use").text
    rule = {"run": "run-1", "source": "0", "label": "green", "confidence": "0.5", "seconds": "1"}
    answer = client.post("/api/watch", json=rule)
    assert (answer.status_code, answer.json()["error"]) == (400, "The run run-1 has no class green")
