"""`assay watch`: classify a camera, stream or video and react to events."""

import os
import shlex
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assay.cli.camera_session import end_on_signals, notify, open_window, stop_check
from assay.cli.console import print_json_text, print_result
from assay.cli.options import EngineOption, Precision, PrecisionOption, ThreadsOption, print_engine
from assay.core.errors import UsageError
from assay.core.text_layout import counted

if TYPE_CHECKING:
    from assay.inference import Classifier
    from assay.live import FrameResult, FrameSink, FrameSource, Rule, RuleSink, SmoothingConfig, WatchSummary
    from assay.live.event_sinks import EventSink, RuleEvent

_STALL_SECONDS = 2.0
"""Seconds without a frame after which the status line reports it."""
_SMOOTHING_PANEL = "Smoothing"
_EVENTS_PANEL = "Events"
_RECORDING_PANEL = "Recording"


def watch(
    model: Annotated[Path, typer.Argument(help="A .assay file.")],
    source: Annotated[str, typer.Argument(help="Camera number, rtsp:// or http(s):// URL, video file, or folder.")],
    *,
    fps: Annotated[
        float | None,
        typer.Option(min=0.01, max=1000, help="Frames to classify per second. (default: the model's)"),
    ] = None,
    every_frame: Annotated[
        bool,
        typer.Option("--every-frame", help="Classify and print every frame; no frame of a file is dropped."),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON lines.")] = False,
    show: Annotated[
        bool | None,
        typer.Option("--window/--no-window", help="Show a window. (default: if there is a screen)"),
    ] = None,
    smooth: Annotated[
        str,
        typer.Option(help="Time constant of the exponential mean; 0: no smoothing.", rich_help_panel=_SMOOTHING_PANEL),
    ] = "1s",
    margin: Annotated[
        float,
        typer.Option(
            min=0, max=0.99, help="Probability lead that a new label needs.", rich_help_panel=_SMOOTHING_PANEL
        ),
    ] = 0.1,
    hold: Annotated[
        str, typer.Option(help="How long the new label must lead.", rich_help_panel=_SMOOTHING_PANEL)
    ] = "0.5s",
    abstain: Annotated[
        bool,
        typer.Option(
            help="Mark predictions as unknown if confidence is low or the frame is unlike the training data.",
            rich_help_panel=_SMOOTHING_PANEL,
        ),
    ] = True,
    on: Annotated[
        list[str] | None,
        typer.Option(
            help="Event rule; repeatable: 'cat>0.9 for 1s', 'cat|dog', 'not cat for 10s', 'unknown for 5s'.",
            rich_help_panel=_EVENTS_PANEL,
        ),
    ] = None,
    run: Annotated[
        str | None,
        typer.Option(
            help="Program to run on an event, with ASSAY_LABEL, ASSAY_RULE etc. in its environment.",
            rich_help_panel=_EVENTS_PANEL,
        ),
    ] = None,
    webhook: Annotated[
        str | None, typer.Option(help="URL to POST events to, signed with HMAC-SHA256.", rich_help_panel=_EVENTS_PANEL)
    ] = None,
    webhook_key: Annotated[
        Path | None,
        typer.Option(help="File with the signing key. (default: $ASSAY_WEBHOOK_KEY)", rich_help_panel=_EVENTS_PANEL),
    ] = None,
    mqtt: Annotated[
        str | None,
        typer.Option(
            help="MQTT topic to publish events to: mqtt://HOST:1883/TOPIC, or mqtts://.", rich_help_panel=_EVENTS_PANEL
        ),
    ] = None,
    cool_down: Annotated[
        str, typer.Option(help="Minimum time between two events of a rule.", rich_help_panel=_EVENTS_PANEL)
    ] = "30s",
    record: Annotated[
        Path | None, typer.Option(help="Record an annotated video: .mp4 or .avi.", rich_help_panel=_RECORDING_PANEL)
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option("--csv", help="Write all predictions to a CSV file.", rich_help_panel=_RECORDING_PANEL),
    ] = None,
    engine: EngineOption = "auto",
    precision: PrecisionOption = Precision.auto,
    threads: ThreadsOption = None,
) -> None:
    """Classify a camera, stream or video and print a line whenever the label changes.

    Press q or Ctrl-C to stop.

    On a terminal a status line shows frames, frame rate, label, confidence and dropped frames. The newest
    frame is always classified next; frames that arrive meanwhile are dropped. No frame is written to disk
    without --record.

    Example: assay watch model.assay 0 --on 'animal>0.9 for 1s' --run 'switch-sign on'
    """
    from assay.core.duration import parse_duration
    from assay.inference import Classifier
    from assay.live import Rule, SmoothingConfig, WatchSummary, parse_source, watch_source

    smoothing = SmoothingConfig(parse_duration(smooth), margin, parse_duration(hold))
    event_sinks = _event_sinks(on, run, webhook, webhook_key, mqtt)
    parse_source(source, 1.0)
    classifier = Classifier.load(model, engine=engine, precision=precision.value, threads=threads, abstain=abstain)
    fps = fps or classifier.info.live.fps
    frame_source = parse_source(source, fps, classifier.preprocess.spec.value_range)
    rules = [Rule.parse(text, classifier.classes) for text in on or []]
    summary = WatchSummary()
    with end_on_signals(), ExitStack() as stack:
        sinks = _recorders(stack, classifier, frame_source, record, table)
        window = stack.enter_context(open_window(f"Assay: {classifier.info.name}", wanted=show))
        if window is not None:
            from assay.live.display import draw_result

            sinks.append(lambda result: window.show(draw_result(result, classifier.preprocess)))
        sinks.append(
            stack.enter_context(_rule_sink(rules, event_sinks, frame_source, parse_duration(cool_down), json=json))
        )
        sinks.append(_line_sink(json=json, every_frame=every_frame))
        status = WatchStatus(summary)
        sinks.append(status)
        _print_start(classifier, smoothing, None if every_frame else fps)
        stopped = stack.enter_context(stop_check(window, status.text))
        watch_source(
            classifier,
            frame_source,
            sinks,
            fps=fps,
            smoothing=smoothing,
            notify=notify,
            every_frame=every_frame,
            stopped=stopped,
            summary=summary,
        )
    _print_summary(summary)


def _print_start(classifier: "Classifier", smoothing: "SmoothingConfig", fps: float | None) -> None:
    print_engine(classifier)
    delay = smoothing.delay + (1 / fps if fps else 0)
    pace = f"classifying {fps:g} frames per second" if fps else "classifying every frame"
    notify(f"{pace}; label changes are reported within about {delay:.1f} s")


def _print_summary(summary: "WatchSummary") -> None:
    notify(
        f"{counted(summary.frames, 'frame')} in {summary.seconds:.1f} s, {summary.classified} classified, "
        f"{summary.dropped} dropped, {counted(summary.label_changes, 'label change')}, "
        f"at most {counted(summary.max_behind, 'frame')} behind"
    )


def _recorders(
    stack: ExitStack, classifier: "Classifier", source: "FrameSource", record: Path | None, table: Path | None
) -> "list[FrameSink]":
    """Return the recorders, opened on `stack`."""
    from assay.live.recorders import CsvRecorder, VideoRecorder

    video = None if record is None else VideoRecorder(record, classifier.preprocess)
    rows = None if table is None else CsvRecorder(table, classifier.classes)
    for path in (record, table):
        if (
            path is not None
            and Path(source.name).is_dir()
            and path.resolve().is_relative_to(Path(source.name).resolve())
        ):
            raise UsageError(f"{path} is inside the folder that is watched: give another path")
    sinks: list[FrameSink] = []
    if video is not None:
        sinks.append(stack.enter_context(video))
    if rows is not None:
        sinks.append(stack.enter_context(rows))
    return sinks


def _event_sinks(
    rules: list[str] | None, run: str | None, webhook: str | None, key: Path | None, mqtt: str | None
) -> "list[EventSink]":
    """Return the event sinks, validated before any frame is read."""
    from assay.live.event_sinks import CommandSink, MqttSink, WebhookSink, webhook_key

    if not rules:
        for option, given in (("--run", run), ("--webhook", webhook), ("--mqtt", mqtt)):
            if given is not None:
                raise UsageError(f"{option} needs a rule: add --on, as in --on 'cat>0.9 for 1s'")
    event_sinks: list[EventSink] = []
    if run is not None:
        event_sinks.append(CommandSink(_program(run)))
    if webhook is not None:
        event_sinks.append(WebhookSink(webhook, webhook_key(key, os.environ)))
    if mqtt is not None:
        event_sinks.append(MqttSink(mqtt, os.environ))
    return event_sinks


def _program(line: str) -> list[str]:
    try:
        arguments = shlex.split(line)
    except ValueError as error:
        raise UsageError(f"--run {line}: {error}") from None
    if not arguments or shutil.which(arguments[0]) is None:
        raise UsageError(f"--run {line!r}: program not found; check the spelling and the path")
    return arguments


def _rule_sink(
    rules: "list[Rule]", event_sinks: "list[EventSink]", source: "FrameSource", cool_down: float, *, json: bool
) -> "RuleSink":
    from dataclasses import asdict

    from assay.live import RuleSink

    def print_event(event: "RuleEvent") -> None:
        if json:
            print_json_text(dumps({"event": event.rule, **asdict(event)}, ensure_ascii=False))
        else:
            print_result(f"{event.time:9.2f}  event: {event.rule}")

    return RuleSink(rules, event_sinks, source.name, notify, cool_down=cool_down, on_event=print_event)


class WatchStatus:
    """The text of the status line: counts, the current prediction, and whether frames still arrive."""

    def __init__(self, summary: "WatchSummary", clock: Callable[[], float] = time.monotonic) -> None:
        """Read counts from `summary`, which is updated meanwhile; `clock` returns seconds."""
        self._summary, self._clock = summary, clock
        self._result: FrameResult | None = None
        self._latest = clock()

    def __call__(self, result: "FrameResult") -> None:
        """Store the newest frame result."""
        self._result, self._latest = result, self._clock()

    def text(self) -> str:
        """Return the current text."""
        silence = self._clock() - self._latest
        if self._result is None:
            return f"waiting for the first frame, {silence:.0f} s"
        smoothed = self._result.smoothed
        parts = [
            counted(self._summary.frames, "frame"),
            f"{self._result.fps:.1f} fps" if silence < _STALL_SECONDS else f"no frame for {silence:.0f} s",
            f"{smoothed.label} {smoothed.confidence:.3f}{' unknown' if smoothed.unknown else ''}",
            f"{self._summary.dropped} dropped",
        ]
        return "  ".join(parts)


def _line_sink(*, json: bool, every_frame: bool) -> "FrameSink":
    """Return a sink that prints a line when the label changes, or for every classified frame."""

    def line(result: "FrameResult") -> None:
        if result.prediction is None or not (every_frame or result.smoothed.changed):
            return
        if json:
            print_json_text(dumps(_json_row(result, every_frame=every_frame), ensure_ascii=False))
        else:
            print_result(_line_text(result, every_frame=every_frame))

    return line


def _json_row(result: "FrameResult", *, every_frame: bool) -> dict[str, Any]:
    smoothed = result.smoothed
    row = {"time": round(result.frame.time, 3), "frame": result.frame.number, "label": smoothed.label}
    row |= {"confidence": smoothed.confidence, "probabilities": smoothed.probabilities}
    if every_frame and result.prediction is not None:
        row |= {"changed": smoothed.changed, "frame_label": result.prediction.label}
        row |= {"frame_confidence": result.prediction.confidence}
    return row if smoothed.unknown is None else {**row, "unknown": smoothed.unknown, "reason": smoothed.reason}


def _line_text(result: "FrameResult", *, every_frame: bool) -> str:
    smoothed = result.smoothed
    unknown = f"  unknown: {(smoothed.reason or '').replace('_', ' ')}" if smoothed.unknown else ""
    line = f"{result.frame.time:9.2f}  {smoothed.label}  {smoothed.confidence:.3f}{unknown}"
    if not every_frame or result.prediction is None:
        return line
    alone = result.prediction
    return f"{line}  frame {result.frame.number}: {alone.label} {alone.confidence:.3f}"
