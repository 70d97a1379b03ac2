"""A strict reader of the protobuf wire format: one reading of the bytes, or none.

Parsers differ in what they forgive. protobuf's C++ code, which the runtimes use, keeps the low 32 bits of a
tag of five bytes, so that a lenient reader and the runtime may see different fields in the same bytes. Here
everything is refused that a writer of protobuf never produces: tags above 32 bits, numbers in more bytes than
they need, field number 0, groups and unknown wire types. What passes is read alike by all.

Source: Protocol Buffers, "Encoding" (2024).
"""

from collections.abc import Iterator
from typing import NamedTuple

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

_WIDTH = {FIXED64: 8, FIXED32: 4}
_TAG_BITS, _SIZE_BITS, _VALUE_BITS = 32, 31, 64


class Field(NamedTuple):
    """One field of a message."""

    number: int
    wire: int
    """Wire type: one of the constants above."""
    value: int | memoryview
    """The number of a varint, otherwise the bytes."""


def iter_fields(message: memoryview) -> Iterator[Field]:
    """Yield the fields of one message in their order; messages inside are given as bytes.

    Raises:
        ValueError: the bytes are no message, or not in the one form that writers produce.
    """
    at = 0
    while at < len(message):
        tag, at = _varint(message, at, _TAG_BITS)
        number, wire = tag >> 3, tag & 7
        if number == 0:
            raise ValueError("a field has the number 0")
        if wire == VARINT:
            value, at = _varint(message, at, _VALUE_BITS)
            yield Field(number, wire, value)
            continue
        if wire == BYTES:
            size, at = _varint(message, at, _SIZE_BITS)
        elif wire in _WIDTH:
            size = _WIDTH[wire]
        else:
            raise ValueError(f"wire type {wire} is unknown")
        if at + size > len(message):
            raise ValueError("a field ends behind its message")
        yield Field(number, wire, message[at : at + size])
        at += size


def _varint(message: memoryview, at: int, bits: int) -> tuple[int, int]:
    """Return a number of at most `bits` bits, in the fewest bytes, and where it ends."""
    value = 0
    for count in range(-(-bits // 7)):
        if at + count >= len(message):
            break
        byte = message[at + count]
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            if value >> bits:
                raise ValueError(f"a number has more than {bits} bits")
            if byte == 0 and count:
                raise ValueError("a number is written in more bytes than it needs")
            return value, at + count + 1
    raise ValueError("a number does not end")
