"""HTTP/1.1 on one connection: uvicorn's httptools protocol with limits on heads, trailers.

Chunk framing and pipelining.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import ClassVar, TypeAlias

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from assay.serving.connection_limits import ConnectionLimiter, RequestScheduler, unsent_bytes
from assay.serving.http_headers import parse_length
from assay.serving.results import json_bytes

_LOG = logging.getLogger("assay.serving")
PROTOCOL_ERROR = "assay.refused"
"""Under which a request's scope holds status and sentence, where the protocol itself has answered."""
MAX_HEAD = 64 * 1024
"""Bytes of a request's header fields and trailer fields together."""
MAX_FIELDS = 128
"""Header and trailer fields of a request."""
MAX_TARGET = 16 * 1024
"""Bytes of a request's target."""
MAX_FRAMING = 2**20
"""Bytes by which chunk sizes, chunk extensions and trailers may be longer than the body itself."""
_MIN_CHUNKED_PIECE = 256
_LINGER = 1.0
"""Seconds in which a refused client may read why; a connection closed while bytes come in is reset."""
_LINGER_BYTES = 2**25
_CONTINUE = b"HTTP/1.1 100 "
_BODY_BUFFER = 64 * 1024
"""Bytes of a body that wait for the application before reading pauses."""

_ErrorResponse: TypeAlias = tuple[int, str]
"""Status and text."""
_INVALID: _ErrorResponse = (400, "Invalid HTTP request received")
_TOO_MANY_CONNECTIONS: _ErrorResponse = (503, "Too many connections are open; try again later")


class _LimitExceededError(Exception):
    """A message passes a limit; the arguments are status and text."""


class _HoldableFlowControl(FlowControl):
    """Reading that stays paused while bytes of a further request wait."""

    holds = False

    def resume_reading(self) -> None:
        if not self.holds:
            super().resume_reading()


class _CoalescingTransport:
    """Writes the head of an answer together with the start of its body, which spares a system call.

    Args:
        transport: of the connection.
        on_response: called when the answer is complete.
    """

    __slots__ = ("_head", "_on_response", "_started", "_transport")

    def __init__(self, transport: asyncio.Transport, on_response: Callable[[], None]) -> None:
        self._transport, self._on_response = transport, on_response
        self._head, self._started = b"", False

    def write(self, data: bytes) -> None:
        """Keep the head; write anything else, after the head."""
        if self._head:
            data, self._head = self._head + data, b""
        elif not self._started and not data.startswith(_CONTINUE):
            self._head, self._started = data, True
            return
        self._transport.write(data)

    def end(self) -> None:
        """Write a head without a body, and tell that the answer is complete."""
        self._flush()
        self._on_response()

    def close(self) -> None:
        """Close the connection when all is sent."""
        self._flush()
        self._transport.close()

    def is_closing(self) -> bool:
        """Whether the connection is closed or about to be."""
        return self._transport.is_closing()

    def _flush(self) -> None:
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head)


