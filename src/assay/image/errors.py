"""Why bytes give no pixels."""

from assay.errors import AssayError


class DecodeError(AssayError):
    """A file cannot be decoded; the message is a short reason such as "damaged: truncated JPEG"."""


class TooLargeError(DecodeError):
    """An image has more pixels than allowed."""


class TooComplexError(DecodeError):
    """Decoding a file would take far more work than its number of pixels justifies."""
