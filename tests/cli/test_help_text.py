"""The help of commands has words of users and fits the terminal."""

from itertools import pairwise

import pytest

from assay.cli.help_text import join_lines, type_in_words


@pytest.mark.parametrize("command", [[], ["serve"], ["keys"], ["keys", "create"], ["train"], ["recipes", "show"]])
def test_help_shows_no_types_of_python(assay, command: list[str]):
    text = assay(*command, "--help").out
    assert "--help" in text
    assert not [word for word in ("<bool>", "<str>", "<int", "<float", "list[") if word in text]


def test_lines_of_paragraphs_are_full(assay):
    shown = assay("serve", "--help").out.splitlines()
    width = max(map(len, shown)) - 2  # less the margins
    lines = [line.strip() for line in shown]
    begin = next(place for place, line in enumerate(lines) if line.startswith("POST photos"))
    paragraph = lines[begin : lines.index("", begin)]
    for line, following in pairwise(paragraph):
        assert len(line) + 1 + len(following.split()[0]) > width


def test_lines_are_joined_within_paragraphs():
    assert join_lines("One\n    line.\n\n    Two\n    lines.\n") == "One line.\n\nTwo lines."


@pytest.mark.parametrize(
    ("shown", "words"),
    [
        ("<list[str]>", "<text>"),
        ("<int range>", "<number>"),
        ("<bool>", ""),
        ("<path>", "<path>"),
        ("<auto|int8>", "<auto|int8>"),
        ("<list[float]>", "<number>"),
    ],
)
def test_types_are_words(shown: str, words: str):
    assert type_in_words(shown) == words
