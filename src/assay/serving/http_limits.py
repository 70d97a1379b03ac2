"""Limits of the bytes and fields of an HTTP message, counted while it is parsed."""

MAX_HEAD = 64 * 1024
"""Bytes of a request's header fields and trailer fields together."""
MAX_FIELDS = 128
"""Header and trailer fields of a request."""
MAX_TARGET = 16 * 1024
"""Bytes of a request's target."""
MAX_FRAMING = 2**20
"""Bytes by which chunk sizes, chunk extensions and trailers may exceed the body itself."""
_MIN_CHUNKED_PIECE = 256


class LimitExceededError(Exception):
    """A message exceeds a limit; `status` and `text` are those of the response."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(status, text)
        self.status, self.text = status, text


class MessageLimits:
    """Counts the bytes and fields of one message.

    A base class of the protocol instead of a separate object, since some of this runs for every header field.
    """

    in_head = True
    """Whether the next bytes belong to the head of a request."""
    began = False
    """Whether a request began in the bytes that were parsed last."""
    _field_bytes = 0
    _fields = 0
    _unfinished = 0
    """Bytes of a head that has not ended; after the head, bytes since the last piece of body or trailer."""
    _content_length_left = 0
    """Bytes of the body that are still to come according to Content-Length."""
    _framing = 0
    """Bytes since the head that are not body."""
    _body = 0

    def begin_message(self) -> None:
        """Reset the counts of the head."""
        self.began = self.in_head = True
        self._field_bytes = self._fields = self._content_length_left = 0

    def end_head(self) -> None:
        """Reset the counts of the body."""
        self.in_head = self.began = False
        self._unfinished = self._body = self._framing = 0

    def end_message(self) -> None:
        """Note that the body, trailers included, has arrived."""
        self.in_head = True
        self._unfinished = 0

    def count_field(self, name: bytes, value: bytes) -> None:
        """Count a header or trailer field; raise `LimitExceededError` if there are too many, or too long ones."""
        self._fields += 1
        self._field_bytes += len(name) + len(value) + 4
        if self._field_bytes > MAX_HEAD:
            raise LimitExceededError(431, "The headers are too large")
        if self._fields > MAX_FIELDS:
            raise LimitExceededError(431, f"There are more than {MAX_FIELDS} headers")

    def count_body(self, size: int) -> None:
        """Count a piece of the body."""
        self._unfinished = 0
        self._body += size
        self._content_length_left -= size

    def count_bytes(self, size: int) -> None:
        """Count bytes before they are parsed."""
        self.began = False
        self._framing += size
        self._unfinished += size

    def check_parsed(self, size: int) -> None:
        """Check the bytes that the parser retains, and the share of framing in a body, after `size` bytes were parsed.

        Raises:
            LimitExceededError: it is too much.
        """
        if self.began:
            self._unfinished = size
        if self._unfinished > MAX_HEAD + MAX_TARGET:
            raise LimitExceededError(431, "The headers are too large")
        if not self.in_head and self._framing - self._body > MAX_FRAMING + self._body:
            raise LimitExceededError(400, "The chunks are too small for what stands around them")

    def next_end(self, data: bytes, start: int) -> int:
        """Return the earliest index at which a message may end, and a new one begin."""
        if not self.in_head and self._content_length_left > 0:
            return min(len(data), start + self._content_length_left)
        # Chunked bodies are parsed in pieces that are not shorter: a client could send blank lines alone.
        found = data.find(b"\r\n\r\n", start if self.in_head else start + _MIN_CHUNKED_PIECE)
        return len(data) if found < 0 else found + 4
