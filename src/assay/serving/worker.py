"""One worker of several: `python -m assay.serving.worker`, started by `assay.serving.workers`.

It is told what to do by a line on its standard input, and tells its parent what happens by lines on its
standard output. When its parent dies, its standard input ends, and it ends too.
"""

import contextlib
import json
import os
import socket
import sys
from typing import TextIO

from assay.errors import AssayError
from assay.serving.models import Models
from assay.serving.settings import ServeSettings
from assay.serving.sources import Source
from assay.serving.start import ready_lines, serve_here
from assay.serving.workers import READY, RELOADED, Order
from assay.text import printable


def main() -> None:
    """Serve until told to end."""
    order = Order.load(sys.stdin.readline())
    # What anything else prints must not reach the parent as a message.
    messages = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1, encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    listening = socket.socket(fileno=order.socket)

    settings = ServeSettings.read(order.options)

    def started(models: Models) -> None:
        _tell(messages, READY + json.dumps(ready_lines(settings, models, listening)))

    try:
        sources = [Source.parse(model) for model in order.models]
        serve_here(
            settings,
            sources,
            listening,
            started,
            reloaded=lambda: _tell(messages, RELOADED),
            orphaned=sys.stdin.fileno(),
        )
    except AssayError as error:
        sys.stderr.write(f"assay: {printable(str(error))}\n")
        sys.exit(error.exit_code)


def _tell(messages: TextIO, line: str) -> None:
    # A parent that was killed hears nothing; what has been accepted is answered all the same.
    with contextlib.suppress(OSError):
        messages.write(line + "\n")


if __name__ == "__main__":
    main()
