"""A part that fails is left alone, and tried again."""

from assay.serving.resilience import CircuitBreaker


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_failures_in_a_row_open_it_and_an_answer_closes_it():
    clock = Clock()
    breaker = CircuitBreaker(failures=2, pause=1, clock=clock)
    assert not breaker.failed()
    assert breaker.allows()
    assert breaker.failed()
    assert breaker.open
    assert not breaker.allows()
    clock.now = 1
    assert breaker.allows()
    assert breaker.succeeded()
    assert breaker.allows()
    assert not breaker.open


def test_failures_with_answers_between_do_not_open_it():
    breaker = CircuitBreaker(failures=2)
    for _ in range(5):
        breaker.failed()
        assert not breaker.succeeded()
    assert breaker.allows()


def test_one_at_a_time_tries_while_it_is_open():
    clock = Clock()
    breaker = CircuitBreaker(failures=1, pause=1, clock=clock)
    breaker.failed()
    clock.now = 1
    assert [breaker.allows() for _ in range(3)] == [True, False, False]


def test_pauses_double_up_to_the_longest():
    clock = Clock()
    breaker = CircuitBreaker(failures=1, pause=1, longest=4, clock=clock)
    breaker.failed()
    pauses = []
    for _ in range(4):
        start = clock.now
        while not breaker.allows():
            clock.now += 0.5
        pauses.append(clock.now - start)
        assert not breaker.failed()
    assert pauses == [1, 2, 4, 4]
