"""YAML of settings, read with suspicion: what it may be is bounded before any of it is built.

PyYAML's safe loader runs no code, and that is all it promises: it overflows its stack on deep nesting, spends
minutes on merges of merges, takes the last of two equal keys and lets errors of Python's own constructors
through. Here the events of the text are counted first; they cost no more than reading it.
"""

import re
from typing import Any

import yaml

MOST_CHARACTERS = 1 << 20
"""Length of a text; a recipe with all its settings has some 3,000."""
_MOST_VALUES = 100_000
"""Values in a text, those that an alias repeats counted each time."""
_DEEPEST = 40
_LONGEST_NUMBER = 60

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NUMBER = re.compile(r"[-+]?\.?[0-9][-+0-9_.:xXoa-fA-F]*")
_KINDS = ("str", "int", "float", "bool", "null", "seq", "map")
_CORE_TAGS = {"!", *(f"tag:yaml.org,2002:{kind}" for kind in _KINDS)}
_MERGE = "<<"


class YamlError(ValueError):
    """A text that is no YAML of settings; one sentence without the file's name."""


def parse_yaml(text: str) -> Any:
    """Return what a YAML text says: mappings, lists, text, numbers, truth values, dates and nothing.

    Args:
        text: one document of at most `MOST_CHARACTERS`.

    Raises:
        YamlError: the text is not valid, too long, nested more than 40 deep, repeats itself by aliases beyond
            100,000 values, names a key twice or has a tag of a type of its own.
    """
    if len(text) > MOST_CHARACTERS:
        raise YamlError(f"it is longer than {MOST_CHARACTERS >> 20} MiB")
    try:
        _Survey().follow(text)
        return yaml.load(text, Loader=_LOADER)  # noqa: S506 - one of the safe loaders
    except YamlError:
        raise
    except yaml.MarkedYAMLError as error:
        where = f"in line {error.problem_mark.line + 1}, " if error.problem_mark else ""
        raise YamlError(f"{where}{error.problem}") from None
    except (yaml.YAMLError, ValueError, LookupError, TypeError, OverflowError) as error:
        # All but the first: dates and numbers that Python does not know.
        raise YamlError(str(error).splitlines()[0]) from None


class _Survey:
    """What the events of a text amount to, without building anything."""

    def __init__(self) -> None:
        self._open: list[_Collection] = []
        self._sizes: dict[str, int] = {}

    def follow(self, text: str) -> None:
        """Go through all events.

        Raises:
            YamlError: one of the bounds is broken.
        """
        for event in yaml.parse(text, Loader=_LOADER):
            line = event.start_mark.line + 1 if event.start_mark else 0
            if isinstance(event, yaml.CollectionStartEvent):
                self._check_tag(event.tag, line)
                self._key(event, line)
                self._open.append(_Collection(event.anchor, isinstance(event, yaml.MappingStartEvent)))
                if len(self._open) > _DEEPEST:
                    raise YamlError(f"in line {line}, it is nested more than {_DEEPEST} deep")
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
                    raise YamlError(f"in line {line}, the alias {event.anchor!r} has nothing that it repeats")
                self._add(None, self._sizes[event.anchor], line)

    def _check_tag(self, tag: str | None, line: int) -> None:
        if tag is not None and tag not in _CORE_TAGS:
            raise YamlError(f"in line {line}, the tag {tag[:60]!r} is of no type that settings have")

    def _check_number(self, event: yaml.ScalarEvent, line: int) -> None:
        plain = event.implicit[0] and len(event.value) > _LONGEST_NUMBER
        if plain and _NUMBER.fullmatch(event.value):
            raise YamlError(f"in line {line}, a number has {len(event.value)} characters")

    def _key(self, event: yaml.Event, line: int) -> None:
        """Look at the keys of a mapping, which come in turns with its values."""
        if not self._open or not self._open[-1].takes_key():
            return
        if not isinstance(event, yaml.ScalarEvent):
            raise YamlError(f"in line {line}, a key is no plain text")
        keys = self._open[-1].keys
        if event.value in keys and event.value != _MERGE:
            raise YamlError(f"in line {line}, the key {event.value[:60]!r} stands there twice")
        keys.add(event.value)

    def _add(self, anchor: str | None, size: int, line: int) -> None:
        if anchor is not None:
            self._sizes[anchor] = size
        if self._open:
            self._open[-1].size += size
            self._open[-1].parts += 1
        if size > _MOST_VALUES or (self._open and self._open[-1].size > _MOST_VALUES):
            raise YamlError(f"in line {line}, it comes to more than {_MOST_VALUES:,} values")


class _Collection:
    """A list or a mapping whose end has not come yet."""

    def __init__(self, anchor: str | None, mapping: bool) -> None:
        self.anchor, self.mapping = anchor, mapping
        self.size, self.parts = 1, 0
        self.keys: set[str] = set()

    def takes_key(self) -> bool:
        return self.mapping and self.parts % 2 == 0
