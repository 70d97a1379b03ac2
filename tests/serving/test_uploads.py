"""Multipart bodies: whatever the chunks, the same photos; nothing kept past a limit."""

import asyncio
import hashlib
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.serving.errors import OverloadError, UploadError
from assay.serving.uploads import (
    Upload,
    UploadLimits,
    UploadMemory,
    boundary_of,
    check_length,
    read_uploads,
)


def _part(content: bytes, disposition: str = 'name="image"; filename="a.jpg"') -> bytes:
    return b"--b\r\nContent-Disposition: form-data; " + disposition.encode() + b"\r\n\r\n" + content + b"\r\n"


def _read(body: bytes, limits: UploadLimits, size: int = 7) -> tuple[list[Upload], int]:
    """Read a body in chunks; return what was in it, and how many bytes were taken."""
    taken = 0

    def take(count: int) -> None:
        nonlocal taken
        taken += count

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), size):
            yield body[start : start + size]

    return asyncio.run(read_uploads(chunks(), b"b", limits, take)), taken


def _digest(upload: Upload) -> str:
    return asyncio.run(upload.sha256())


@given(st.binary(max_size=300), st.integers(1, 400))
def test_a_photo_comes_out_as_it_went_in(content: bytes, size: int):
    body = _part(b"x", 'name="other"') + _part(content) + b"--b--\r\n"
    (upload,), taken = _read(body, UploadLimits(300), size)
    assert (upload.data, upload.too_large) == (content, False)
    assert _digest(upload) == hashlib.sha256(content).hexdigest()
    assert taken == len(body)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body: bytes):
    with pytest.raises(UploadError):
        _read(body, UploadLimits(300))


def test_a_photo_past_the_limit_stops_the_reading():
    body = _part(b"x" * 100_000) + b"--b--\r\n"
    with pytest.raises(UploadError, match="exceeds maximum"):
        _read(body, UploadLimits(1000))
    with pytest.raises(UploadError, match="exceeds maximum"):
        _read(_part(b"x" * 100_000, 'name="other"') + _part(b"x") + b"--b--\r\n", UploadLimits(1000))


def test_in_a_batch_only_the_large_one_is_refused():
    body = _part(b"a") + _part(b"x" * 50) + _part(b"b", 'name="images"; filename="b"') + b"--b--\r\n"
    uploads, _ = _read(body, UploadLimits(10, photos=3, body_bytes=1000))
    assert [(one.data, one.too_large) for one in uploads] == [(b"a", False), (b"", True), (b"b", False)]
    assert _digest(uploads[1]) == hashlib.sha256(b"x" * 50).hexdigest()
    with pytest.raises(UploadError, match="at most 2"):
        _read(body, UploadLimits(10, photos=2, body_bytes=1000))


@pytest.mark.parametrize(
    ("header", "status"),
    [(None, 400), ("", 400), ("application/x-www-form-urlencoded", 400), ("text/plain", 415)],
    ids=["none", "empty", "form", "text"],
)
def test_other_bodies_are_refused(header: str | None, status: int):
    with pytest.raises(UploadError) as refused:
        boundary_of(header)
    assert refused.value.status == status


def test_boundaries_have_1_to_70_characters():
    assert boundary_of('multipart/form-data; boundary="a b"') == b"a b"
    for bad in ("multipart/form-data", "multipart/form-data; boundary=" + "b" * 71):
        with pytest.raises(UploadError, match="boundary"):
            boundary_of(bad)


def test_a_length_that_is_too_large_is_refused_before_anything_is_read():
    limits = UploadLimits(1000)
    check_length(None, limits)
    check_length("1000", limits)
    for bad in ("x", "-1", "1000000", "²"):
        with pytest.raises(UploadError):
            check_length(bad, limits)


def test_all_uploads_together_are_bounded():
    memory = UploadMemory(10)
    memory.take(6)
    with pytest.raises(OverloadError):
        memory.take(5)
    memory.give_back(6)
    memory.take(10)
    assert memory.held == 10
