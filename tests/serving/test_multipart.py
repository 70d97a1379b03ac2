"""Multipart bodies: independent of chunk sizes, with nothing buffered beyond the limits."""

import asyncio
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.serving.errors import UploadError
from assay.serving.multipart import MultipartForm, Upload, UploadLimits, parse_boundary


def _part(content: bytes, disposition: str = 'name="image"; filename="a.jpg"') -> bytes:
    return b"--b\r\nContent-Disposition: form-data; " + disposition.encode() + b"\r\n\r\n" + content + b"\r\n"


def _read(body: bytes, limits: UploadLimits, size: int = 7) -> tuple[list[Upload], int]:
    """Parse a body in chunks; return the images in it, and how many bytes were fed."""
    form, fed = MultipartForm(b"b", limits), 0
    try:
        for start in range(0, len(body), size):
            chunk = body[start : start + size]
            fed += len(chunk)
            form.feed(chunk)
        return form.uploads(), fed
    finally:
        form.close()


def _digest(upload: Upload) -> str:
    return asyncio.run(upload.sha256())


@given(st.binary(max_size=300), st.integers(1, 400))
def test_photo_is_parsed_unchanged(content: bytes, size: int):
    body = _part(b"x", 'name="other"') + _part(content) + b"--b--\r\n"
    (upload,), taken = _read(body, UploadLimits(300), size)
    assert (upload.data, upload.too_large) == (content, False)
    assert _digest(upload) == hashlib.sha256(content).hexdigest()
    assert taken == len(body)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_parsed_or_rejected(body: bytes):
    with pytest.raises(UploadError):
        _read(body, UploadLimits(300))


def test_oversized_photo_stops_parsing():
    body = _part(b"x" * 100_000) + b"--b--\r\n"
    with pytest.raises(UploadError, match="exceeds maximum"):
        _read(body, UploadLimits(1000))
    with pytest.raises(UploadError, match="exceeds maximum"):
        _read(_part(b"x" * 100_000, 'name="other"') + _part(b"x") + b"--b--\r\n", UploadLimits(1000))


def test_in_a_batch_only_the_oversized_photo_is_rejected():
    body = _part(b"a") + _part(b"x" * 50) + _part(b"b", 'name="images"; filename="b"') + b"--b--\r\n"
    uploads, _ = _read(body, UploadLimits(10, max_images=3, max_body_bytes=1000))
    assert [(upload.data, upload.too_large) for upload in uploads] == [(b"a", False), (b"", True), (b"b", False)]
    assert _digest(uploads[1]) == hashlib.sha256(b"x" * 50).hexdigest()
    with pytest.raises(UploadError, match="at most 2"):
        _read(body, UploadLimits(10, max_images=2, max_body_bytes=1000))


@pytest.mark.parametrize(
    ("header", "status"),
    [(None, 400), ("", 400), ("application/x-www-form-urlencoded", 400), ("text/plain", 415)],
    ids=["none", "empty", "form", "text"],
)
def test_other_bodies_are_rejected(header: str | None, status: int):
    with pytest.raises(UploadError) as refused:
        parse_boundary(header)
    assert refused.value.status == status


def test_boundary_has_1_to_70_characters():
    assert parse_boundary('multipart/form-data; boundary="a b"') == b"a b"
    for bad in ("multipart/form-data", "multipart/form-data; boundary=" + "b" * 71):
        with pytest.raises(UploadError, match="boundary"):
            parse_boundary(bad)


_JPEG = b"\xff\xd8\xff" + bytes(range(256)) * 3
_SIZES = (1, 2, 7, 50, 10_000)


def _form(headers: str, content: bytes = _JPEG, begin: bytes = b"", end: bytes = b"") -> bytes:
    return begin + b"--b\r\n" + headers.encode() + b"\r\n\r\n" + content + b"\r\n--b--" + end


_ACCEPTED = {
    "no file name": _form('Content-Disposition: form-data; name="image"'),
    "no quotes": _form("Content-Disposition: form-data; name=image; filename=a.jpg"),
    "empty file name": _form('Content-Disposition: form-data; name="image"; filename=""'),
    "extended file name": _form("Content-Disposition: form-data; name=\"image\"; filename*=UTF-8''%e2%82%ac.jpg"),
    "both file names": _form('Content-Disposition: form-data; name="image"; filename="a"; filename*=UTF-8\'\'a.jpg'),
    "odd file name": _form('Content-Disposition: form-data; name="image"; filename="a;\\"b\\".jpg"'),
    "mixed case": _form('CONTENT-disposition: Form-Data; NAME="image"; FileName="a.jpg"'),
    "images": _form('Content-Disposition: form-data; name="images"; filename="a.jpg"'),
    "tab": _form('Content-Disposition:\tform-data; name="image"; filename="a.jpg"'),
    "no blank": _form('Content-Disposition:form-data;name="image";filename="a.jpg"'),
    "other headers": _form(
        'X-A: 1\r\nContent-Type: image/jpeg\r\nContent-Disposition: form-data; name="image"; filename="a"'
    ),
    "binary": _form('Content-Transfer-Encoding: BINARY\r\nContent-Disposition: form-data; name="image"'),
    "preamble": _form('Content-Disposition: form-data; name="image"', begin=b"This is MIME.\r\n"),
    "long preamble": _form('Content-Disposition: form-data; name="image"', begin=b"x--b\r\n--bb\r\n-- b\r\n" * 2000),
    "empty line": _form('Content-Disposition: form-data; name="image"', begin=b"\r\n"),
    "epilogue": _form('Content-Disposition: form-data; name="image"', end=b"\r\nThe end.\r\n--b\r\n\r\nx"),
    "no last line end": _form('Content-Disposition: form-data; name="image"'),
    "padding": _form('Content-Disposition: form-data; name="image"').replace(b"--b\r\n", b"--b \t \r\n"),
    "charset field": b'--b\r\nContent-Disposition: form-data; name="_charset_"\r\n\r\nutf-8\r\n'
    + _form('Content-Disposition: form-data; name="image"'),
    "text beside": b'--b\r\nContent-Disposition: form-data; name="image"\r\n\r\ntext\r\n'
    + _form('Content-Disposition: form-data; name="image"'),
}


