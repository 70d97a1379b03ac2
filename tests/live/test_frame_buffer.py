"""The buffer between the reading thread and the loop, which holds the newest frame."""

from threading import Thread

import numpy as np

from assay.live import Frame
from assay.live.frame_buffer import FrameBuffer

PIXELS = np.zeros((2, 2, 3), np.uint8)


def frame(number: int, *, first: bool = False) -> Frame:
    return Frame(PIXELS, number, number / 10, first)


def test_only_the_newest_frame_is_kept_and_dropped_ones_counted():
    buffer = FrameBuffer()
    for number in range(5):
        assert buffer.put(frame(number))
    taken = buffer.take(0)
    assert taken is not None
    assert (taken.number, buffer.dropped, buffer.newest) == (4, 4, 4)
    assert buffer.take(0) is None


def test_first_flag_passes_to_the_replacing_frame():
    buffer = FrameBuffer()
    buffer.put(frame(0, first=True))
    buffer.put(frame(1))
    taken = buffer.take(0)
    assert taken is not None
    assert taken.first


def test_last_frame_is_returned_after_the_end():
    buffer = FrameBuffer()
    buffer.put(frame(0))
    buffer.close()
    assert not buffer.ended
    assert buffer.take(0) is not None
    assert buffer.ended
    assert not buffer.put(frame(1))


def test_every_frame_mode_drops_nothing():
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


def test_close_unblocks_a_waiting_put():
    buffer, results = FrameBuffer(every_frame=True), []
    buffer.put(frame(0))
    thread = Thread(target=lambda: results.append(buffer.put(frame(1))))
    thread.start()
    buffer.close()
    thread.join(5)
    assert results == [False]
