"""Subclasses of uvicorn's HTTP protocol and server that override internals.

Messages are limited (`http_limits`). A request is parsed when the previous one has been answered, and few start in
one iteration of the event loop; until then its bytes are held and reading is paused. This applies to every route.

`pyproject.toml` pins uvicorn, and `tests/serving/test_uvicorn_overrides.py` fails when the used internals change.
"""

import asyncio
import contextlib
import functools
import itertools
import logging
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import ClassVar

import httptools
import uvicorn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from assay.serving.connection_limits import ConnectionLimiter, RequestScheduler
from assay.serving.http_limits import MAX_TARGET, LimitExceededError, MessageLimits
from assay.serving.http_messages import CoalescingTransport, error_message, head_without_upgrade, parse_length
from assay.serving.sockets import accept_waiting

_LOG = logging.getLogger("assay.serving")
PROTOCOL_ERROR = "assay.protocol_error"
"""Key of a request's scope with status and message, where the protocol itself has responded."""
_INVALID = (400, "Invalid HTTP request received")
_TOO_MANY_CONNECTIONS = (503, "Too many connections are open; try again later")
_BODY_BUFFER = 64 * 1024
"""Bytes of a body that wait for the application before reading pauses."""
_CLOSE_DELAY = 1.0
"""Seconds in which a rejected client may read its response; a connection closed while bytes arrive is reset."""
_LINGER_BYTES = 2**25
_ACCEPTS_PER_ITERATION = 8
"""Connections accepted in one iteration of the event loop: libuv accepts one from each handle."""
_LAST_REQUEST_DELAY = 0.1


class _HoldableFlowControl(FlowControl):
    """Keeps reading paused while bytes of a further request wait."""

    held = False

    def resume_reading(self) -> None:
        if not self.held:
            super().resume_reading()


