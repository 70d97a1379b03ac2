"""Events of a command: one JSON object per line, readable while the file grows."""

from pathlib import Path

from assay.core.event_log import EventLog, EventReader


def test_events_are_read_as_they_are_written(tmp_path: Path):
    log, reader = EventLog(tmp_path / "events"), EventReader(tmp_path / "events")
    assert reader.read() == []
    log.write("candidate", name="a\nb", accuracy=float("nan"), rows=[1.0, float("inf")])
    (event,) = reader.read()
    assert (event["event"], event["name"], event["accuracy"], event["rows"]) == ("candidate", "a\nb", None, [1.0, None])
    with (tmp_path / "events").open("a") as stream:
        stream.write('not json\n[1]\n{"event": "exi')
    assert reader.read() == []
    with (tmp_path / "events").open("a") as stream:
        stream.write('t", "code": 0}\n')
    assert [event["code"] for event in reader.read()] == [0]


def test_progress_is_limited_but_complete(tmp_path: Path):
    log = EventLog(tmp_path / "events")
    for done in range(1001):
        log.progress("reading", done, 1000)
    events = EventReader(tmp_path / "events").read()
    assert len(events) < 100
    assert (events[0]["done"], events[-1]["done"]) == (0, 1000)


def test_a_file_that_cannot_be_written_ends_no_command(tmp_path: Path):
    EventLog(tmp_path / "absent" / "events").write("exit", code=0)
    assert not (tmp_path / "absent").exists()
