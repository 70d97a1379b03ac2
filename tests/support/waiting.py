"""Wait for what another thread, process or server does."""

import time
from collections.abc import Callable


def wait_until(condition: Callable[[], object], seconds: float = 60.0, what: str = "it did not happen") -> None:
    """Poll until a condition is true; fail with `what` after `seconds`, which a busy machine must not reach."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what} within {seconds:g} s"
        time.sleep(0.05)
