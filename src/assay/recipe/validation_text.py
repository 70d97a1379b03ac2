"""What is wrong with a value of a setting, in the words of YAML and JSON instead of Python's types."""

import math
import re
from datetime import date
from typing import Final

from pydantic_core import ErrorDetails, ValidationError

_LIST: Final = "must be a list, such as [a, b]"
_MAPPING: Final = "must be names with values, such as {name: value}"
_WHOLE: Final = "must be a whole number"
_NUMBER: Final = "must be a number"
_SWITCH: Final = "must be true or false"
_TEXTS: Final = {
    "bool_parsing": _SWITCH,
    "bool_type": _SWITCH,
    "dict_type": _MAPPING,
    "extra_forbidden": "no setting has this name",
    "float_parsing": _NUMBER,
    "float_type": _NUMBER,
    "int_from_float": _WHOLE,
    "int_parsing": _WHOLE,
    "int_type": _WHOLE,
    "invalid_key": "names of settings must be text",
    "list_type": _LIST,
    "missing": "is missing",
    "model_attributes_type": _MAPPING,
    "model_type": _MAPPING,
    "path_type": "must be a path",
    "set_type": _LIST,
    "string_type": "must be text",
    "string_too_long": "must have at most {max_length} characters",
    "string_too_short": "must have at least {min_length} characters",
    "too_long": "must have at most {max_length} values, not {actual_length}",
    "too_short": "must have at least {min_length} values, not {actual_length}",
    "tuple_type": _LIST,
    "union_tag_invalid": "{discriminator} must be one of {expected_tags}, not {tag!r}",
    "union_tag_not_found": "{discriminator} is missing",
}
"""By pydantic's type of error; others are already in words that fit."""
_IN_JSON: Final = {
    _LIST: 'must be a list in JSON, such as ["a", "b"]',
    _MAPPING: 'must be names with values in JSON, such as {"name": "value"}',
}
_EXAMPLE: Final = re.compile('{"?name.*}')
_PLAIN: Final = re.compile("[A-Za-z_][A-Za-z0-9_.-]*")
_SUBJECT: Final = re.compile(r"^(?:Value error, |[A-Z]\w+ should (?=\w))")
_ONE: Final = re.compile(r"\b1 (character|value)s")


def describe_invalid(error: ErrorDetails, json: bool = False) -> str:
    """Return what is wrong with a value, without the name of the setting: "must be a whole number".

    Args:
        error: of pydantic.
        json: whether the value was written as JSON, not as YAML.
    """
    text = _TEXTS.get(error["type"])
    if json:
        text = _IN_JSON.get(text or "", text)
    if error["type"] == "bool_for_number" and not json:
        return f"{error['msg']}; YAML reads yes, no, on and off as true or false"
    if text is None:
        return _SUBJECT.sub(lambda found: "must " if "should" in found[0] else "", error["msg"])
    return _ONE.sub(r"1 \1", _EXAMPLE.sub(r"{\g<0>}", text).format(**error.get("ctx", {})))


def describe_first(error: ValidationError, root: str, json: bool = False) -> str:
    """Return the place and the description of the first problem: "preprocess.size: must be a whole number".

    Args:
        error: of pydantic.
        root: place of a problem of the values as a whole.
        json: as for `describe_invalid`.
    """
    first = error.errors(include_url=False)[0]
    where = ".".join(map(str, first["loc"])) or root
    return f"{where}: {describe_invalid(first, json)}"


def as_yaml(value: object) -> str:
    """Return a value as it is written in YAML, in one line: null, true, .inf, [1, 2], {a: 1}; text is in quotes."""
    match value:
        case None | bool():
            return "null" if value is None else str(value).lower()
        case float() if not math.isfinite(value):
            return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
        case list() | tuple():
            return f"[{', '.join(map(as_yaml, value))}]"
        case dict():
            return f"{{{', '.join(f'{_key(key)}: {as_yaml(item)}' for key, item in value.items())}}}"
        case date():
            return str(value)
    return repr(value)


def _key(key: object) -> str:
    return key if isinstance(key, str) and _PLAIN.fullmatch(key) else as_yaml(key)
