"""The exceptions whose message is shown to the user as one sentence."""


class AssayError(Exception):
    """An error that the user can fix: which file or setting, what is wrong, what to do. Exit code 1."""

    exit_code = 1


class UsageError(AssayError):
    """An invalid command, argument or setting. Exit code 2."""

    exit_code = 2
