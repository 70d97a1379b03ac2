"""A sink that looks for rules coming true, and sends events on their way."""

import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from assay.live.actions import Action, Event
from assay.live.clock import Clock
from assay.live.courier import Courier
from assay.live.events import Alarm, Rule
from assay.live.frame import Tell
from assay.live.view import View


class Alerts:
    """Rules, and what to do about them. Every event goes to every action.

    When the block ends, what is on its way is delivered, for a few seconds at most.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        actions: Sequence[Action],
        source: str,
        tell: Tell,
        *,
        cool_down: float = 0.0,
        told: Callable[[Event], None],
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
        self._alarms = [Alarm(rule, cool_down) for rule in rules]
        self._couriers = [Courier(action, tell, clock or Clock()) for action in actions]
        self._source, self._told = source, told

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for courier in self._couriers:
            courier.close()

    def __call__(self, view: View) -> None:
        """Judge the rules, if the frame was classified."""
        if view.prediction is None:
            return
        for alarm in self._alarms:
            if view.frame.first:
                alarm.restart()
            if alarm.update(view.answer, view.frame.time):
                self._send(alarm.rule, view)

    def _send(self, rule: Rule, view: View) -> None:
        event = Event(
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
