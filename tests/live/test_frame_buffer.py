"""The place of the newest frame."""

from threading import Thread

import numpy as np

from assay.live import Frame
from assay.live.frame_buffer import FrameBuffer

PIXELS = np.zeros((2, 2, 3), np.uint8)


def frame(number: int, *, first: bool = False) -> Frame:
    return Frame(PIXELS, number, number / 10, first)


def test_only_the_newest_is_there_and_the_others_are_counted():
    slot = FrameBuffer()
    for number in range(5):
        assert slot.put(frame(number))
    taken = slot.take(0)
    assert taken is not None
    assert (taken.number, slot.dropped, slot.newest) == (4, 4, 4)
    assert slot.take(0) is None


def test_that_it_is_the_first_is_handed_on_to_what_replaces_it():
    slot = FrameBuffer()
    slot.put(frame(0, first=True))
    slot.put(frame(1))
    taken = slot.take(0)
    assert taken is not None
    assert taken.first


def test_what_is_there_at_the_end_is_still_taken():
    slot = FrameBuffer()
    slot.put(frame(0))
    slot.close()
    assert not slot.ended
    assert slot.take(0) is not None
    assert slot.ended
    assert not slot.put(frame(1))


def test_with_every_nothing_is_dropped():
    slot, numbers = FrameBuffer(every_frame=True), []

    def fill() -> None:
        for number in range(200):
            slot.put(frame(number))
        slot.close()

    thread = Thread(target=fill)
    thread.start()
    while not slot.ended:
        if taken := slot.take(1):
            numbers.append(taken.number)
    thread.join()
    assert numbers == list(range(200))
    assert slot.dropped == 0


def test_closing_frees_who_waits_to_put():
    slot, told = FrameBuffer(every_frame=True), []
    slot.put(frame(0))
    thread = Thread(target=lambda: told.append(slot.put(frame(1))))
    thread.start()
    slot.close()
    thread.join(5)
    assert told == [False]
