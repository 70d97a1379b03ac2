"""The commands `assay watch` and `assay collect`: lines, JSON lines, tables, events and errors."""

import csv
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "ASSAY_WEBHOOK_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds of red, three of blue, three of red, ten frames a second."""
    path = tmp_path_factory.mktemp("video") / "video.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, (64, 64))
    for blue, green, red in ((20, 20, 220), (220, 20, 20), (20, 20, 220)):
        for _ in range(30):
            writer.write(np.full((64, 64, 3), (blue, green, red), np.uint8))
    writer.release()
    return path


def test_one_line_per_frame_and_a_summary(assay, colour_bundle: Path, video: Path):
    ended = assay("watch", colour_bundle, video, "--every-frame", "--no-abstain")
    assert ended.code == 0, ended.err
    lines = [line.split() for line in ended.out.splitlines()]
    assert [int(line[4].rstrip(":")) for line in lines] == list(range(90))
    assert [line[5] for line in lines] == ["red"] * 30 + ["blue"] * 30 + ["red"] * 30
    changes = [line for line, before in zip(lines, [["", ""], *lines], strict=False) if line[1] != before[1]]
    assert [line[1] for line in changes] == ["red", "blue", "red"]
    times = [float(line[0]) for line in changes]
    assert times[0] == 0
    assert 3.5 < times[1] < 5
    assert "90 frames" in ended.err
    assert "classifying every frame; label changes are reported within about" in ended.err
    assert "frames per second" not in ended.err
    assert ended.err.count("no window: ") == 1


def test_one_line_per_change(assay, colour_bundle: Path, colours: Path, tmp_path: Path):
    for number in range(6):
        kind = "red" if number < 3 else "blue"
        (tmp_path / f"{number}.png").write_bytes((colours / kind / f"{number + 1:03}.png").read_bytes())
    steady = ("--smooth", "0", "--margin", "0", "--hold", "0", "--fps", "20", "--no-abstain")
    ended = assay("watch", colour_bundle, tmp_path, *steady)
    assert [line.split()[1] for line in ended.out.splitlines()] == ["red", "blue"]
    ended = assay("watch", colour_bundle, tmp_path, *steady, "--json")
    rows = [json.loads(line) for line in ended.out.splitlines()]
    assert [set(row) for row in rows] == [{"time", "frame", "label", "confidence", "probabilities"}] * 2


def test_json_lines_table_and_recording(assay, colour_bundle: Path, video: Path, tmp_path: Path):
    table, recording = tmp_path / "out.csv", tmp_path / "out.avi"
    arguments = ("--every-frame", "--json", "--csv", table, "--record", recording, "--on", "blue for 1s")
    ended = assay("watch", colour_bundle, video, *arguments)
    assert ended.code == 0, ended.err
    rows = [json.loads(line) for line in ended.out.splitlines()]
    result = [row for row in rows if "event" not in row]
    (event,) = [row for row in rows if "event" in row]
    usual = {"time", "frame", "label", "confidence", "probabilities", "unknown", "reason"}
    assert set(result[0]) == usual | {"changed", "frame_label", "frame_confidence"}
    assert [row["frame"] for row in result] == list(range(90))
    assert [row["label"] for row in result if row["changed"]] == ["red", "blue", "red"]
    assert event["event"] == "blue for 1s"
    assert 5 < event["time"] < 6.5
    with table.open(encoding="utf-8") as stream:
        assert len([*csv.DictReader(stream)]) == 90
    capture = cv2.VideoCapture(str(recording))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) / capture.get(cv2.CAP_PROP_FPS) == pytest.approx(8.9, abs=0.2)
    capture.release()


def test_rule_starts_a_program_once_per_cooldown(assay, colour_bundle: Path, video: Path, tmp_path: Path):
    note = tmp_path / "note"
    script = f"import os; open({str(note)!r}, 'a').write(os.environ['ASSAY_RULE'] + ';')"
    arguments = ("--on", "red>0.5", "--on", "blue>0.5 for 500ms", "--run", f'{sys.executable} -c "{script}"')
    ended = assay("watch", colour_bundle, video, "--every-frame", "--no-abstain", *arguments)
    assert ended.code == 0, ended.err
    assert note.read_text(encoding="utf-8") == "red>0.5;blue>0.5 for 500ms;"
    assert ended.out.count("event:") == 2


def test_folder_is_processed_at_its_rate_only_on_request(assay, colour_bundle: Path, colours: Path, tmp_path: Path):
    for number in range(4):
        (tmp_path / f"{number}.png").write_bytes((colours / "red" / f"{number + 1:03}.png").read_bytes())
    ended = assay("watch", colour_bundle, tmp_path, "--fps", "0.1", "--every-frame")
    assert ended.code == 0, ended.err
    assert "4 frames" in ended.err


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("nowhere.mp4",), "does not exist"),
        (("97",), "no frames from camera 97"),
        (("97", "--every-frame"), "no frames from camera 97"),
        (("VIDEO", "--on", "cow"), "has no class 'cow'"),
        (("VIDEO", "--run", "true"), "needs a rule"),
        (("VIDEO", "--on", "red", "--run", "/nowhere/x"), "program not found"),
        (("VIDEO", "--on", "red", "--run", "'"), "No closing quotation"),
        (("VIDEO", "--on", "red", "--webhook", "http://localhost:1/"), "ASSAY_WEBHOOK_KEY"),
        (("VIDEO", "--on", "red", "--mqtt", "localhost"), "mqtt://host:1883/topic"),
        (("VIDEO", "--smooth", "long"), "is not a duration"),
        (("VIDEO", "--record", "out.gif"), "the name must end in"),
        (("VIDEO", "--csv", "out.txt"), "the name must end in .csv"),
        (("VIDEO", "--window"), "cannot open a window"),
    ],
    ids=range(13),
)
def test_invalid_arguments_are_reported_in_one_sentence(
    arguments: tuple[str, ...], word: str, assay, colour_bundle: Path, video: Path
):
    ended = assay("watch", colour_bundle, *(video if part == "VIDEO" else part for part in arguments))
    assert ended.code in {1, 2}
    assert word in ended.err
    assert "Traceback" not in ended.err


def test_photos_collected_from_a_video_can_be_used_for_training(assay, video: Path, tmp_path: Path):
    to = tmp_path / "photos"
    ended = assay("collect", video, "--to", to, "--class", "red", "--every", "0.5s", "--count", "4")
    assert ended.code == 0, ended.err
    assert len([*(to / "red").glob("*.jpg")]) == 4
    assert ended.out.startswith("red: 4 new, 4 in total; 3 near-duplicates")
    ended = assay("collect", video, "--to", to, "--class", "blue", "--count", "2", "--skip-duplicates")
    assert ended.code == 0, ended.err
    assert f"assay train {to}" not in ended.out


def test_several_classes_need_a_window(assay, video: Path, tmp_path: Path):
    ended = assay("collect", video, "--to", tmp_path, "--class", "a", "--class", "b")
    assert ended.code == 2
    assert "only one class can be collected at a time" in ended.err


def test_collecting_reports_counts_by_class(assay, tmp_path: Path):
    rng = np.random.default_rng(0)
    folder, to = tmp_path / "frames", tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        rough = rng.integers(0, 256, (6, 6, 3), np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), cv2.resize(rough, (96, 96), interpolation=cv2.INTER_CUBIC))
    for name in ("cup", "bottle"):
        ended = assay("collect", folder, "--to", to, "--class", name)
        assert ended.out.startswith(f"{name}: 3 new, 3 in total\n")
