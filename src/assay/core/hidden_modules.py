"""Import packages without the optional packages that they would load too."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def hidden_modules(*names: str) -> Iterator[None]:
    """Make modules that are not loaded yet unimportable inside the block.

    For packages that import others only if these are installed, and of which Assay does not use the part that needs
    them. Afterwards the modules can be imported as usual.
    """
    hidden = [name for name in names if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)
