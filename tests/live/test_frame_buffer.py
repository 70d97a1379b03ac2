"""The place of the newest frame."""

from threading import Thread

import numpy as np

from assay.live import Frame
from assay.live.frame_buffer import FrameBuffer

PIXELS = np.zeros((2, 2, 3), np.uint8)


def frame(number: int, *, first: bool = False) -> Frame:
    return Frame(PIXELS, number, number / 10, first)


def test_only_the_newest_is_there_and_the_others_are_counted():
    buffer = FrameBuffer()
    for number in range(5):
        assert buffer.put(frame(number))
    taken = buffer.take(0)
    assert taken is not None
    assert (taken.number, buffer.dropped, buffer.newest) == (4, 4, 4)
    assert buffer.take(0) is None


def test_that_it_is_the_first_is_handed_on_to_what_replaces_it():
    buffer = FrameBuffer()
    buffer.put(frame(0, first=True))
    buffer.put(frame(1))
    taken = buffer.take(0)
    assert taken is not None
    assert taken.first


def test_what_is_there_at_the_end_is_still_taken():
    buffer = FrameBuffer()
    buffer.put(frame(0))
    buffer.close()
    assert not buffer.ended
    assert buffer.take(0) is not None
    assert buffer.ended
    assert not buffer.put(frame(1))


def test_with_every_nothing_is_dropped():
    buffer, numbers = FrameBuffer(every_frame=True), []

    def fill() -> None:
        for number in range(200):
            buffer.put(frame(number))
        buffer.close()

    thread = Thread(target=fill)
    thread.start()
    while not buffer.ended:
        if taken := buffer.take(1):
            numbers.append(taken.number)
    thread.join()
    assert numbers == list(range(200))
    assert buffer.dropped == 0


def test_closing_frees_who_waits_to_put():
    buffer, results = FrameBuffer(every_frame=True), []
    buffer.put(frame(0))
    thread = Thread(target=lambda: results.append(buffer.put(frame(1))))
    thread.start()
    buffer.close()
    thread.join(5)
    assert results == [False]
