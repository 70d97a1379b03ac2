"""Deliver events from rules to sinks: one bounded queue and thread a sink, with retries."""

import uuid
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from threading import Condition, Event, Thread
from types import TracebackType
from typing import Self

from assay.core.text_layout import counted
from assay.live.event_sinks import DeliveryError, EventSink, RuleEvent
from assay.live.rules import Rule, RuleTrigger
from assay.live.sources import Clock, Notify
from assay.live.watch_loop import FrameResult

_FIRST_RETRY_DELAY, _MAX_RETRY_DELAY = 1.0, 30.0
"""Seconds before the first retry, doubled after each failure up to the maximum."""


class EventDispatcher:
    """Delivers events to one sink in order, from a bounded queue in a thread, with retries.

    Events are lost if the queue is full, all attempts fail, or time runs out in `close`.
    """

    def __init__(
        self, sink: EventSink, notify: Notify, clock: Clock, *, max_queued: int = 64, max_attempts: int = 6
    ) -> None:
        self.delivered = 0
        self.lost = 0
        self._sink, self._notify, self._clock = sink, notify, clock
        self._max_queued, self._max_attempts = max_queued, max_attempts
        self._waiting: deque[RuleEvent] = deque()
        self._changed, self._stop = Condition(), Event()
        self._closing = False
        # A daemon thread, so that a sink that hangs cannot block the exit.
        self._thread = Thread(target=self._work, name=f"dispatcher {sink.name}", daemon=True)
        self._thread.start()

    def submit(self, event: RuleEvent) -> None:
        """Queue an event without blocking."""
        with self._changed:
            if len(self._waiting) < self._max_queued:
                self._waiting.append(event)
                self._changed.notify()
                return
            self.lost += 1
        self._notify(f"{self._sink.name}: the queue of {counted(self._max_queued, 'event')} is full; one event is lost")

    def close(self, seconds: float = 5.0) -> None:
        """Deliver queued events for at most about `seconds`, then report how many are lost."""
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
            self._notify(f"{self._sink.name}: {counted(left, 'event was', 'events were')} not delivered before the end")

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing)
                if not self._waiting:
                    return
                event = self._waiting[0]
            delivered = self._deliver(event)
            with self._changed:
                if self._stop.is_set():
                    return
                self._waiting.popleft()
                self.delivered += delivered
                self.lost += not delivered

    def _deliver(self, event: RuleEvent) -> bool:
        delay = _FIRST_RETRY_DELAY
        for attempt in range(1, self._max_attempts + 1):
            try:
                self._sink(event)
            except DeliveryError as error:
                if not error.retryable or attempt == self._max_attempts:
                    self._notify(f"{self._sink.name}: event {event.rule!r} was not delivered: {error}")
                    return False
            else:
                return True
            if self._clock.wait(self._stop, delay):
                return False
            delay = min(2 * delay, _MAX_RETRY_DELAY)
        return False


class RuleSink:
    """A frame sink that sends the events of rules to all event sinks.

    When the block ends, queued events are delivered for a few seconds at most.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        sinks: Sequence[EventSink],
        source: str,
        notify: Notify,
        *,
        cool_down: float = 0.0,
        on_event: Callable[[RuleEvent], None],
        clock: Clock | None = None,
    ) -> None:
        """Start one dispatcher per sink; `cool_down` is the minimum time in seconds between two events of a rule."""
        self._triggers = [RuleTrigger(rule, cool_down) for rule in rules]
        self._dispatchers = [EventDispatcher(sink, notify, clock or Clock()) for sink in sinks]
        self._source, self._on_event = source, on_event

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for dispatcher in self._dispatchers:
            dispatcher.close()

    def __call__(self, result: FrameResult) -> None:
        """Evaluate the rules if the frame was classified."""
        if result.prediction is None:
            return
        for trigger in self._triggers:
            if result.frame.first:
                trigger.reset()
            if trigger.update(result.smoothed, result.frame.time):
                self._send(trigger.rule, result)

    def _send(self, rule: Rule, result: FrameResult) -> None:
        event = RuleEvent(
            id=uuid.uuid4().hex,
            rule=rule.text,
            label=result.smoothed.label,
            confidence=result.smoothed.confidence,
            source=self._source,
            at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            time=result.frame.time,
        )
        self._on_event(event)
        for dispatcher in self._dispatchers:
            dispatcher.submit(event)
