"""A YAML parser for untrusted text.

PyYAML's safe loader runs no code, but overflows its stack on deep nesting, spends minutes on merges of
merges, and takes the last of two equal keys; here the text's events are checked against limits before
anything is built.
"""

import re
from typing import Any

import yaml

MAX_CHARACTERS = 1 << 20
"""Longest text; a recipe with all settings has about 3,000 characters."""
_MAX_VALUES = 100_000
"""Most values in a text; those that an alias repeats count each time."""
_MAX_DEPTH = 40
_MAX_NUMBER_LENGTH = 60

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NUMBER = re.compile(r"[-+]?\.?[0-9][-+0-9_.:xXoa-fA-F]*")
_KINDS = ("str", "int", "float", "bool", "null", "seq", "map")
_CORE_TAGS = {"!", *(f"tag:yaml.org,2002:{kind}" for kind in _KINDS)}
_MERGE = "<<"


class YamlError(ValueError):
    """A text is not valid YAML of settings; the message does not name the file."""


def parse_yaml(text: str) -> Any:
    """Parse one YAML document of at most `MAX_CHARACTERS` to mappings, lists and scalars.

    Raises:
        YamlError: the text is invalid, too long, nested more than 40 levels deep, has more than 100,000
            values with those repeated by aliases, a duplicate key, or a tag other than YAML's core types.
    """
    if len(text) > MAX_CHARACTERS:
        raise YamlError(f"it is longer than {MAX_CHARACTERS >> 20} MiB")
    try:
        _LimitChecker().follow(text)
        return yaml.load(text, Loader=_LOADER)  # noqa: S506 - one of the safe loaders
    except YamlError:
        raise
    except yaml.MarkedYAMLError as error:
        where = f"in line {error.problem_mark.line + 1}, " if error.problem_mark else ""
        raise YamlError(f"{where}{error.problem}") from None
    except (yaml.YAMLError, ValueError, LookupError, TypeError, OverflowError) as error:
        # All but the first are raised for dates and numbers that Python cannot represent.
        raise YamlError(str(error).splitlines()[0]) from None


class _LimitChecker:
    """Checks the events of a text against the limits without building any value."""

    def __init__(self) -> None:
        self._open: list[_Collection] = []
        self._sizes: dict[str, int] = {}

    def follow(self, text: str) -> None:
        """Check all events.

        Raises:
            YamlError: a limit is exceeded.
        """
        for event in yaml.parse(text, Loader=_LOADER):
            line = event.start_mark.line + 1 if event.start_mark else 0
            if isinstance(event, yaml.CollectionStartEvent):
                self._check_tag(event.tag, line)
                self._key(event, line)
                self._open.append(_Collection(event.anchor, isinstance(event, yaml.MappingStartEvent)))
                if len(self._open) > _MAX_DEPTH:
                    raise YamlError(f"in line {line}, it is nested more than {_MAX_DEPTH} deep")
            elif isinstance(event, yaml.CollectionEndEvent):
                done = self._open.pop()
                self._add(done.anchor, done.size, line)
            elif isinstance(event, yaml.ScalarEvent):
                self._check_tag(event.tag, line)
                self._key(event, line)
                self._check_number(event, line)
                self._add(event.anchor, 1, line)
            elif isinstance(event, yaml.AliasEvent):
                self._key(event, line)
                if event.anchor not in self._sizes:
                    raise YamlError(f"in line {line}, the alias {event.anchor!r} does not refer to an earlier value")
                self._add(None, self._sizes[event.anchor], line)

    def _check_tag(self, tag: str | None, line: int) -> None:
        if tag is not None and tag not in _CORE_TAGS:
            raise YamlError(f"in line {line}, the tag {tag[:60]!r} is not allowed in settings")

    def _check_number(self, event: yaml.ScalarEvent, line: int) -> None:
        plain = event.implicit[0] and len(event.value) > _MAX_NUMBER_LENGTH
        if plain and _NUMBER.fullmatch(event.value):
            raise YamlError(f"in line {line}, a number has {len(event.value)} characters")

    def _key(self, event: yaml.Event, line: int) -> None:
        """Check a key; the keys of a mapping alternate with its values."""
        if not self._open or not self._open[-1].takes_key():
            return
        if not isinstance(event, yaml.ScalarEvent):
            raise YamlError(f"in line {line}, a key is not plain text")
        keys = self._open[-1].keys
        if event.value in keys and event.value != _MERGE:
            raise YamlError(f"in line {line}, the key {event.value[:60]!r} is duplicated")
        keys.add(event.value)

    def _add(self, anchor: str | None, size: int, line: int) -> None:
        if anchor is not None:
            self._sizes[anchor] = size
        if self._open:
            self._open[-1].size += size
            self._open[-1].parts += 1
        if size > _MAX_VALUES or (self._open and self._open[-1].size > _MAX_VALUES):
            raise YamlError(f"in line {line}, it has more than {_MAX_VALUES:,} values")


class _Collection:
    """A list or a mapping that has not ended yet."""

    def __init__(self, anchor: str | None, mapping: bool) -> None:
        self.anchor, self.mapping = anchor, mapping
        self.size, self.parts = 1, 0
        self.keys: set[str] = set()

    def takes_key(self) -> bool:
        return self.mapping and self.parts % 2 == 0
