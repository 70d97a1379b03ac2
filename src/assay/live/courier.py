"""Events on their way: a bounded queue and a thread for each action, so that no frame ever waits for one.

Knows nothing of what the actions do.
"""

from collections import deque
from threading import Condition, Event, Thread

from assay.live import actions
from assay.live.clock import Clock
from assay.live.frame import Tell

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
"""Seconds before the second attempt and, doubled each time, at most before any other."""


class Courier:
    """Carries events to one action, in order, and again after failures that may pass.

    Attributes:
        delivered: events that arrived.
        lost: events that did not: the queue was full, the attempts were used up, or time at the end.
    """

    def __init__(
        self, action: actions.Action, tell: Tell, clock: Clock, *, room: int = 64, attempts: int = 6
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
        self._waiting: deque[actions.Event] = deque()
        self._changed, self._stop = Condition(), Event()
        self._closing = False
        # A daemon: an action that hangs must not keep the program from ending.
        self._thread = Thread(target=self._work, name=f"courier {action.name}", daemon=True)
        self._thread.start()

    def post(self, event: actions.Event) -> None:
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

    def _deliver(self, event: actions.Event) -> bool:
        pause = _FIRST_PAUSE
        for attempt in range(1, self._attempts + 1):
            try:
                self._action(event)
            except actions.DeliveryError as error:
                if not error.again or attempt == self._attempts:
                    self._tell(f"{self._action.name}: the event {event.rule!r} did not arrive: {error}")
                    return False
            else:
                return True
            if self._clock.wait(self._stop, pause):
                return False
            pause = min(2 * pause, _LONGEST_PAUSE)
        return False
