"""Values in Redis that are not what this server wrote: told from a Redis that is away."""

from redis.exceptions import ResponseError


def is_wrong_type(error: ResponseError) -> bool:
    """Tell whether a command failed because its key holds another type of value, a list for instance."""
    return str(error).startswith("WRONGTYPE")
