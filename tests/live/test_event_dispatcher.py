"""Events on their way: never in the way of frames, tried again, lost only with a word."""

from threading import Event as Flag

from assay.live.event_dispatcher import EventDispatcher
from assay.live.event_sinks import DeliveryError, RuleEvent

EVENT = RuleEvent("1", "cat", "cat", 0.9, "camera 0", "2026-01-01T00:00:00+00:00", 0.0)


class Failing:
    """A sink that fails a number of times; `gate`, when given, holds it up."""

    name = "failing"

    def __init__(self, times: int, *, retryable: bool = True, gate: Flag | None = None) -> None:
        self.left, self.retryable, self.gate = times, retryable, gate
        self.calls = 0

    def __call__(self, event: RuleEvent) -> None:
        del event
        self.calls += 1
        if self.gate is not None:
            self.gate.wait(10)
        if self.left:
            self.left -= 1
            raise DeliveryError("it answered 503", retryable=self.retryable)


def dispatch(sink: Failing, clock, count: int = 1) -> tuple[EventDispatcher, list[str]]:
    messages: list[str] = []
    dispatcher = EventDispatcher(sink, messages.append, clock)
    for _ in range(count):
        dispatcher.submit(EVENT)
    dispatcher.close()
    return dispatcher, messages


def test_what_failed_is_tried_again_ever_later(clock):
    sink = Failing(4)
    dispatcher, messages = dispatch(sink, clock)
    assert (sink.calls, dispatcher.delivered, dispatcher.lost, messages) == (5, 1, 0, [])
    assert clock.waits == [1, 2, 4, 8]


def test_after_the_last_attempt_it_is_told(clock):
    dispatcher, messages = dispatch(Failing(99), clock)
    assert (dispatcher.delivered, dispatcher.lost) == (0, 1)
    assert messages == ["failing: event 'cat' was not delivered: it answered 503"]
    assert len(clock.waits) == 5


def test_what_cannot_get_better_is_not_repeated(clock):
    sink = Failing(1, retryable=False)
    dispatcher, messages = dispatch(sink, clock, count=2)
    assert (sink.calls, dispatcher.delivered, dispatcher.lost, len(messages)) == (2, 1, 1, 1)
    assert clock.waits == []


def test_a_full_queue_loses_the_newest_with_a_word_and_nobody_waits(clock):
    gate, messages = Flag(), list[str]()
    sink = Failing(0, gate=gate)
    dispatcher = EventDispatcher(sink, messages.append, clock, max_queued=3)
    for _ in range(10):
        dispatcher.submit(EVENT)
    gate.set()
    dispatcher.close()
    assert (dispatcher.delivered, dispatcher.lost) == (3, 7)
    assert len(messages) == 7


def test_what_hangs_does_not_keep_the_program_from_ending(clock):
    gate, messages = Flag(), list[str]()
    dispatcher = EventDispatcher(Failing(0, gate=gate), messages.append, clock)
    dispatcher.submit(EVENT)
    dispatcher.submit(EVENT)
    dispatcher.close(0.05)
    assert messages == ["failing: 2 events were not delivered before the end"]
    gate.set()
