"""Speculative decoding: for new images only, one at a time, dropped if the result is not awaited."""

import asyncio
import gc
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from assay.serving.decoding import SpeculativeDecode, SpeculativeDecoder

_PHOTO = b"\xff\xd8" + bytes(10_000) + b"end"


def _run(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    return asyncio.run(work())


def _reading() -> asyncio.Future[str]:
    return asyncio.get_running_loop().create_future()


def test_new_photos_are_decoded_and_repeated_ones_not():
    async def ask() -> list[SpeculativeDecode[str] | None]:
        decoder: SpeculativeDecoder[str] = SpeculativeDecoder()
        found = []
        for photo in (_PHOTO, _PHOTO, _PHOTO + b".", _PHOTO[:-1] + b"."):
            started = decoder.start(photo, _reading, idle=True)
            if started is not None:
                started.work.set_result("read")
                assert await started.work == "read"
                await asyncio.sleep(0)
            found.append(started)
        return found

    assert [started is not None for started in _run(ask)] == [True, False, True, True]


def test_one_decode_at_a_time_and_only_when_idle():
    async def ask() -> list[bool]:
        decoder: SpeculativeDecoder[str] = SpeculativeDecoder()
        first = decoder.start(b"1", _reading, idle=True)
        others = [decoder.start(b"2", _reading, idle=True), decoder.start(b"3", _reading, idle=False)]
        assert first is not None
        first.work.set_result("read")
        await asyncio.sleep(0)
        # Those that were passed over have been seen; the next new one is begun again.
        others += [decoder.start(b"2", _reading, idle=True), decoder.start(b"4", _reading, idle=True)]
        return [started is not None for started in others]

    assert _run(ask) == [False, False, False, True]


def test_error_that_is_not_awaited_is_dropped(caplog: pytest.LogCaptureFixture):
    async def ask() -> None:
        decoder: SpeculativeDecoder[str] = SpeculativeDecoder()
        started = decoder.start(b"1", _reading, idle=True)
        assert started is not None
        started.work.set_exception(ValueError("damaged"))
        await asyncio.sleep(0)
        del started
        gc.collect()
        await asyncio.sleep(0)

    _run(ask)
    assert not caplog.records