class LimitedHttpProtocol(MessageLimits, HttpToolsProtocol):
    """One connection; each server has a subclass with its own class variables."""

    header_timeout: ClassVar[float] = 10.0
    """Seconds in which the head of a request must have arrived."""
    open_connections: ClassVar[ConnectionLimiter]
    scheduler: ClassVar[RequestScheduler]

    flow: _HoldableFlowControl
    active_at = 0.0
    """Loop time at which bytes arrived last."""
    _timer: asyncio.TimerHandle | None = None
    _held = b""
    """Bytes of requests that wait for the previous response or for the scheduler."""
    _rejected = False
    _discarded = 0
    _last_error: tuple[int, str] | None = None
    """Status and message of the response after all requests before it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count the connection, and start the timer of the head."""
        super().connection_made(transport)
        self.flow = _HoldableFlowControl(transport)
        self.active_at = self.loop.time()
        if self.open_connections.add(self):
            self._start_timer()
        else:
            self._reject(*_TOO_MANY_CONNECTIONS)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop counting the connection."""
        self._stop_timer()
        self.open_connections.remove(self)
        super().connection_lost(exc)
        self._unset_keepalive_if_required()

    def data_received(self, data: bytes) -> None:
        """Parse bytes, hold them for later, or discard them."""
        self.active_at = self.loop.time()
        if self._rejected:
            self._discarded += len(data)
            if self._discarded > _LINGER_BYTES:
                self.transport.abort()
        elif self._held:
            self._held += data
        elif self.in_head and self.is_idle and not self.scheduler.try_start(self.loop):
            self._hold(data)
            self.scheduler.enqueue(self.loop, self._parse_held, pipelined=False)
        else:
            self._parse(data)

    def _hold(self, data: bytes) -> None:
        self._held = data
        self.flow.held = True
        self.flow.pause_reading()

    def _parse(self, data: bytes) -> None:
        """Parse bytes until a request has to wait for the previous response."""
        start, size = 0, len(data)
        while start < size and not self._rejected:
            if self.in_head and not self.is_idle:
                self._hold(data[start:])
                return
            end = self.next_end(data, start)
            self._parse_piece(data if end - start == size else memoryview(data)[start:end])
            start = end

    def _parse_piece(self, piece: bytes | memoryview) -> None:
        size = len(piece)
        self.count_bytes(size)
        try:
            self.parser.feed_data(piece)
            if self.began:
                # Only now, since nearly all heads arrive in one piece.
                self._start_timer()
            self.check_parsed(size)
        except httptools.HttpParserUpgrade as upgrade:
            self._parse_without_upgrade(bytes(piece[upgrade.args[0] :]))
        except LimitExceededError as error:
            self._reject(error.status, error.text)
        except httptools.HttpParserError as error:
            # httptools wraps what its callbacks raise.
            reason = error.__context__
            self._reject(*((reason.status, reason.text) if isinstance(reason, LimitExceededError) else _INVALID))

    def on_message_begin(self) -> None:
        """Reset the counters."""
        super().on_message_begin()
        self.begin_message()
        self._unset_keepalive_if_required()

    def on_url(self, url: bytes) -> None:
        """Collect the request's target."""
        self.url += url
        if len(self.url) > MAX_TARGET:
            raise LimitExceededError(414, "The address is too long")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header field, without white space around its value (RFC 9110, 5.5); drop a trailer."""
        self.count_field(name, value)
        if self.in_head:
            # Instead of uvicorn's own method, since it is called for every field.
            name, value = name.lower(), value.strip(b" \t")
            self.headers.append((name, value))
            if name == b"content-length":
                self._content_length_left = parse_length(value.decode("latin-1")) or 0
            elif name == b"expect":
                self.expect_100_continue = value.lower() == b"100-continue"
        else:
            self._unfinished = 0

    def on_headers_complete(self) -> None:
        """Stop the timer, and start the request or queue it."""
        if self.parser.should_upgrade():
            return
        self.end_head()
        self._stop_timer()
        self._unset_keepalive_if_required()
        super().on_headers_complete()
        coalescing = CoalescingTransport(self.transport, self.cycle.on_response)
        self.cycle.transport, self.cycle.on_response = coalescing, coalescing.end  # type: ignore[assignment]

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body."""
        cycle = self.cycle
        self.count_body(len(body))
        if cycle.response_complete:
            return
        # uvicorn begins with a bytearray, which copies a piece when it arrives and when it is read.
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
        """Note that the body and its trailers have arrived."""
        self.end_message()
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Continue with the next request, or send the pending error response."""
        was_last = not self.pipeline
        super().on_response_complete()
        if was_last and self._last_error is not None:
            self._send_error(*self._last_error)
        elif was_last and self._held:
            self.scheduler.enqueue(self.loop, self._parse_held, pipelined=True)

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection without a further request, unless one waits for the scheduler."""
        if self._held:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
        else:
            super().timeout_keep_alive_handler()

    def shutdown(self) -> None:
        """Close after the current request, and any that waits for the scheduler."""
        if self._held and self.is_idle:
            self._parse_held()
        super().shutdown()

    def _parse_held(self) -> None:
        if self.transport.is_closing() or not self._held:
            return
        held, self._held = self._held, b""
        self.flow.held = False
        self._parse(held)
        self.flow.resume_reading()

    @property
    def is_idle(self) -> bool:
        """Whether no request is being answered or waits for its response."""
        return self.cycle is None or self.cycle.response_complete

    def _parse_without_upgrade(self, rest: bytes) -> None:
        """Parse the head again without its Upgrade header, after which httptools would expect another protocol."""
        method = self.parser.get_method()
        if method == b"CONNECT":
            self._reject(*_INVALID)
            return
        head = head_without_upgrade(method, self.url, self.headers)
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._parse_piece(head + rest)

    def _start_timer(self) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(self.header_timeout, self._on_header_timeout)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_header_timeout(self) -> None:
        if self._held and self.is_idle:
            self._start_timer()  # the request waits for the scheduler, not for its client
        elif not self.transport.is_closing():
            self._reject(408, "The headers took too long")

    def _reject(self, status: int, text: str) -> None:
        """Respond to an invalid message, after the requests before it, and close."""
        _LOG.warning("a request was rejected with %d: %s", status, text)
        self._rejected = True
        self._stop_timer()
        newest = self.cycle
        if not self.in_head and newest is not None:
            # The request that this body belongs to gets no other response.
            if self.pipeline:
                self.pipeline.popleft()
            elif newest.response_started:
                self.transport.close()
                return
            else:
                # The application is reading the body, and only learns that the connection has ended.
                newest.scope[PROTOCOL_ERROR] = status, text  # type: ignore[literal-required]
                newest.disconnected = True
                newest.message_event.set()
                self._send_error(status, text)
                return
        elif self.is_idle:
            self._send_error(status, text)
            return
        self._last_error = status, text

    def _send_error(self, status: int, text: str) -> None:
        if self.transport.is_closing():
            return
        self._unset_keepalive_if_required()
        self.transport.write(error_message(STATUS_LINE[status], text))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.held = False
        self.flow.resume_reading()
        self._timer = self.loop.call_later(_CLOSE_DELAY, self.transport.close)


class GracefulServer(uvicorn.Server):
    """uvicorn's server with signal handlers in the event loop, and a shutdown that resets no connection."""

    def __init__(
        self,
        config: uvicorn.Config,
        signal_handlers: Mapping[signal.Signals, Callable[[], None]],
        on_startup: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._signal_handlers, self._on_startup = signal_handlers, on_startup

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals in the event loop while the server runs."""
        loop = asyncio.get_running_loop()
        for number, handler in self._signal_handlers.items():
            loop.add_signal_handler(number, handler)
        try:
            yield
        finally:
            for number in self._signal_handlers:
                loop.remove_signal_handler(number)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept requests from now on."""
        copies = [listening.dup() for listening in sockets or () for _ in range(_ACCEPTS_PER_ITERATION - 1)]
        await super().startup(None if sockets is None else [*sockets, *copies])
        self._on_startup()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept waiting connections, stop listening, and respond to all accepted requests."""
        waiting = [listening.dup() for listening in sockets or ()]
        for server in self.servers:
            server.close()
        loop, config = asyncio.get_running_loop(), self.config
        create_protocol = functools.partial(  # type: ignore[call-arg]
            config.http_protocol_class, config=config, server_state=self.server_state, app_state={}
        )
        for connection in itertools.chain.from_iterable(map(accept_waiting, waiting)):
            await loop.connect_accepted_socket(create_protocol, connection, ssl=config.ssl)
        # uvicorn closes connections without a request: new ones get a short time to send theirs.
        await asyncio.sleep(_LAST_REQUEST_DELAY)
        await super().shutdown(sockets)
