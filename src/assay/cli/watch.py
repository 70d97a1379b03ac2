"""`assay watch`: a camera, a stream or a film in, its label told whenever it changes."""

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

from assay.cli.console import result, result_json
from assay.cli.engines import EngineOption, Precision, PrecisionOption, ThreadsOption, tell_runs
from assay.cli.live import ended_by_signals, stopper, tell, window
from assay.errors import UsageError

if TYPE_CHECKING:
    from assay.inference import Classifier
    from assay.live import Alerts, Rule, Sink, Source, Steadiness, Summary, View
    from assay.live.actions import Action, Event

_SILENCE = 2.0
"""Seconds without a frame after which the status line says so."""
_STEADY = "Steady answers"
_EVENTS = "Events"
_KEEP = "What is kept"


def watch(
    model: Annotated[Path, typer.Argument(help="A .assay file.")],
    source: Annotated[
        str, typer.Argument(help="A camera's number, rtsp:// or http(s)://, a video file, or a folder.")
    ],
    *,
    fps: Annotated[
        float | None,
        typer.Option(min=0.01, max=1000, help="Frames classified a second. (default: the model's)"),
    ] = None,
    every_frame: Annotated[
        bool,
        typer.Option("--every-frame", help="Print every frame's answer; a file is then read without drops."),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON lines.")] = False,
    show: Annotated[
        bool | None, typer.Option("--window/--no-window", help="By default where there is a screen.")
    ] = None,
    smooth: Annotated[
        str, typer.Option(help="Time constant of the mean over frames; 0: none.", rich_help_panel=_STEADY)
    ] = "1s",
    margin: Annotated[
        float,
        typer.Option(min=0, max=0.99, help="Lead that another label needs.", rich_help_panel=_STEADY),
    ] = 0.1,
    hold: Annotated[
        str, typer.Option(help="For how long it needs that lead.", rich_help_panel=_STEADY)
    ] = "0.5s",
    abstain: Annotated[
        bool, typer.Option(help="Say when the answer is unknown.", rich_help_panel=_STEADY)
    ] = True,
    on: Annotated[
        list[str] | None,
        typer.Option(
            help="A rule: 'cat>0.9 for 1s', 'cat|dog', 'not cat for 10s', 'unknown for 5s'.",
            rich_help_panel=_EVENTS,
        ),
    ] = None,
    run: Annotated[
        str | None,
        typer.Option(help="Program to start; ASSAY_LABEL and others tell it more.", rich_help_panel=_EVENTS),
    ] = None,
    webhook: Annotated[
        str | None, typer.Option(help="Address to POST to, signed.", rich_help_panel=_EVENTS)
    ] = None,
    webhook_key: Annotated[
        Path | None,
        typer.Option(help="File with the key (default: ASSAY_WEBHOOK_KEY).", rich_help_panel=_EVENTS),
    ] = None,
    mqtt: Annotated[
        str | None, typer.Option(help="mqtt://host:1883/topic, or mqtts://.", rich_help_panel=_EVENTS)
    ] = None,
    cool_down: Annotated[
        str, typer.Option(help="Least time between two events of a rule.", rich_help_panel=_EVENTS)
    ] = "30s",
    record: Annotated[
        Path | None, typer.Option(help="Video with the answers on it: .mp4 or .avi.", rich_help_panel=_KEEP)
    ] = None,
    table: Annotated[
        Path | None, typer.Option("--csv", help="Table of all answers.", rich_help_panel=_KEEP)
    ] = None,
    engine: EngineOption = "auto",
    precision: PrecisionOption = Precision.auto,
    threads: ThreadsOption = None,
) -> None:
    """Classify a camera, a stream or a video; prints a line whenever the label changes. q or Ctrl-C ends.

    A terminal also shows a status line: frames, frames a second, label, confidence and dropped frames.
    It is always at the newest frame. No frame is ever written to the disk, unless --record asks for it.

    Example: assay watch model.assay 0 --on 'animal>0.9 for 1s' --run 'switch-sign on'
    """
    from assay.inference import Classifier
    from assay.live import Rule, Steadiness, Summary, parse_source
    from assay.live import watch as watch_source
    from assay.live.duration import seconds_of

    steadiness = Steadiness(seconds_of(smooth), margin, seconds_of(hold))
    actions = _actions(on, run, webhook, webhook_key, mqtt)
    parse_source(source, 1.0)
    classifier = Classifier.load(
        model, engine=engine, precision=precision.value, threads=threads, abstain=abstain
    )
    fps = fps or classifier.info.live.fps
    found = parse_source(source, fps, classifier.preprocess.spec.value_range)
    rules = [Rule.parse(text, classifier.classes) for text in on or []]
    summary = Summary()
    with ended_by_signals(), ExitStack() as stack:
        sinks = _sinks(stack, classifier, found, record, table)
        shown = stack.enter_context(window(f"Assay: {classifier.info.name}", wanted=show))
        if shown is not None:
            from assay.live.overlay import drawn

            sinks.append(lambda view: shown.show(drawn(view, classifier.preprocess)))
        sinks.append(stack.enter_context(_alerts(rules, actions, found, seconds_of(cool_down), json=json)))
        sinks.append(_line(json=json, every=every_frame))
        status = WatchStatus(summary)
        sinks.append(status)
        _begin(classifier, steadiness, None if every_frame else fps)
        stopped = stack.enter_context(stopper(shown, status.text))
        watch_source(
            classifier,
            found,
            sinks,
            fps=fps,
            steadiness=steadiness,
            tell=tell,
            every=every_frame,
            stopped=stopped,
            summary=summary,
        )
    _end(summary)


def _begin(classifier: "Classifier", steadiness: "Steadiness", fps: float | None) -> None:
    tell_runs(classifier)
    delay = steadiness.delay + (1 / fps if fps else 0)
    pace = f"{fps:g} frames a second are classified" if fps else "every frame is classified"
    tell(f"{pace}; a clear change is told within {delay:.1f} s")


def _end(summary: "Summary") -> None:
    tell(
        f"{summary.frames} frames in {summary.seconds:.1f} s, {summary.classified} classified, "
        f"{summary.dropped} dropped, {summary.changes} changes, at worst {summary.behind} behind"
    )


def _sinks(
    stack: ExitStack, classifier: "Classifier", source: "Source", record: Path | None, table: Path | None
) -> "list[Sink]":
    """Return what keeps answers; the stack finishes it."""
    from assay.live.record import Table, VideoFile

    video = None if record is None else VideoFile(record, classifier.preprocess)
    rows = None if table is None else Table(table, classifier.classes)
    for path in (record, table):
        if (
            path is not None
            and Path(source.name).is_dir()
            and path.resolve().is_relative_to(Path(source.name).resolve())
        ):
            raise UsageError(f"{path} lies in the folder that is watched: give another place")
    sinks: list[Sink] = []
    if video is not None:
        sinks.append(stack.enter_context(video))
    if rows is not None:
        sinks.append(stack.enter_context(rows))
    return sinks


def _actions(
    rules: list[str] | None, run: str | None, webhook: str | None, key: Path | None, mqtt: str | None
) -> "list[Action]":
    """Return what is to be done about events, checked before any frame is read."""
    from assay.live.actions import Command, Mqtt, Webhook, webhook_key

    if not rules:
        for option, given in (("--run", run), ("--webhook", webhook), ("--mqtt", mqtt)):
            if given is not None:
                raise UsageError(f"{option} needs a rule: add --on, as in --on 'cat>0.9 for 1s'")
    actions: list[Action] = []
    if run is not None:
        actions.append(Command(_program(run)))
    if webhook is not None:
        actions.append(Webhook(webhook, webhook_key(key, os.environ)))
    if mqtt is not None:
        actions.append(Mqtt(mqtt, os.environ))
    return actions


def _program(line: str) -> list[str]:
    try:
        arguments = shlex.split(line)
    except ValueError as error:
        raise UsageError(f"--run {line}: {error}") from None
    if not arguments or shutil.which(arguments[0]) is None:
        raise UsageError(f"--run {line!r}: there is no such program; check the spelling and the path")
    return arguments


def _alerts(
    rules: "list[Rule]", actions: "list[Action]", source: "Source", cool_down: float, *, json: bool
) -> "Alerts":
    from dataclasses import asdict

    from assay.live import Alerts

    def told(event: "Event") -> None:
        if json:
            result_json(dumps({"event": event.rule, **asdict(event)}, ensure_ascii=False))
        else:
            result(f"{event.time:9.2f}  event: {event.rule}")

    return Alerts(rules, actions, source.name, tell, cool_down=cool_down, told=told)


class WatchStatus:
    """The text of the status line: how far it is, what it sees now, and whether frames still come."""

    def __init__(self, summary: "Summary", clock: Callable[[], float] = time.monotonic) -> None:
        """Name the counts, which go on while the source is watched; `clock` gives seconds."""
        self._summary, self._clock = summary, clock
        self._view: View | None = None
        self._latest = clock()

    def __call__(self, view: "View") -> None:
        """Note what is seen."""
        self._view, self._latest = view, self._clock()

    def text(self) -> str:
        """Return the text for this moment."""
        silence = self._clock() - self._latest
        if self._view is None:
            return f"waiting for the first frame, {silence:.0f} s"
        answer = self._view.answer
        parts = [
            f"{self._summary.frames} frames",
            f"{self._view.fps:.1f} fps" if silence < _SILENCE else f"no frame for {silence:.0f} s",
            f"{answer.label} {answer.confidence:.3f}{' unknown' if answer.unknown else ''}",
            f"{self._summary.dropped} dropped",
        ]
        return "  ".join(parts)


def _line(*, json: bool, every: bool) -> "Sink":
    """Return what prints a line when the answer has changed, or for every frame that is classified."""

    def line(view: "View") -> None:
        if view.prediction is None or not (every or view.answer.changed):
            return
        if json:
            result_json(dumps(_row(view, every=every), ensure_ascii=False))
        else:
            result(_text(view, every=every))

    return line


def _row(view: "View", *, every: bool) -> dict[str, Any]:
    answer = view.answer
    row = {"time": round(view.frame.time, 3), "frame": view.frame.number, "label": answer.label}
    row |= {"confidence": answer.confidence, "probabilities": answer.probabilities}
    if every and view.prediction is not None:
        row |= {"changed": answer.changed, "frame_label": view.prediction.label}
        row |= {"frame_confidence": view.prediction.confidence}
    return row if answer.unknown is None else {**row, "unknown": answer.unknown, "reason": answer.reason}


def _text(view: "View", *, every: bool) -> str:
    answer = view.answer
    doubt = f"  unknown: {answer.reason}" if answer.unknown else ""
    line = f"{view.frame.time:9.2f}  {answer.label}  {answer.confidence:.3f}{doubt}"
    if not every or view.prediction is None:
        return line
    return f"{line}  frame {view.frame.number}: {view.prediction.label} {view.prediction.confidence:.3f}"
