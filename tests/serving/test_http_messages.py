"""How an answer is written to its connection."""

import asyncio

from assay.serving.http_limits import CoalescingTransport


class _Written(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.pieces.append(bytes(data))

    def close(self) -> None:
        self.pieces.append(b"closed")


def _answer() -> tuple[_Written, CoalescingTransport]:
    written = _Written()
    return written, CoalescingTransport(written, lambda: written.pieces.append(b"complete"))


def test_the_head_and_the_start_of_the_body_are_one_piece():
    written, answer = _answer()
    answer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    assert written.pieces == []
    answer.write(b"first")
    answer.write(b"second")
    answer.end()
    assert written.pieces == [b"HTTP/1.1 200 OK\r\n\r\nfirst", b"second", b"complete"]


def test_a_head_without_a_body_is_written_when_the_answer_is_complete():
    written, answer = _answer()
    answer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
    answer.end()
    assert written.pieces == [b"HTTP/1.1 204 No Content\r\n\r\n", b"complete"]


def test_a_head_is_written_before_the_connection_closes():
    written, answer = _answer()
    answer.write(b"HTTP/1.1 500 Internal Server Error\r\n\r\n")
    answer.close()
    assert written.pieces == [b"HTTP/1.1 500 Internal Server Error\r\n\r\n", b"closed"]


def test_the_go_ahead_for_a_body_does_not_wait():
    written, answer = _answer()
    answer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert written.pieces == [b"HTTP/1.1 100 Continue\r\n\r\n"]
    answer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    answer.write(b"body")
    assert written.pieces[1:] == [b"HTTP/1.1 200 OK\r\n\r\nbody"]
