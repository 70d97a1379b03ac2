"""Image formats recognized by content."""

import pytest

from assay.image import HEAD_BYTES, sniff


def test_every_format_is_recognized_by_its_first_bytes(files: dict[str, bytes]):
    assert {name: sniff(data[:HEAD_BYTES]) for name, data in files.items()} == {
        name: name.split("-")[0] for name in files
    }


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"P",
        b"BMW is a maker of cars, and this is a text about them",
        b"P1 is the first of three problems",
        b"P5: see below",
        b"RIFF\x24\0\0\0WAVEfmt ",
        b"\0\0\0\x20ftypisom\0\0\2\0isomiso2",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
        b"%PDF-1.7\n",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"II\x2b",
        b"GIF88a" + bytes(40),
        b"PK\x03\x04" + bytes(40),
    ],
)
def test_other_files_are_not_images(data: bytes):
    assert sniff(data) is None


def test_heic_is_recognized():
    assert sniff(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic") == "heic"


def test_head_is_long_enough_for_many_brands():
    brands = b"".join(b"ab%02d" % number for number in range(60))
    head = (16 + len(brands) + 4).to_bytes(4) + b"ftypmif1" + bytes(4) + brands + b"avif"
    assert sniff((head + bytes(999))[:HEAD_BYTES]) == "avif"
    assert sniff(head.replace(b"avif", b"heic")) == "heic"
