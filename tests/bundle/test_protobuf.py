"""The protobuf reader."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto

from assay.bundle.onnx_validation import BYTES, FIXED32, FIXED64, VARINT, iter_fields


def read(content: bytes) -> list[tuple[int, int, object]]:
    return [
        (field.number, field.wire, field.value if field.wire == VARINT else bytes(field.value))
        for field in iter_fields(memoryview(content))
    ]


def test_fields_are_read_as_written() -> None:
    content = b"\x08\xac\x02\x12\x02ab\x1d\x01\x02\x03\x04\x21" + bytes(8)
    assert read(content) == [
        (1, VARINT, 300),
        (2, BYTES, b"ab"),
        (3, FIXED32, b"\1\2\3\4"),
        (4, FIXED64, bytes(8)),
    ]


def test_negative_numbers_and_the_largest_tag() -> None:
    assert read(b"\x08" + b"\xff" * 9 + b"\x01") == [(1, VARINT, 2**64 - 1)]
    assert read(b"\xf8\xff\xff\xff\x0f\x00") == [(2**29 - 1, VARINT, 0)]


@pytest.mark.parametrize(
    "content",
    [
        b"\xff" * 11,
        b"\x3a\x7f",
        b"\x08",
        b"\x39\0\0",
        b"\x3b",  # a group begins
        b"\x0c",  # a group ends
        b"\x0e\x00",  # wire types 6 and 7
        b"\x0f\x00",
        b"\x00\x00",  # field number 0
        b"\x02\x00",
        b"\xea\x80\x80\x80\x70\x00",  # tags above 32 bits, which C++ cuts off
        b"\xea\x80\x80\x80\x10\x00",
        b"\xea\x80\x80\x80\x80\x00\x00",
        b"\xea\x00\x00",  # more bytes than the number needs
        b"\xea\x80\x80\x00\x00",
        b"\x12\x80\x00",
        b"\x12\xff\xff\xff\xff\x0f",  # sizes of 2 GiB and more
        b"\x12\x80\x80\x80\x80\x10",
        b"\x08\x81\x00",
        b"\x08" + b"\xff" * 9 + b"\x03",  # values above 64 bits
        b"\x08" + b"\xff" * 10 + b"\x01",
    ],
)
def test_noncanonical_messages_raise(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"a number|a field|wire type"):
        read(content)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_parsed_or_raise(content: bytes) -> None:
    reasons: list[str] = []
    try:
        read(content)
    except ValueError as error:
        reasons.append(str(error))
    assert not reasons or (content and reasons[0])


@given(
    st.lists(st.integers(-(2**63), 2**63 - 1), max_size=4),
    st.text(max_size=9),
    st.binary(max_size=300),
    st.lists(st.floats(width=32), max_size=5),
)
def test_messages_of_the_protobuf_library_are_read(dims: list[int], name: str, raw: bytes, floats: list[float]) -> None:
    tensor = TensorProto(dims=dims, name=name, raw_data=raw, float_data=floats)
    found = read(tensor.SerializeToString())
    assert (9, BYTES, raw) in found
    assert (8, BYTES, name.encode()) in found
