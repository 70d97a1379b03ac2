"""Dispatch of events: asynchronous, with retries, and lost events are reported."""

from threading import Event as Flag

from assay.live.event_dispatcher import EventDispatcher
from assay.live.event_sinks import DeliveryError, RuleEvent

EVENT = RuleEvent("1", "cat", "cat", 0.9, "camera 0", "2026-01-01T00:00:00+00:00", 0.0)


class Failing:
    """A sink that fails a number of times; it waits for `release`, if given."""

    name = "failing"

    def __init__(self, times: int, *, retryable: bool = True, release: Flag | None = None) -> None:
        self.left, self.retryable, self.release = times, retryable, release
        self.calls = 0

    def __call__(self, event: RuleEvent) -> None:
        del event
        self.calls += 1
        if self.release is not None:
            self.release.wait(10)
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


def test_failed_events_are_retried_with_growing_pauses(clock):
    sink = Failing(4)
    dispatcher, messages = dispatch(sink, clock)
    assert (sink.calls, dispatcher.delivered, dispatcher.lost, messages) == (5, 1, 0, [])
    assert clock.waits == [1, 2, 4, 8]


def test_failure_is_reported_after_the_last_attempt(clock):
    dispatcher, messages = dispatch(Failing(99), clock)
    assert (dispatcher.delivered, dispatcher.lost) == (0, 1)
    assert messages == ["failing: event 'cat' was not delivered: it answered 503"]
    assert len(clock.waits) == 5


def test_permanent_failures_are_not_retried(clock):
    sink = Failing(1, retryable=False)
    dispatcher, messages = dispatch(sink, clock, count=2)
    assert (sink.calls, dispatcher.delivered, dispatcher.lost, len(messages)) == (2, 1, 1, 1)
    assert clock.waits == []


def test_full_queue_drops_new_events_with_a_message(clock):
    release, messages = Flag(), list[str]()
    sink = Failing(0, release=release)
    dispatcher = EventDispatcher(sink, messages.append, clock, max_queued=3)
    for _ in range(10):
        dispatcher.submit(EVENT)
    release.set()
    dispatcher.close()
    assert (dispatcher.delivered, dispatcher.lost) == (3, 7)
    assert len(messages) == 7


def test_hanging_sink_does_not_block_exit(clock):
    release, messages = Flag(), list[str]()
    dispatcher = EventDispatcher(Failing(0, release=release), messages.append, clock)
    dispatcher.submit(EVENT)
    dispatcher.submit(EVENT)
    dispatcher.close(0.05)
    assert messages == ["failing: 2 events were not delivered before the end"]
    release.set()