@pytest.mark.parametrize("body", _ACCEPTED.values(), ids=_ACCEPTED.keys())
def test_everything_that_the_rfcs_allow_is_accepted(body: bytes):
    for size in _SIZES:
        (upload,), _ = _read(body, UploadLimits(100_000), size)
        assert upload.data == _JPEG, size


_NO_IMAGE, _OTHER = "No image file provided", "The image must be in the form field named image"
_REFUSED = {
    "nothing": (b"", 400, _NO_IMAGE),
    "only an end": (b"--b--\r\n", 400, _NO_IMAGE),
    "no file chosen": (
        _form('Content-Disposition: form-data; name="image"; filename=""', b""),
        400,
        _NO_IMAGE,
    ),
    "text": (_form('Content-Disposition: form-data; name="image"', b"@a.jpg"), 400, _NO_IMAGE),
    "empty field": (_form('Content-Disposition: form-data; name="image"', b""), 400, _NO_IMAGE),
    "another field's text": (_form('Content-Disposition: form-data; name="a"', b"x"), 400, _NO_IMAGE),
    "another field": (_form('Content-Disposition: form-data; name="file"; filename="a.jpg"'), 400, _OTHER),
    "upper case": (_form('Content-Disposition: form-data; name="Image"; filename="a.jpg"'), 400, _OTHER),
    "no field": (_form('Content-Disposition: form-data; filename="a.jpg"'), 400, _OTHER),
    "no disposition": (_form("Content-Type: image/jpeg"), 400, _OTHER),
    "base64": (
        _form('Content-Disposition: form-data; name="image"\r\nContent-Transfer-Encoding: base64', b"/9j/"),
        415,
        "The Content-Transfer-Encoding of the image part is not supported: send the bytes as they are",
    ),
    "quoted": (
        _form('Content-Transfer-Encoding: quoted-printable\r\nContent-Disposition: form-data; name="image"'),
        415,
        "The Content-Transfer-Encoding of the image part is not supported: send the bytes as they are",
    ),
    "other boundary": (b"--c\r\n\r\nx\r\n--c--\r\n", 400, "does not hold the boundary"),
    "line feeds alone": (_form('Content-Disposition: form-data; name="image"').replace(b"\r", b""), 400, ""),
    "endless preamble": (b"x\r\n" * 30_000, 400, "does not begin with the boundary"),
    "no end": (_form('Content-Disposition: form-data; name="image"')[:-5], 400, "ends too early"),
}


@pytest.mark.parametrize(("body", "status", "text"), _REFUSED.values(), ids=_REFUSED.keys())
def test_everything_else_is_rejected_with_a_reason(body: bytes, status: int, text: str):
    for size in _SIZES[1:]:
        with pytest.raises(UploadError) as refused:
            _read(body, UploadLimits(100_000), size)
        assert (refused.value.status, text in refused.value.text) == (status, True), (
            size,
            refused.value.text,
        )


def test_photo_without_a_file_name_counts_as_an_image():
    body = _form('Content-Disposition: form-data; name="image"')[:-7] + b"\r\n"
    twice = body + _form('Content-Disposition: form-data; name="image"; filename="a"')
    with pytest.raises(UploadError, match="Send one image"):
        _read(twice, UploadLimits(1000))
    uploads, _ = _read(twice, UploadLimits(1000, max_images=2, max_body_bytes=10_000))
    assert [upload.data for upload in uploads] == [_JPEG, _JPEG]


@pytest.mark.parametrize(
    "header",
    [
        'multipart/form-data; boundary="b"',
        "Multipart/Form-Data; BOUNDARY=b",
        'multipart/form-data; charset=utf-8; boundary="b"',
        "multipart/form-data;boundary=b",
        "multipart/form-data ; boundary = b",
    ],
)
def test_valid_forms_of_the_boundary_parameter(header: str):
    assert parse_boundary(header) == b"b"
