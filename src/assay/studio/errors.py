"""Errors of the studio that have an HTTP status of their own."""

from assay.core.errors import AssayError, UsageError


class NotFoundError(UsageError):
    """A run, a photo or something else that an address or a request names does not exist (404)."""


class StaleEditError(AssayError):
    """A photo has changed since the page last read it (409)."""


class NoProjectError(AssayError):
    """No project is open, or another one than that of the page (409)."""
