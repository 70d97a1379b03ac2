"""GCRA rate limiting: clients get the configured rate and burst, and never more."""

from hypothesis import given
from hypothesis import strategies as st

from assay.serving.auth.rate_limits import MICROSECONDS, Rate

rates = st.builds(Rate, interval=st.integers(1, 5_000_000), burst=st.integers(1, 50))
gaps = st.lists(st.integers(0, 6_000_000) | st.just(0), min_size=1, max_size=120)


def _taken(rate: Rate, times: list[int]) -> list[int]:
    """Return those times at which a request is taken."""
    arrival, taken = 0, []
    for now in times:
        ahead = rate.ahead(arrival, now)
        if rate.allows(ahead):
            taken.append(now)
            arrival = now + ahead + rate.interval
    return taken


def _times(gaps: list[int]) -> list[int]:
    times, now = [], 10**15
    for gap in gaps:
        now += gap
        times.append(now)
    return times


@given(rates, gaps)
def test_no_window_exceeds_burst_and_rate(rate: Rate, gaps: list[int]):
    taken = _taken(rate, _times(gaps))
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            assert last - first + 1 <= rate.burst + (taken[last] - taken[first]) / rate.interval


@given(rates, gaps)
def test_client_within_its_rate_is_always_allowed(rate: Rate, gaps: list[int]):
    times = _times([gap + rate.interval for gap in gaps])
    assert _taken(rate, times) == times


@given(st.builds(Rate, interval=st.integers(1, 5_000_000), burst=st.integers(2, 50)), gaps)
def test_greedy_client_gets_the_full_rate(rate: Rate, gaps: list[int]):
    times = _times([min(gap, rate.interval) for gap in gaps])
    promised = rate.burst + (times[-1] - times[0]) // rate.interval - 1
    assert len(_taken(rate, times)) >= min(len(times), promised)


@given(rates, gaps)
def test_request_is_allowed_exactly_after_retry_after(rate: Rate, gaps: list[int]):
    arrival = 0
    for now in _times(gaps):
        ahead = rate.ahead(arrival, now)
        if rate.allows(ahead):
            arrival = now + ahead + rate.interval
            continue
        wait = round(rate.wait(ahead) * MICROSECONDS)
        assert rate.allows(rate.ahead(arrival, now + wait))
        assert not rate.allows(rate.ahead(arrival, now + wait - 1))


@given(rates, gaps)
def test_remaining_requests_are_allowed_at_once(rate: Rate, gaps: list[int]):
    times = _times(gaps)
    arrival = 0
    for now in times:
        ahead = rate.ahead(arrival, now)
        if rate.allows(ahead):
            arrival = now + ahead + rate.interval
    ahead, had = rate.ahead(arrival, times[-1]), 0
    promised = rate.remaining(ahead)
    while rate.allows(ahead):
        ahead, had = ahead + rate.interval, had + 1
    assert had == promised


@given(rates, st.integers(-(10**15), 10**15))
def test_clock_jump_blocks_at_most_for_one_burst(rate: Rate, jump: int):
    now = 2 * 10**15
    assert rate.wait(rate.ahead(now + jump, now)) <= rate.interval / MICROSECONDS


def test_rate_per_minute():
    assert Rate.per_minute(6000, 200) == Rate(10_000, 200)
    assert Rate.per_minute(7, 1).interval == 8_571_429
