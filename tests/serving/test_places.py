"""Places: bounded, given back, and a sensible time to come again."""

from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.serving.admission_control import AdmissionController
from assay.serving.errors import OverloadError


def test_places_are_bounded_and_given_back():
    places = AdmissionController(3)
    with places.take(2):
        places.check(1)
        with pytest.raises(OverloadError):
            places.check(2)
        with pytest.raises(OverloadError), places.take(2):
            pytest.fail("there was no place")
        assert places.taken == 2
    assert places.taken == 0


def test_bodies_on_their_way_take_some_places_but_slow_ones_not_all():
    places = AdmissionController(16)
    with ExitStack() as bodies, places.take(13):
        for _ in range(100):
            bodies.enter_context(places.coming())
        places.check_door()
        with places.take(1), pytest.raises(OverloadError):
            places.check_door()
        # Who is inside already does not count them.
        with places.take(3):
            assert places.taken == 16
    places.check_door()
    places.check(16)


def test_who_comes_too_early_is_told_the_pace():
    places = AdmissionController(100)
    with places.take(100):
        for second in range(50):
            places.left(0.5 * second)
        with pytest.raises(OverloadError) as refused:
            places.check()
    # Half of 100 places at two photos a second.
    assert refused.value.headers == {"Retry-After": "25"}


@given(st.lists(st.floats(0, 1e6), max_size=20), st.integers(1, 64))
def test_the_time_to_wait_is_never_absurd(moments: list[float], taken: int):
    places = AdmissionController(64)
    for moment in sorted(moments):
        places.left(moment)
    with places.take(taken):
        assert 1 <= places.retry_after <= 60
