"""The exceptions whose message is shown to the user as one sentence."""


class AssayError(Exception):
    """Something that the person at the keyboard can mend; the command line exits with 1."""

    exit_code = 1


class UsageError(AssayError):
    """A command or a setting that makes no sense as given; the command line exits with 2."""

    exit_code = 2
