"""What Assay says when it cannot go on.

Every error that a person can cause is an `AssayError` whose text is one sentence: which file or setting,
what is wrong, what to do. The command line prints it without a traceback.
"""


class AssayError(Exception):
    """Something that the person at the keyboard can mend; the command line exits with 1."""

    exit_code = 1


class UsageError(AssayError):
    """A command or a setting that makes no sense as given; the command line exits with 2."""

    exit_code = 2
