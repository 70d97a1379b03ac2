"""Why bytes give no pixels."""

from assay.errors import AssayError


class DecodeError(AssayError):
    """Bytes that are no picture Assay reads; the message is a short reason: "damaged: truncated JPEG"."""


class TooLargeError(DecodeError):
    """A picture of more pixels than are allowed."""


class TooComplexError(DecodeError):
    """A file whose structure asks for far more work than its pixels do."""
