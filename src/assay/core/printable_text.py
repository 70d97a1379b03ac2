"""Make text from outside (file names, class names, error messages) safe to print."""

import re
from typing import Final

# Besides C0 controls: DEL and C1 controls; soft hyphen; zero-width, joining and filling characters; line and
# paragraph separators; bidirectional controls; annotations and non-characters; surrogates; formats of
# shorthand and music; tags and the variation selectors beside them.
UNSAFE_CHARACTERS: Final = (
    r"\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    r"\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff\ud800-\udfff"
    r"\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
"""Besides C0 controls, as the inside of brackets in a regular expression."""
_ANY = re.compile(rf"[\x00-\x1f{UNSAFE_CHARACTERS}]")
_BUT_LINE_FEEDS = re.compile(rf"[\x00-\x09\x0b-\x1f{UNSAFE_CHARACTERS}]")
_BEYOND_ASCII = re.compile(r"[^\x00-\x7e]")


def printable(text: str) -> str:
    r"""Return a text as one line that is safe to print: unsafe characters are escaped as `\n`, `\x1b`, `\u202e`.

    Unsafe are control characters, escape sequences, bidirectional controls and invisible characters. Bytes of a file
    name that are not UTF-8 are escaped as `\xe9`. Letters of every script, emoji and backslashes are unchanged.

    Sources: Unicode Standard Annex 9 and Technical Report 36 (2014); ECMA-48 (1991).
    """
    return text if _is_plain(text) else _ANY.sub(_escape, text)


def is_unicode(text: str) -> bool:
    r"""Return whether a text can be encoded as UTF-8: it has no lone surrogates, which JSON allows (`\ud800`)."""
    return text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)


def strip_invisible(text: str) -> str:
    """Remove invisible characters; tabs and line breaks become spaces.

    Bytes of a file name that are not UTF-8 are kept: they are letters of another encoding.
    """

    def replacement(found: re.Match[str]) -> str:
        return found[0] if "\ud800" <= found[0] <= "\udfff" else " " if found[0].isspace() else ""

    return text if _is_plain(text) else _ANY.sub(replacement, text)


def printable_lines(text: str) -> str:
    """Return a text that is safe to print, like `printable`, but keep line feeds."""
    return text if _is_plain(text) else _BUT_LINE_FEEDS.sub(_escape, text)


def printable_json(text: str, *, ascii_only: bool = False) -> str:
    r"""Escape the unsafe characters of a JSON document as `\u` sequences, which does not change its values.

    Args:
        text: a JSON document.
        ascii_only: escape all non-ASCII characters, for a console with another encoding.
    """
    if _is_plain(text):
        return text
    return (_BEYOND_ASCII if ascii_only else _BUT_LINE_FEEDS).sub(_json_escape, text)


def printable_value(value: object) -> object:
    """Return a text as `printable_lines`, and any other value unchanged; for templates."""
    return printable_lines(value) if type(value) is str else value


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable()


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if code in _SHORT:
        return _SHORT[code]
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _json_escape(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[place : place + 2].hex()}" for place in range(0, len(units), 2))


_SHORT = {0x09: r"\t", 0x0A: r"\n", 0x0D: r"\r"}
