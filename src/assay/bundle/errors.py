"""What goes wrong with a bundle. Knows nothing of how bundles are read or written."""

from assay.errors import AssayError


class BundleError(AssayError):
    """A bundle that cannot be trusted, read or written; the text is one sentence that names the file."""
