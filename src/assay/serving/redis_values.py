"""Values in Redis that this server did not write."""


def is_wrong_type(error: Exception) -> bool:
    """Return whether a Redis command failed because its key holds another type of value, such as a list."""
    return str(error).startswith("WRONGTYPE")