class LimitedHttpProtocol(HttpToolsProtocol):
    """One connection.

    Attributes:
        header_timeout: seconds in which the head of a request must have come.
        open_connections: all connections of the server; set for each server.
        turns: bounds how many requests of all connections start at a time; set for each server.
        active_at: loop time at which bytes came in last.
    """

    header_timeout: ClassVar[float] = 10.0
    open_connections: ClassVar[ConnectionLimiter]
    turns: ClassVar[RequestScheduler]

    flow: _HoldableFlowControl
    active_at = 0.0
    _timer: asyncio.TimerHandle | None = None
    _in_head = True
    """Whether what comes next belongs to the head of a request."""
    _began = False
    """Whether a request began in the bytes that were parsed last."""
    _field_bytes = 0
    _fields = 0
    _unfinished = 0
    """Bytes of a head that has not ended; behind a head, bytes since the last piece of body or trailer."""
    _length_left = 0
    """Bytes of the body that Content-Length still promises."""
    _framing = 0
    """Bytes since the head that are not body."""
    _body = 0
    """Bytes of the body."""
    _held = b""
    """Bytes of requests that have to wait: for the answer to the one before, or for their turn."""
    _ended = False
    """Whether further bytes are thrown away."""
    _thrown_away = 0
    _last_answer: _ErrorResponse | None = None
    """What is answered after all requests before it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Admit the connection, and wait a limited time for a head."""
        super().connection_made(transport)
        self.flow = _HoldableFlowControl(transport)
        self.active_at = self.loop.time()
        if self.open_connections.admit(self):
            self._start_timer()
        else:
            self._refuse(*_TOO_MANY_CONNECTIONS)

    def connection_lost(self, exc: Exception | None) -> None:
        """Free the connection's place."""
        self._stop_timer()
        self.open_connections.remove(self)
        super().connection_lost(exc)
        self._unset_keepalive_if_required()

    def data_received(self, data: bytes) -> None:
        """Parse bytes, keep them for later, or throw them away."""
        self.active_at = self.loop.time()
        if self._ended:
            self._thrown_away += len(data)
            if self._thrown_away > _LINGER_BYTES:
                self.transport.abort()
        elif self._held:
            self._held += data
        elif self._in_head and self.is_idle and not self.turns.take(self.loop):
            self._hold(data)
            self.turns.wait(self.loop, self._parse_held, pipelined=False)
        else:
            self._parse(data)

    def _hold(self, data: bytes) -> None:
        """Keep bytes for later, and read no more."""
        self._held = data
        self.flow.holds = True
        self.flow.pause_reading()

    def _parse(self, data: bytes) -> None:
        """Parse bytes, as far as the request before has been answered."""
        start, whole = 0, len(data)
        while start < whole and not self._ended:
            if self._in_head and not self.is_idle:
                self._hold(data[start:])
                return
            end = self._next_end(data, start)
            self._parse_piece(data if end - start == whole else memoryview(data)[start:end])
            start = end

    def _next_end(self, data: bytes, start: int) -> int:
        """Return where a message may end at the earliest, and a new one begin."""
        if not self._in_head and self._length_left > 0:
            return min(len(data), start + self._length_left)
        # Of a chunked body there are no shorter pieces: somebody could send blank lines alone.
        found = data.find(b"\r\n\r\n", start if self._in_head else start + _MIN_CHUNKED_PIECE)
        return len(data) if found < 0 else found + 4

    def _parse_piece(self, piece: bytes | memoryview) -> None:
        self._began, size = False, len(piece)
        self._framing += size
        self._unfinished += size
        try:
            self.parser.feed_data(piece)
            self._check(size)
        except httptools.HttpParserUpgrade as upgrade:
            self._go_on_without_upgrade(bytes(piece[upgrade.args[0] :]))
        except _LimitExceededError as error:
            self._refuse(*error.args)
        except httptools.HttpParserError as error:
            reason = error.__context__
            self._refuse(*(reason.args if isinstance(reason, _LimitExceededError) else _INVALID))

    def _check(self, size: int) -> None:
        """Bound what the parser keeps, and how much of a body is no body."""
        if self._began:
            self._unfinished = size
            # Only now, since nearly all heads come at one go.
            self._start_timer()
        if self._unfinished > MAX_HEAD + MAX_TARGET:
            raise _LimitExceededError(431, "The headers are too large")
        if not self._in_head and self._framing - self._body > MAX_FRAMING + self._body:
            raise _LimitExceededError(400, "The chunks are too small for what stands around them")

    def on_message_begin(self) -> None:
        """Begin to count."""
        super().on_message_begin()
        self._began = self._in_head = True
        self._field_bytes = self._fields = self._length_left = 0
        self._unset_keepalive_if_required()

    def on_url(self, url: bytes) -> None:
        """Collect the request's target."""
        self.url += url
        if len(self.url) > MAX_TARGET:
            raise _LimitExceededError(414, "The address is too long")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header field, without the white space around its value (RFC 9110, 5.5); drop a trailer."""
        self._fields += 1
        self._field_bytes += len(name) + len(value) + 4
        if self._field_bytes > MAX_HEAD:
            raise _LimitExceededError(431, "The headers are too large")
        if self._fields > MAX_FIELDS:
            raise _LimitExceededError(431, f"There are more than {MAX_FIELDS} headers")
        if self._in_head:
            # uvicorn's own method, written out: it is called for every field.
            name, value = name.lower(), value.strip(b" \t")
            self.headers.append((name, value))
            if name == b"content-length":
                self._length_left = parse_length(value.decode("latin-1")) or 0
            elif name == b"expect":
                self.expect_100_continue = value.lower() == b"100-continue"
        else:
            self._unfinished = 0

    def on_headers_complete(self) -> None:
        """Wait no more, and start the request or put it in the queue."""
        if self.parser.should_upgrade():
            return
        self._in_head = self._began = False
        self._unfinished = self._body = self._framing = 0
        self._stop_timer()
        self._unset_keepalive_if_required()
        super().on_headers_complete()
        joining = _CoalescingTransport(self.transport, self.cycle.on_response)
        self.cycle.transport, self.cycle.on_response = joining, joining.end  # type: ignore[assignment]

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body."""
        size, cycle = len(body), self.cycle
        self._unfinished = 0
        self._body += size
        self._length_left -= size
        if cycle.response_complete:
            return
        # uvicorn begins with a bytearray, which copies a piece when it comes and when it is read.
        if not cycle.body:
            cycle.body = body  # type: ignore[assignment]
        else:
            if not isinstance(cycle.body, bytearray):
                cycle.body = bytearray(cycle.body)
            cycle.body += body
        if len(cycle.body) > _BODY_BUFFER:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        """Note that the body, trailers included, has come."""
        self._in_head = True
        self._unfinished = 0
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Go on with the next request, or say why there is none."""
        was_last = not self.pipeline
        super().on_response_complete()
        if was_last and self._last_answer is not None:
            self._say(*self._last_answer)
        elif was_last and self._held:
            self.turns.wait(self.loop, self._parse_held, pipelined=True)

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection without a further request, unless one waits for its turn."""
        if self._held:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
        else:
            super().timeout_keep_alive_handler()

    def shutdown(self) -> None:
        """End when the request has been answered that is under way or waits for its turn."""
        if self._held and self.is_idle:
            self._parse_held()
        super().shutdown()

    def _parse_held(self) -> None:
        if self.transport.is_closing() or not self._held:
            return
        held, self._held = self._held, b""
        self.flow.holds = False
        self._parse(held)
        self.flow.resume_reading()

    @property
    def is_idle(self) -> bool:
        """Whether no request is being answered or waits for its answer."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def unsent(self) -> int:
        """Bytes that the client has not taken; 0 while the system can still keep all of them for it."""
        return unsent_bytes(self.transport)

    def abort(self) -> None:
        """Close at once."""
        self.transport.abort()

    def _go_on_without_upgrade(self, rest: bytes) -> None:
        """Read a request that asks for another protocol as if it had not (RFC 9110, 7.8).

        httptools takes what follows such a head for the other protocol: the head is read again without the
        wish, so that the body is one.
        """
        method, kept = self.parser.get_method(), []
        if method == b"CONNECT":
            self._refuse(*_INVALID)
            return
        for name, value in self.headers:
            if name == b"connection":
                options = [one.strip() for one in value.split(b",")]
                kept.append((name, b", ".join(one for one in options if one.lower() != b"upgrade")))
            elif name != b"upgrade":
                kept.append((name, value))
        fields = b"".join(b"%b: %b\r\n" % field for field in kept)
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._parse_piece(b"%b %b HTTP/1.1\r\n%b\r\n%b" % (method, self.url, fields, rest))

    def _start_timer(self) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(self.header_timeout, self._too_slow)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        if self._held and self.is_idle:
            self._start_timer()  # the request waits for its turn, not for its client
        elif not self.transport.is_closing():
            self._refuse(408, "The headers took too long")

    def _refuse(self, status: int, text: str) -> None:
        """Answer what cannot be read, after the requests before it, and close."""
        _LOG.warning("a request was refused with %d: %s", status, text)
        self._ended = True
        self._stop_timer()
        newest = self.cycle
        if not self._in_head and newest is not None:
            # The request whose body this is gets no other answer.
            if self.pipeline:
                self.pipeline.popleft()
            elif newest.response_started:
                self.transport.close()
                return
            else:
                # The app is reading the body, and only learns that the connection has ended.
                newest.scope[PROTOCOL_ERROR] = status, text  # type: ignore[literal-required]
                newest.disconnected = True
                newest.message_event.set()
                self._say(status, text)
                return
        elif self.is_idle:
            self._say(status, text)
            return
        self._last_answer = status, text

    def _say(self, status: int, text: str) -> None:
        if self.transport.is_closing():
            return
        self._unset_keepalive_if_required()
        body = json_bytes({"error": text})
        lines = [
            STATUS_LINE[status],
            b"content-type: application/json\r\n",
            b"content-length: %d\r\n" % len(body),
            b"connection: close\r\n\r\n",
            body,
        ]
        self.transport.write(b"".join(lines))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.holds = False
        self.flow.resume_reading()
        self._timer = self.loop.call_later(_LINGER, self.transport.close)
