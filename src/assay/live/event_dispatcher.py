"""Deliver events from rules to sinks: one bounded queue and thread a sink, with retries."""

import uuid
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from threading import Condition, Event, Thread
from types import TracebackType
from typing import Self

from assay.live import event_sinks
from assay.live.event_sinks import EventSink, RuleEvent
from assay.live.rules import Rule, RuleTrigger
from assay.live.sources import Clock, Notify
from assay.live.watch_loop import FrameResult

_FIRST_RETRY_DELAY, _MAX_RETRY_DELAY = 1.0, 30.0
"""Seconds before the second attempt and, doubled each time, at most before any other."""


class EventDispatcher:
    """Carries events to one action, in order, and again after failures that may pass.

    Attributes:
        delivered: events that arrived.
        lost: events that did not: the queue was full, the attempts were used up, or time at the end.
    """

    def __init__(
        self, action: event_sinks.EventSink, tell: Notify, clock: Clock, *, room: int = 64, attempts: int = 6
    ) -> None:
        """Start the thread.

        Args:
            action: what to do about each event.
            tell: told what did not arrive, and why.
            clock: waits between attempts.
            room: events that may wait; more are lost, the newest first.
            attempts: at one event.
        """
        self.delivered = 0
        self.lost = 0
        self._action, self._tell, self._clock = action, tell, clock
        self._room, self._attempts = room, attempts
        self._waiting: deque[event_sinks.RuleEvent] = deque()
        self._changed, self._stop = Condition(), Event()
        self._closing = False
        # A daemon: an action that hangs must not keep the program from ending.
        self._thread = Thread(target=self._work, name=f"courier {action.name}", daemon=True)
        self._thread.start()

    def post(self, event: event_sinks.RuleEvent) -> None:
        """Take an event along; returns at once."""
        with self._changed:
            if len(self._waiting) < self._room:
                self._waiting.append(event)
                self._changed.notify()
                return
            self.lost += 1
        self._tell(f"{self._action.name}: {self._room} events wait already; one is lost")

    def close(self, seconds: float = 5.0) -> None:
        """Deliver what waits, for at most about `seconds`; then tell how much is lost."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(seconds)
        self._stop.set()
        self._thread.join(0.1)
        with self._changed:
            left = len(self._waiting)
            self._waiting.clear()
        if left:
            self.lost += left
            self._tell(f"{self._action.name}: {left} events had not arrived at the end")

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing)
                if not self._waiting:
                    return
                event = self._waiting[0]
            arrived = self._deliver(event)
            with self._changed:
                if self._stop.is_set():
                    return
                self._waiting.popleft()
                self.delivered += arrived
                self.lost += not arrived

    def _deliver(self, event: event_sinks.RuleEvent) -> bool:
        pause = _FIRST_RETRY_DELAY
        for attempt in range(1, self._attempts + 1):
            try:
                self._action(event)
            except event_sinks.DeliveryError as error:
                if not error.again or attempt == self._attempts:
                    self._tell(f"{self._action.name}: the event {event.rule!r} did not arrive: {error}")
                    return False
            else:
                return True
            if self._clock.wait(self._stop, pause):
                return False
            pause = min(2 * pause, _MAX_RETRY_DELAY)
        return False


class RuleSink:
    """Rules, and what to do about them. Every event goes to every action.

    When the block ends, what is on its way is delivered, for a few seconds at most.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        actions: Sequence[EventSink],
        source: str,
        tell: Notify,
        *,
        cool_down: float = 0.0,
        told: Callable[[RuleEvent], None],
        clock: Clock | None = None,
    ) -> None:
        """Start the couriers.

        Args:
            rules: what to look for.
            actions: what to do about it.
            source: what is watched, by name.
            tell: told what did not arrive.
            cool_down: least seconds between two events of a rule.
            told: takes each event at once, in the thread of the frames.
            clock: real time, where none is given.
        """
        self._alarms = [RuleTrigger(rule, cool_down) for rule in rules]
        self._couriers = [EventDispatcher(action, tell, clock or Clock()) for action in actions]
        self._source, self._told = source, told

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for courier in self._couriers:
            courier.close()

    def __call__(self, view: FrameResult) -> None:
        """Judge the rules, if the frame was classified."""
        if view.prediction is None:
            return
        for alarm in self._alarms:
            if view.frame.first:
                alarm.restart()
            if alarm.update(view.answer, view.frame.time):
                self._send(alarm.rule, view)

    def _send(self, rule: Rule, view: FrameResult) -> None:
        event = RuleEvent(
            id=uuid.uuid4().hex,
            rule=rule.text,
            label=view.answer.label,
            confidence=view.answer.confidence,
            source=self._source,
            at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            time=view.frame.time,
        )
        self._told(event)
        for courier in self._couriers:
            courier.post(event)
