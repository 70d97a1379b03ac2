"""Admission control: bounded capacity that is released, and a plausible Retry-After."""

from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.serving.admission_control import AdmissionController, MemoryLimiter
from assay.serving.errors import OverloadError


def test_capacity_is_limited_and_released():
    admission = AdmissionController(3)
    with admission.acquire(2):
        admission.check(1)
        with pytest.raises(OverloadError):
            admission.check(2)
        with pytest.raises(OverloadError), admission.acquire(2):
            pytest.fail("there was no place")
        assert admission.in_progress == 2
    assert admission.in_progress == 0


def test_incoming_bodies_reserve_part_of_the_capacity():
    admission = AdmissionController(16)
    with ExitStack() as bodies, admission.acquire(13):
        for _ in range(100):
            bodies.enter_context(admission.incoming())
        admission.check_incoming()
        with admission.acquire(1), pytest.raises(OverloadError):
            admission.check_incoming()
        # Admitted requests do not count them.
        with admission.acquire(3):
            assert admission.in_progress == 16
    admission.check_incoming()
    admission.check(16)


def test_retry_after_follows_the_measured_rate():
    admission = AdmissionController(100)
    with admission.acquire(100):
        for second in range(50):
            admission.completed(0.5 * second)
        with pytest.raises(OverloadError) as refused:
            admission.check()
    # 50 of 100 images at two images per second.
    assert refused.value.headers == {"Retry-After": "25"}


@given(st.lists(st.floats(0, 1e6), max_size=20), st.integers(1, 64))
def test_retry_after_is_bounded(moments: list[float], taken: int):
    admission = AdmissionController(64)
    for moment in sorted(moments):
        admission.completed(moment)
    with admission.acquire(taken):
        assert 1 <= admission.retry_after <= 60


def test_total_upload_memory_is_limited():
    memory = MemoryLimiter(10)
    memory.reserve(6)
    with pytest.raises(OverloadError):
        memory.reserve(5)
    memory.release(6)
    memory.reserve(10)
    assert memory.reserved == 10
