"""HTTP on one connection: uvicorn's protocol, with bounds on headers and errors in our own form.

httptools keeps a header of any length, and uvicorn waits for its end as long as it takes. Knows nothing of
what is asked.
"""

import asyncio
import logging

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from assay.serving.answers import dump

_LOG = logging.getLogger("assay.serving")
REFUSED = "assay.refused"
"""Under which a request's scope holds status and sentence, where the protocol itself has answered."""
MAX_HEADERS = 64 * 1024
"""Bytes of a request line and headers."""


class Protocol(HttpToolsProtocol):
    """One connection.

    Attributes:
        header_seconds: in which a request's headers must have come.
    """

    header_seconds = 10.0
    _timer: asyncio.TimerHandle | None = None
    _unfinished = 0
    _in_headers = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for headers, but not for ever."""
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what belongs to headers that have not ended."""
        super().data_received(data)
        if self._in_headers and not self.transport.is_closing():
            self._unfinished += len(data)
            if self._unfinished > MAX_HEADERS:
                self._refuse(431, "The headers are too large")

    def on_message_begin(self) -> None:
        """Begin to count and to wait."""
        super().on_message_begin()
        self._in_headers, self._unfinished = True, 0
        self._start_timer()

    def on_headers_complete(self) -> None:
        """Wait no more."""
        self._in_headers = False
        self._stop_timer()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body."""
        if not self.cycle.body:
            # uvicorn has a bytearray here, which copies the piece when it comes and when it is read.
            self.cycle.body = b""  # type: ignore[assignment]
        super().on_body(body)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        self._refuse(400, msg.rstrip("."))

    def _start_timer(self) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(self.header_seconds, self._too_slow)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        if not self.transport.is_closing():
            self._refuse(408, "The headers took too long")

    def _refuse(self, status: int, text: str) -> None:
        _LOG.warning("a request was refused with %d: %s", status, text)
        if self.scope is not None:
            # If the app is reading the body, it only learns that the connection has ended.
            self.scope[REFUSED] = status, text  # type: ignore[literal-required]
        body = dump({"error": text})
        lines = [
            STATUS_LINE[status],
            b"content-type: application/json\r\n",
            b"content-length: %d\r\n" % len(body),
            b"connection: close\r\n\r\n",
            body,
        ]
        self.transport.write(b"".join(lines))
        self.transport.close()
